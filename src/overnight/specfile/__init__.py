"""Spec files: YAML or a mapping in, a typed and checked spec or one clear error line out."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from overnight.errors import LocalError, UsageError
from overnight.spec import Spec
from overnight.specfile.document import commented_example, dump_yaml, spec_schema
from overnight.specfile.faults import explain
from overnight.specfile.marks import Place, read_scalar, read_yaml
from overnight.specfile.rules import check

__all__ = ["anchor", "apply_set", "commented_example", "dump_yaml", "load_spec", "spec_from", "spec_schema"]

_COMMAND_LINE = "command line"


def load_spec(path: Path, overrides: Mapping[str, Any] | None = None) -> Spec:
    """The spec of a YAML file. `overrides` maps dotted fields (`prompt.user`) to values that stand in place of the
    file's, as flags of a command line do. Paths in the file are relative to the file, paths in the overrides to the
    working directory; in the result all are absolute. Raises `UsageError`: one line with file, line and field."""
    mapping, lines = read_yaml(_read(path), str(path))
    if mapping is None:
        mapping = {}
    if isinstance(mapping, dict):
        _anchor(mapping, path.absolute().parent)
        for dotted, value in (overrides or {}).items():
            _assign(mapping, dotted, value, _COMMAND_LINE)
            lines[tuple(dotted.split("."))] = _COMMAND_LINE
        _anchor(mapping, Path.cwd())
    return _converted(mapping, Place(str(path), lines))


def spec_from(mapping: Mapping[str, Any], where: str = _COMMAND_LINE) -> Spec:
    """The spec that a nested mapping of plain values stands for; `where` names its origin in errors (`UsageError`).
    Dotted fields (`{"prompt.user": ...}`) are taken as nested ones. Paths stay as they are: see `anchor`."""
    nested: dict[str, Any] = {}
    for dotted, value in mapping.items():
        _assign(nested, dotted, value, where)
    return _converted(nested, Place(where))


def apply_set(spec: Spec, assignments: Iterable[str]) -> Spec:
    """The spec with `--set field.field=VALUE` applied; values are YAML scalars, or lists and mappings in brackets, and
    paths are relative to the working directory. Raises `UsageError` naming the field."""
    mapping: dict[str, Any] = msgspec.to_builtins(spec)
    texts: dict[str, str] = {}
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted.strip():
            raise UsageError(f"--set {dotted}: write field=value, e.g. --set policy.retries=3")
        texts[dotted.strip()] = text
    lines: dict[tuple[str | int, ...], int | str] = {}
    for dotted, text in texts.items():
        _assign(mapping, dotted, read_scalar(text), "--set")
        lines[tuple(dotted.split("."))] = "--set"
    _texts_where_wanted(mapping, texts)
    _anchor(mapping, Path.cwd())
    return _converted(mapping, Place("spec", lines))


def anchor(spec: Spec, directory: Path) -> Spec:
    """The spec with its relative paths (source, output, answer.schema) made absolute against the directory."""
    mapping: dict[str, Any] = msgspec.to_builtins(spec)
    _anchor(mapping, directory.absolute())
    return msgspec.convert(mapping, Spec)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise UsageError(f"no such spec file: {path}; `overnight init` writes one") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory; name the spec file in it") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"not UTF-8 ({path}:{line}): save the spec as UTF-8") from None
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None


def _converted(mapping: Any, place: Place) -> Spec:
    try:
        spec = msgspec.convert(mapping, Spec)
    except msgspec.ValidationError as error:
        raise explain(error, mapping, place) from None
    check(spec, place)
    return spec


def _assign(mapping: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    *outer, last = dotted.split(".")
    for step in outer:
        inner = mapping.get(step) or {}
        if not isinstance(inner, dict):
            raise UsageError(f"`{dotted}` ({where}): `{step}` holds no fields; set `{step}` as a whole")
        mapping[step] = dict(inner)  # a copy: the caller keeps its own
        mapping = mapping[step]
    mapping[last] = value


def _texts_where_wanted(mapping: dict[str, Any], texts: Mapping[str, str]) -> None:
    """`--set name=2024` names the job "2024": where a text is wanted, the value is the text as it was written."""
    for dotted, text in texts.items():
        try:
            msgspec.convert(mapping, Spec)
        except msgspec.ValidationError as error:
            if str(error).startswith("Expected `str") and str(error).endswith(f" - at `$.{dotted}`"):
                _assign(mapping, dotted, text, "--set")


def _anchor(mapping: dict[str, Any], directory: Path) -> None:
    source, output, answer = mapping.get("source"), mapping.get("output"), mapping.get("answer")
    if isinstance(source, str):
        mapping["source"] = _absolute(source, directory)
    elif isinstance(source, list | tuple):
        mapping["source"] = [_absolute(one, directory) if isinstance(one, str) else one for one in source]
    if isinstance(output, str):
        mapping["output"] = _absolute(output, directory)
    if isinstance(answer, dict) and isinstance(answer.get("schema"), str):
        mapping["answer"] = answer | {"schema": _absolute(answer["schema"], directory)}


def _absolute(path: str, directory: Path) -> str:
    if not path or path == "-" or "://" in path or Path(path).is_absolute():
        return path
    above = glob.escape(str(directory)) if glob.has_magic(path) else str(directory)
    return str(Path(above, path))
