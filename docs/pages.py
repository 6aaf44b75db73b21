"""What the generated pages have in common: tables, and what the source says of itself."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "overnight"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def doc(thing: object) -> str:
    """A docstring on one line."""
    return " ".join((inspect.getdoc(thing) or "").split())


def comments(kind: type) -> dict[str, str]:
    """What stands behind each member of an enum or field of a dataclass in its source."""
    found = re.findall(r"^    (\w+)(?:: .*?)? = .*?  # (.*)$", inspect.getsource(kind), re.MULTILINE)
    return dict(found)


def told_of(kind: type[StrEnum]) -> dict[str, str]:
    """The same by the members' values; every member must have a comment."""
    said = comments(kind)
    return {member.value: said[member.name] for member in kind}


def product_modules(*, testing: bool = False) -> list[str]:
    """All modules, those of tests included if asked; migrations are scripts of Alembic."""
    names = ["overnight", *(found.name for found in pkgutil.walk_packages([str(SOURCE)], "overnight."))]
    left_out = ["overnight.__main__", "overnight.stores.migrations.", *([] if testing else ["overnight.testing"])]
    return [name for name in names if not name.startswith(tuple(left_out))]
