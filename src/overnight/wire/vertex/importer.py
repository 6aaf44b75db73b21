"""What the importer of Vertex AI refuses: it reads a batch file as the rows of a table, and one line that does not fit
fails the whole job before anything has run (contracts: 5.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

DEEPEST: Final = 15  # objects in one another, the request being the first
MOST_FIELDS: Final = 10_000  # of which the types are remembered
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_NO_LIST: Final = "is null where a list is meant"
_LISTS: Final = frozenset(
    {
        *("contents", "parts", "tools", "safetySettings", "safety_settings", "stopSequences", "stop_sequences"),
        *("functionDeclarations", "function_declarations", "responseModalities", "response_modalities"),
        *("enum", "required", "anyOf", "any_of", "propertyOrdering", "property_ordering", "prefixItems"),
    }
)
"""Fields of a request that hold lists wherever they stand."""


class Fault(NamedTuple):
    """What is wrong, and with which field of the request (`generationConfig.responseSchema.$defs`)."""

    field: str
    why: str


class Importer:
    """The table that the requests so far make. A request that does not fit changes nothing of it."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}

    def fault(self, body: Mapping[str, Any]) -> Fault | None:
        """The first thing of this request that the importer would refuse, itself or beside earlier ones; else None."""
        new: dict[str, str] = {}
        fault = self._object("", body, 1, new)
        if fault is None and len(self._types) < MOST_FIELDS:
            self._types |= new
        return fault

    def _object(self, path: str, fields: Mapping[str, Any], depth: int, new: dict[str, str]) -> Fault | None:
        if depth > DEEPEST:
            return Fault(path, f"stands more than {DEEPEST} levels deep")
        if not fields:
            return Fault(path or "request", "is an empty object")
        for name, value in fields.items():
            inner = f"{path}.{name}" if path else name
            if not _NAME.fullmatch(name):
                return Fault(inner, "has a name of more than letters, digits and _, or begins with a digit")
            if value is None and name in _LISTS:
                return Fault(inner, _NO_LIST)
            fault = self._value(inner, value, depth, new)
            if fault is not None:
                return fault
        return None

    def _value(self, path: str, value: Any, depth: int, new: dict[str, str]) -> Fault | None:
        kind = _kind(value)
        known = new.get(path) or self._types.get(path)
        if kind == "null":
            return Fault(path, _NO_LIST) if known == "a list" else None
        if known is not None and known != kind:
            return Fault(path, f"is {kind} here and {known} elsewhere in the file")
        new[path] = kind
        if isinstance(value, Mapping):
            return self._object(path, value, depth + 1, new)
        for item in value if isinstance(value, Sequence) and not isinstance(value, str) else ():
            if item is None:
                return Fault(path, "holds null in a list")
            fault = self._value(f"{path}[]", item, depth, new)
            if fault is not None:
                return fault
        return None


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case _:
            return "a list"
