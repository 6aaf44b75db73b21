"""`overnight doctor`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import click

from overnight.cli.asking import answer, document
from overnight.cli.group import Call, verb
from overnight.cli.running import with_client
from overnight.cli.words import facts, size, table

if TYPE_CHECKING:
    from overnight.config import Config

LIBRARIES: Final = (
    "click", "msgspec", "orjson", "aiohttp", "sqlalchemy", "alembic", "jinja2", "jsonschema-rs", "ruamel.yaml", "rich",
    "genai-prices", "starlette", "uvicorn", "xllamacpp", "gguf", "pyarrow", "pydantic",
)  # fmt: skip
SCARCE: Final = 1_000_000_000
"""Bytes: less free disk than that is worth a word."""


@verb(
    """Settings and where each comes from, keys present or missing, the home, its disk, models, versions.

    With JOB, whose account it belongs to. With --live, two rows through the whole life of a batch at that provider, on
    your account and for your money, and which of the facts held that jobs are built on. Exit code 1 where this machine
    must be mended, or a fact did not hold. Keys are never shown.

    \b
    Examples:
      overnight doctor
      overnight doctor reviews
      overnight doctor --live openai --max-cost 0.05
    """
)
@click.argument("job", required=False)
@click.option("--live", metavar="PROVIDER", help="Look what holds at this provider; asks before it spends.")
@click.option("--model", metavar="MODEL", help="For --live; default a small one of the provider.")
@click.option(
    "--max-cost",
    type=click.FloatRange(0),
    default=0.05,
    show_default=True,
    metavar="DOLLARS",
    help="For --live: spend no more than that.",
)
@click.option("-y", "--yes", is_flag=True, help="For --live: do not ask before sending.")
def doctor(call: Call, job: str | None, live: str | None, model: str | None, max_cost: float, yes: bool) -> int:
    """See its help."""
    if live is not None:
        from overnight.cli.live import look

        return look(call, live, model, max_cost, yes)
    config = call.config()
    home, good = _home(config)
    account = None if job is None else _account(call, job)
    found: dict[str, Any] = {
        "good": good,
        "home": home,
        "settings": [{"name": name, "value": value, "origin": origin} for name, value, origin in config.shown()],
        "models": dict(_models(config)),
        "versions": dict(_versions()),
        "account": account,
    }
    if call.json:
        document(found)
    else:
        answer(_text(found, config))
    return 0 if good else 1


def _home(config: Config) -> tuple[str, bool]:
    """What is to say about the home, and whether it can be used."""
    import shutil

    from overnight.config import make_home
    from overnight.errors import LocalError

    try:
        home = make_home(config)
        free = shutil.disk_usage(home).free
    except LocalError as error:
        return str(error), False
    except OSError as error:
        return f"{config.home}: {error.strerror}", False
    told = f"{home}, writable, {size(free)} free"
    return (told, True) if free >= SCARCE else (f"{told}: little for large jobs", True)


def _models(config: Config) -> Iterator[tuple[str, str]]:
    from overnight.upstreams.model_files import EMBEDDED, is_here

    for name, model in EMBEDDED.items():
        yield name, "cached" if is_here(model, config.cache / "models") else "not cached: fetched when it is first used"


def _versions() -> Iterator[tuple[str, str]]:
    from overnight import __version__

    yield "overnight", __version__
    yield "python", f"{platform.python_version()} ({sys.platform}, {platform.machine()})"
    for library in LIBRARIES:
        try:
            yield library, version(library)
        except PackageNotFoundError:
            yield library, "not installed"


def _account(call: Call, job: str) -> str:
    found = with_client(call, lambda client: client.job(job))
    return "not known yet: nothing was sent" if found.account is None else found.account.name


def _text(found: dict[str, Any], config: Config) -> str:
    settings = table(
        ("setting", "value", "origin"), [(name, value or "unset", origin) for name, value, origin in config.shown()]
    )
    file = "none" if config.file is None else str(config.file)
    head = facts([("home", found["home"]), ("file", file), ("account", found["account"] or "")])
    return "\n\n".join([head, settings, facts(found["models"].items()), facts(found["versions"].items())])
