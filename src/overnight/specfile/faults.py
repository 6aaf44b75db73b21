"""What is wrong with a spec, in one line: the field, where it stands, what is wrong, and the word that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from overnight.errors import UsageError
from overnight.spec import Spec
from overnight.specfile.marks import Path, Place

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING = re.compile(r"Object missing required field `(.*?)`")
_TYPES = re.compile(r"Expected `(.*?)`, got `(.*?)`")
_RANGE = re.compile(r"Expected `\w+` (>=|<=|>|<) (\S+)")
_LENGTH = re.compile(r"Expected `array` of length (\d+), got (\d+)")
_WORD = re.compile(r"Invalid enum value (.+)", re.DOTALL)
_AT = re.compile(r" - at `(?:key` in `)?\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")

_ENGLISH = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def field(path: Path) -> str:
    """`prompt.examples[0].user`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def fault(path: Path, place: Place, what: str) -> UsageError:
    """`` `prompt.usr` (news.yaml:7): unknown field ``."""
    return UsageError(f"`{field(path)}` ({place.at(path)}): {what}" if path else f"{place.name}: {what}")


def explain(error: msgspec.ValidationError, mapping: Any, place: Place) -> UsageError:
    """The library's error in our words. Values are shown where they are numbers or words of ours, never texts."""
    message = str(error)
    at = _AT.search(message)
    path = _path(at[1] if at else "")
    head = message[: at.start()] if at else message
    if unknown := _UNKNOWN.fullmatch(head):
        return fault((*path, unknown[1]), place, f"unknown field; {_meant(unknown[1], path)}")
    if missing := _MISSING.fullmatch(head):
        return fault((*path, missing[1]), place, f"missing{_described(path, missing[1])}")
    if types := _TYPES.match(head):
        return fault(path, place, _wrong_type(types[1], types[2]))
    if bound := _RANGE.match(head):
        return fault(path, place, f"must be {_BOUNDS[bound[1]]} {float(bound[2]):g}, not {_value(mapping, path)}")
    if length := _LENGTH.match(head):
        return fault(path, place, f"must be a list of {length[1]}, not of {length[2]}")
    if _WORD.match(head):
        return fault(path, place, _wrong_word(path, _value(mapping, path)))
    return fault(path, place, head)


def _path(text: str) -> Path:
    steps: list[str | int] = []
    for name, index in _STEP.findall(text):
        if index == "...":  # some value of a mapping: the library does not say which
            break
        steps.append(name or int(index))
    return tuple(steps)


def _value(mapping: Any, path: Path) -> Any:
    for step in path:
        mapping = mapping[step]
    return mapping


def _wrong_type(expected: str, got: str) -> str:
    wanted = [_ENGLISH.get(kind, kind) for kind in expected.split(" | ")]
    hint = "; put it in quotes" if "str" in expected.split(" | ") and got in {"int", "float", "bool", "null"} else ""
    return f"must be {_listed(wanted)}, not {_ENGLISH.get(got, got)}{hint}"


def _wrong_word(path: Path, given: str) -> str:
    words = sorted({word for kind in _types_at(path) for word in _words(kind)})
    guess = difflib.get_close_matches(given, words, n=1)
    lists = ", or a list" if any(isinstance(kind, inspect.VarTupleType) for kind in _types_at(path)) else ""
    meant = f"; did you mean `{guess[0]}`?" if guess else ""
    return f"must be {_listed([f'`{word}`' for word in words])}{lists}, not `{given}`{meant}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _meant(name: str, path: Path) -> str:
    here = [known.encode_name for kind in _types_at(path) for known in _fields(kind)]
    guess = difflib.get_close_matches(name, here, n=1)
    if guess:
        return f"did you mean `{guess[0]}`?"
    everywhere = {dotted.rpartition(".")[2]: dotted for dotted in _dotted(inspect.type_info(Spec), "")}
    guess = difflib.get_close_matches(name, everywhere, n=1, cutoff=0.8)
    if guess:
        return f"did you mean `{everywhere[guess[0]]}`?"
    return f"known here: {', '.join(sorted(here))}"


def _described(path: Path, name: str) -> str:
    for kind in _types_at(path):
        for known in _fields(kind):
            if known.encode_name == name and isinstance(known.type, inspect.Metadata):
                return f"; {(known.type.extra_json_schema or {}).get('description', '')}"
    return ""


def _types_at(path: Path) -> list[inspect.Type]:
    """The types that a value at this path may have, without their metadata."""
    kinds = list(_plain(inspect.type_info(Spec)))
    for step in path:
        kinds = [inner for kind in kinds for found in _inside(kind, step) for inner in _plain(found)]
    return kinds


def _plain(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        yield from _plain(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for choice in kind.types:
            yield from _plain(choice)
    else:
        yield kind


def _inside(kind: inspect.Type, step: str | int) -> list[inspect.Type]:
    match kind:
        case inspect.StructType():
            return [known.type for known in kind.fields if known.encode_name == step]
        case inspect.VarTupleType():
            return [kind.item_type]
        case inspect.TupleType() if isinstance(step, int):
            return list(kind.item_types[step : step + 1])
        case inspect.DictType():
            return [kind.value_type]
        case _:
            return []


def _fields(kind: inspect.Type) -> tuple[inspect.Field, ...]:
    return kind.fields if isinstance(kind, inspect.StructType) else ()


def _words(kind: inspect.Type) -> list[str]:
    return [str(value) for value in kind.values] if isinstance(kind, inspect.LiteralType) else []


def _dotted(kind: inspect.Type, prefix: str) -> Iterator[str]:
    """Every field of the spec, outer ones last so that they win."""
    for plain in _plain(kind):
        for known in _fields(plain):
            yield from _dotted(known.type, f"{prefix}{known.encode_name}.")
        yield from (f"{prefix}{known.encode_name}" for known in _fields(plain))
