"""`overnight init`."""

from __future__ import annotations

from pathlib import Path

import click

from overnight.cli.asking import document, say
from overnight.cli.group import Call, verb


@verb(
    """Write a spec file with every field and what it is for. What is commented out shows the default.

    \b
    Example:
      overnight init news.yaml
    """
)
@click.argument("file", type=click.Path(path_type=Path), default="job.yaml")
def init(call: Call, file: Path) -> int:
    """See its help."""
    from overnight.errors import LocalError, UsageError
    from overnight.specfile import commented_example

    if file.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"{file}: a spec file ends in .yaml or .yml")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(commented_example())
    except FileExistsError:
        raise UsageError(f"{file} exists: choose another name, or remove it") from None
    except OSError as error:
        raise LocalError(f"{file} cannot be written: {error.strerror}") from None
    say(f"{file} is written; next: overnight run {file} --dry-run")
    if call.json:
        document({"file": str(file.absolute())})
    return 0
