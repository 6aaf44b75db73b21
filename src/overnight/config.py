"""Frozen settings: flag > environment > file > default, read once, each with its origin.

The file is TOML: `config.toml` in the user's configuration directory, or where `OVERNIGHT_CONFIG` says. What its
tables `[providers.NAME]` may hold is in `access`.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs

from overnight.access import Access, find_access
from overnight.core.catalog import PROVIDERS
from overnight.errors import LocalError, UsageError

APP: Final = "overnight"
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9_][A-Za-z0-9_.@+=,-]*)*/?")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Config:
    """The settings. `origins` says of each where it comes from: a flag, a variable, a file, or the default."""

    home: Path
    cache: Path
    poll: float | None
    visibility: float | None
    lease: float | None
    log_level: str
    log_file: Path | None
    proxy: str | None
    vertex_bucket: str | None
    file: Path | None
    access: Mapping[str, Access]
    origins: Mapping[str, str]

    def shown(self) -> list[tuple[str, str, str]]:
        """`(name, value, origin)` of every setting, keys included as present or missing: for `overnight doctor`."""
        rows = [(name, _shown(getattr(self, name)), self.origins[name]) for name in SETTINGS]
        for access in self.access.values():
            rows.extend((name, _shown(value), origin) for name, value, origin in access.shown())
        return rows


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings. `parse` raises ValueError saying what the value must be."""

    description: str
    parse: Callable[[Any, Path], Any]
    default: Callable[[], Any]

    @staticmethod
    def variable(name: str) -> str:
        """Its environment variable."""
        return f"OVERNIGHT_{name.upper()}"


def _path(value: Any, directory: Path) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("a path")
    return Path(directory, Path(value).expanduser())


def _seconds(least: float) -> Callable[[Any, Path], float]:
    wanted = "a number of seconds" + (f", {least:g} or more" if least else "")

    def parse(value: Any, _: Path) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and number >= least):
            raise ValueError(wanted)
        return number

    return parse


def _log_level(value: Any, _: Path) -> str:
    if not isinstance(value, str) or value.lower() not in LOG_LEVELS:
        raise ValueError(f"one of {', '.join(LOG_LEVELS)}")
    return value.lower()


def _bucket(value: Any, _: Path) -> str:
    if not isinstance(value, str) or not _BUCKET.fullmatch(value):
        raise ValueError("a bucket and a folder in it, like gs://my-bucket/overnight")
    return value.rstrip("/")


def _proxy(value: Any, _: Path) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError("a URL that begins with http:// or https://")
    return value


SETTINGS: Final[Mapping[str, Setting]] = {
    "home": Setting("Where jobs and results are kept.", _path, lambda: platformdirs.user_data_path(APP)),
    "cache": Setting("Where fetched models are kept.", _path, lambda: platformdirs.user_cache_path(APP)),
    "poll": Setting("Seconds between looks at a batch, for every job.", _seconds(0.01), lambda: None),
    "visibility": Setting(
        "Seconds after which an accepted batch must be listed, for every job.", _seconds(0), lambda: None
    ),
    "lease": Setting(
        "Seconds after which a silent owner of a job is replaced, for every job.", _seconds(1), lambda: None
    ),
    "log_level": Setting(f"How much is logged: {', '.join(LOG_LEVELS)}.", _log_level, lambda: "info"),
    "log_file": Setting("Where the log goes; unset: overnight.log in the home.", _path, lambda: None),
    "proxy": Setting("HTTP proxy for providers, never for this machine.", _proxy, lambda: None),
    "vertex_bucket": Setting("Where Vertex AI reads and writes: gs://BUCKET/FOLDER.", _bucket, lambda: None),
}
"""The table of settings: their names are the file's fields, the flags' and, as OVERNIGHT_NAME, the variables'."""


def read_config(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Config:
    """The settings as they are now. `flags` holds values of the command line by setting name (None: not given). Reads
    files only; creates nothing. Raises `UsageError` naming the flag, variable or file (with line) of a bad value."""
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    file, written = _file(environ, cwd)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        for given, origin, directory in (
            ((flags or {}).get(name), f"--{name.replace('_', '-')}", cwd),
            (environ.get(setting.variable(name)) or None, setting.variable(name), cwd),
            (written.get(name), str(file), file.parent if file else cwd),
        ):
            if given is not None:
                values[name], origins[name] = _parsed(name, given, directory, origin, file), origin
                break
        else:
            values[name], origins[name] = setting.default(), "default"
    access = find_access(environ, written.get("providers"), str(file), lambda table, name: _line(file, table, name))
    return Config(**values, file=file, access=access, origins=origins)


def make_home(config: Config) -> Path:
    """The home, created for its owner only (0700) where it was missing. Raises `LocalError` where it cannot be made or
    written to."""
    try:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.home):
            pass
    except OSError as error:
        raise LocalError(
            f"home {config.home} ({config.origins['home']}) cannot be written: {error.strerror}; "
            f"choose another with --home or {Setting.variable('home')}"
        ) from None
    return config.home


def model_name(model: str, known: Collection[str] = PROVIDERS) -> tuple[str, str]:
    """`("openai", "gpt-5.4-mini")` of `openai/gpt-5.4-mini`; the model's own name may hold slashes. Raises
    `UsageError` for another form and for a provider that is not `known`."""
    provider, slash, name = model.partition("/")
    if not slash or not provider.strip() or not name.strip():
        raise UsageError(f"model `{model}`: write provider/model, e.g. openai/gpt-5.4-mini or local/smollm2")
    if provider not in known:
        guess = difflib.get_close_matches(provider.lower(), known, n=1)
        hint = f"did you mean `{guess[0]}/{name}`? " if guess else ""
        raise UsageError(f"model `{model}`: unknown provider `{provider}`; {hint}known: {', '.join(sorted(known))}")
    return provider, name


def settings_table() -> str:
    """The settings as a Markdown table, for the docs."""
    lines = ["| field, flag | variable | default | what |", "|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        default = "user data directory" if name == "home" else "user cache directory" if name == "cache" else None
        shown = default or _shown(setting.default()) or "unset"
        lines.append(f"| `{name}` | `{setting.variable(name)}` | {shown} | {setting.description} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """For people; a user name and password in a URL are left out."""
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else re.sub(r"(?<=://)[^/@]*@", "", str(value))


def _parsed(name: str, given: Any, directory: Path, origin: str, file: Path | None) -> Any:
    try:
        return SETTINGS[name].parse(given, directory)
    except ValueError as error:
        where = f"`{name}` ({file}{_line(file, None, name)})" if file is not None and origin == str(file) else origin
        raise UsageError(f"{where}: must be {error}") from None


def _file(environ: Mapping[str, str], cwd: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """The configuration file and what it holds; a file that is asked for must be there."""
    named = environ.get("OVERNIGHT_CONFIG")
    file = Path(cwd, Path(named).expanduser()) if named else platformdirs.user_config_path(APP) / "config.toml"
    try:
        written = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        if named:
            raise UsageError(f"no such configuration file: {file} (OVERNIGHT_CONFIG)") from None
        return None, {}
    except OSError as error:
        raise LocalError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # invalid TOML or UTF-8
        raise UsageError(f"no valid TOML ({file}): {error}") from None
    for name in written:
        if name not in SETTINGS and name != "providers":
            guess = difflib.get_close_matches(name, SETTINGS, n=1)
            hint = f"did you mean `{guess[0]}`?" if guess else f"known: {', '.join(SETTINGS)}"
            raise UsageError(f"`{name}` ({file}{_line(file, None, name)}): unknown field; {hint}")
    return file, written


def _line(file: Path | None, table: str | None, name: str | None) -> str:
    """`:3`, where a line of the file begins with the field (behind the head of its table), or opens that table."""
    found = ""
    for number, line in enumerate([] if file is None else file.read_text("utf-8-sig").splitlines(), start=1):
        if table is not None and _begins(line, table):
            found, table = f":{number}", None
        elif table is None and name is not None and _begins(line, name):
            return f":{number}"
    return found


def _begins(line: str, name: str) -> bool:
    return re.match(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""", line) is not None
