"""How each provider is reached: the catalogue, what the settings file adds to it, and the variables of the environment.

Keys come from variables only: no secret stands in a file of ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from overnight.core.catalog import HOUR, PROVIDERS, Provider
from overnight.errors import UsageError

FIELDS: Final = ("base_url", "like", "key", "rows", "bytes", "hours")
"""What a table `[providers.NAME]` of the settings file may hold."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secret:
    """A key. Printing, formatting and logging show dots; `reveal` gives the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the header it belongs in."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")


@dataclass(frozen=True, slots=True)
class Access:
    """How a provider is reached: what is known of it, and its key, base URL, organisation, project, location, base URL
    of the files and version of the API as environment and settings name them. `variable` is the one that holds the key,
    `base_url_from` the variable or the file that names the base URL."""

    known: Provider
    key: Secret | None = None
    variable: str | None = None
    base_url: str | None = None
    base_url_from: str | None = None
    organization: str | None = None
    project: str | None = None
    location: str | None = None
    storage: str | None = None
    version: str | None = None

    def require_key(self) -> Secret:
        """The key. Raises `UsageError` naming the variables that may hold it."""
        if self.key is None:
            names = " or ".join(self.known.keys)
            raise UsageError(f"no key for {self.known.name}: set the environment variable {names}")
        return self.key

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """`(name, value, origin)` of all that was found, the key as present or missing."""
        known = self.known
        if known.keys:
            yield self.variable or known.keys[0], "present" if self.key else "missing", "environment"
        if self.base_url is not None and self.base_url_from in known.base_urls:
            yield self.base_url_from, self.base_url, "environment"
        elif self.base_url is not None:
            yield f"providers.{known.name}.base_url", self.base_url, self.base_url_from or ""
        for variable, value in (
            (known.organization, self.organization),
            (known.project, self.project),
            (known.location, self.location),
            (known.storage, self.storage),
            (known.version, self.version),
        ):
            if variable is not None and value is not None:
                yield variable, value, "environment"


def find_access(
    environ: Mapping[str, str], written: Any, file: str, line: Callable[[str, str | None], str]
) -> dict[str, Access]:
    """Every provider by its name: those of the catalogue, and those that the settings file adds by its table
    `providers`, which is `written`. `line(table, field)` is the place of a field in it, like `:3`. Raises `UsageError`
    naming the variable, or the field with file and line."""
    known, base_urls = dict(PROVIDERS), dict[str, str]()
    tables = written or {}
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageError(f"`providers` ({file}{line('providers', None)}): must be tables, like [providers.groq]")
    for name, table in tables.items():

        def wrong(field: str | None, what: str, name: str = name) -> UsageError:
            shown = f"providers.{name}" + (f".{field}" if field else "")
            return UsageError(f"`{shown}` ({file}{line(f'providers.{name}', field)}): {what}")

        known[name] = _entered(name, table, wrong)
        if "base_url" in table:
            base_urls[name] = table["base_url"]
    return {name: _access(each, environ, base_urls.get(name), file) for name, each in known.items()}


def _entered(name: str, table: Mapping[str, Any], wrong: Callable[[str | None, str], UsageError]) -> Provider:
    """The provider of one table: one of the catalogue with other limits, or one that is like it."""
    for field, value in table.items():
        if field not in FIELDS:
            guess = difflib.get_close_matches(field, FIELDS, n=1)
            hint = f"did you mean `{guess[0]}`?" if guess else f"known: {', '.join(FIELDS)}"
            raise wrong(field, f"unknown field; {hint}")
        wanted = _wanted(field, value)
        if wanted is not None:
            raise wrong(field, f"must be {wanted}")
    if name in PROVIDERS:
        for field in ("like", "key"):
            if field in table:
                raise wrong(field, f"{name} is known already; another provider needs another name")
        like = PROVIDERS[name]
    else:
        like = _like(name, table, wrong)
    limits = replace(
        like.limits,
        rows=table.get("rows", like.limits.rows),
        size=table.get("bytes", like.limits.size),
        window=table["hours"] * HOUR if "hours" in table else like.limits.window,
    )
    return replace(like, limits=limits)


def _like(name: str, table: Mapping[str, Any], wrong: Callable[[str | None, str], UsageError]) -> Provider:
    if not _NAME.fullmatch(name):
        raise wrong(None, "a provider's name has small letters, digits, - and _, and begins with a letter")
    for field in ("like", "base_url"):
        if field not in table:
            raise wrong(None, f"unknown provider: give it `like` (e.g. openai) and `base_url`; `{field}` is missing")
    keys = (table["key"],) if "key" in table else ()
    return replace(
        PROVIDERS[table["like"]], name=name, like=table["like"], keys=keys, base_urls=(), base_url=None, small=None,
        organization=None, project=None, version=None,
    )  # fmt: skip


def _wanted(field: str, value: Any) -> str | None:
    """What the field must be, where it is not."""
    match field:
        case "base_url":
            fits = isinstance(value, str) and value.startswith(("http://", "https://"))
            return None if fits else "a URL that begins with http:// or https://"
        case "like":
            names = [name for name, known in PROVIDERS.items() if known.can_be_like]
            return None if value in names else f"one of {', '.join(names)}"
        case "key":
            fits = isinstance(value, str) and _VARIABLE.fullmatch(value) is not None
            return None if fits else "the name of an environment variable, never a key itself"
        case _:
            fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            return None if fits else "a whole number of at least 1"


def _access(known: Provider, environ: Mapping[str, str], written: str | None, file: str) -> Access:
    keys = {name: key for name in known.keys if (key := environ.get(name, "").strip())}
    for name, key in keys.items():
        if not key.isascii() or not all(character.isprintable() for character in key):
            raise UsageError(f"{name}: holds characters that no key has; copy it again")
    variable = next(iter(keys), None)
    urls = {name: url for name in known.base_urls if (url := environ.get(name, "").strip())}
    named = next(iter(urls), None)

    def given(name: str | None) -> str | None:
        return None if name is None else environ.get(name, "").strip() or None

    return Access(
        known,
        None if variable is None else Secret(keys[variable]),
        variable,
        written if named is None else urls[named],
        named or (None if written is None else file),
        given(known.organization),
        given(known.project),
        given(known.location),
        given(known.storage),
        given(known.version),
    )
