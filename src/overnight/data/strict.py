"""OpenAI's strict mode for JSON Schemas: what of a schema it takes, and the schema that is sent.

The schema sent is never wider where the provider enforces it and never refuses what the user's own schema takes in
other ways: objects are closed, properties that may be null (or have a default) become required, and assertions that
strict mode does not know are left to the check on return. A schema that needs more than that is sent as it is, with
strict mode off. Source: OpenAI's guide on structured outputs (supported schemas), as of November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from overnight.core.limits import resolve

MOST_PROPERTIES: Final = 5_000
MOST_LEVELS: Final = 10
MOST_ENUM_VALUES: Final = 1_000
MOST_CHARACTERS: Final = 120_000  # of names, enum values and constants together
LARGE_ENUM: Final = 250  # values; beyond that its texts together are limited
LARGE_ENUM_CHARACTERS: Final = 15_000

FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_KEPT: Final = frozenset(
    {
        "type", "enum", "const", "title", "description", "pattern", "multipleOf", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    }
)  # fmt: skip
_SILENT: Final = frozenset(
    {"$schema", "$id", "$comment", "default", "examples", "readOnly", "writeOnly", "deprecated", "discriminator"}
)
_UNCHECKED: Final = frozenset(
    {
        "minLength", "maxLength", "uniqueItems", "contains", "minContains", "maxContains", "minProperties",
        "maxProperties", "propertyNames", "not", "if", "then", "else", "dependentRequired", "dependentSchemas",
        "unevaluatedProperties", "unevaluatedItems", "contentEncoding", "contentMediaType", "contentSchema",
    }
)  # fmt: skip
_WALKED: Final = frozenset({"$ref", "$defs", "definitions", "properties", "required", "additionalProperties"}) | {
    "items", "anyOf", "format",
}  # fmt: skip

_TYPES: Final = {
    str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array", dict: "object",
}  # fmt: skip

Path = tuple[str, ...]


def pointer(path: Path) -> str:
    """`properties.name.maxLength`; the schema itself is `the top`."""
    return ".".join(path) or "the top"


@dataclass(slots=True)
class Tightened:
    """A schema as strict mode takes it. `misfit`: the first thing it cannot take (then `schema` is not to be used);
    `unchecked`: the assertions that are left out of it."""

    schema: dict[str, Any] = field(default_factory=dict)
    misfit: str | None = None
    unchecked: list[str] = field(default_factory=list)


def tighten(schema: Mapping[str, Any]) -> Tightened:
    """The schema in strict mode. The schema must be valid, and an object at the top."""
    walk = _Walk(schema)
    walk.found.schema = walk.node(schema, (), 1)
    walk.measure()
    return walk.found


class _Walk:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.found = Tightened()
        self._root = root
        self._properties = self._enum_values = self._characters = 0

    def node(self, node: Any, path: Path, level: int) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            self._misfit(path, "says nothing of the value")
            return {}
        if "$ref" in node:
            return self._reference(node, path)
        if level > MOST_LEVELS and (_is_object(node) or _has_type(node, "array")):
            self._misfit(path, f"is nested deeper than {MOST_LEVELS} levels")
        sent = {} if "type" in node else _implied_type(node)
        for word, value in node.items():
            kept = self._keyword(word, value, node, path, level)
            if kept is not None:
                sent[word] = kept
        if not node.keys() & {"type", "enum", "const", "anyOf", "properties"}:
            self._misfit(path, "says nothing of the value's type")
        if _is_object(node):
            sent |= self._closed(node, path)
        if _has_type(node, "array") and "items" not in node:
            self._misfit(path, "says nothing of the items")
        return sent

    def _keyword(self, word: str, value: Any, node: Mapping[str, Any], path: Path, level: int) -> Any:
        here = (*path, word)
        if word in {"properties", "$defs", "definitions"}:
            inner = level + 1 if word == "properties" else 1
            self._characters += sum(map(len, value))
            self._properties += len(value) if word == "properties" else 0
            return {name: self.node(part, (*here, name), inner) for name, part in value.items()}
        if word == "items":
            return self.node(value, here, level + 1)
        if word == "anyOf":
            if not path:
                self._misfit(here, "must not stand at the top")
            return [self.node(part, (*here, str(index)), level) for index, part in enumerate(value)]
        if word in {"required", "additionalProperties"} or word in _SILENT:
            return None  # `_closed` writes the first two
        if word in _UNCHECKED or (word == "format" and value not in FORMATS) or _looks_around(word, value):
            self.found.unchecked.append(pointer(here))
            return None
        if word not in _KEPT and word != "format":
            self._misfit(here, "is not part of it")
        self._count(word, value, here)
        return value

    def _reference(self, node: Mapping[str, Any], path: Path) -> dict[str, Any]:
        others = node.keys() - {"$ref", "title", "description"} - _SILENT
        if path and others:
            self._misfit((*path, min(others)), "must not stand beside $ref")
        if node["$ref"] != "#" and not node["$ref"].startswith(("#/$defs/", "#/definitions/")):
            self._misfit((*path, "$ref"), "must lead to a definition")
        return {"$ref": node["$ref"]}

    def _closed(self, node: Mapping[str, Any], path: Path) -> dict[str, Any]:
        properties, required = node.get("properties") or {}, node.get("required") or ()
        if not properties:
            self._misfit(path, "is an object without properties")
        if node.get("additionalProperties", False) is not False:
            self._misfit((*path, "additionalProperties"), "must be false")
        for name, part in properties.items():
            if name not in required and not self._may_be_asked(part):
                self._misfit((*path, "properties", name), "is optional (list it in `required` and let it be null)")
        return {"additionalProperties": False, "required": list(properties)}

    def _may_be_asked(self, part: Any) -> bool:
        """Whether an optional property can be required without inventing a value: it may be null, or has a default."""
        if not isinstance(part, Mapping):
            return False
        seen = resolve(str(part["$ref"]), self._root) if "$ref" in part else part
        branches = seen.get("anyOf", ()) if isinstance(seen, Mapping) else ()
        return "default" in part or any(_has_type(branch, "null") for branch in (seen, *branches))

    def _count(self, word: str, value: Any, path: Path) -> None:
        if word == "const":
            self._characters += len(str(value))
        if word != "enum":
            return
        characters = sum(len(str(one)) for one in value)
        self._characters += characters
        self._enum_values += len(value)
        if len(value) > LARGE_ENUM and characters > LARGE_ENUM_CHARACTERS:
            self._misfit(path, f"has more than {LARGE_ENUM_CHARACTERS:,} characters in {len(value):,} values")

    def measure(self) -> None:
        for count, most, what in (
            (self._properties, MOST_PROPERTIES, "properties"),
            (self._enum_values, MOST_ENUM_VALUES, "enum values"),
            (self._characters, MOST_CHARACTERS, "characters in names and values"),
        ):
            if count > most:
                self._misfit((), f"has {count:,} {what}, more than {most:,}")

    def _misfit(self, path: Path, why: str) -> None:
        if self.found.misfit is None:
            self.found.misfit = f"`{pointer(path)}` {why}"


def _looks_around(word: str, value: Any) -> bool:
    return word == "pattern" and re.search(r"\(\?<?[=!]", value) is not None


def _implied_type(node: Mapping[str, Any]) -> dict[str, Any]:
    """The type that strict mode wants to see beside `enum`, `const` or `properties`."""
    if "properties" in node:
        return {"type": "object"}
    values = node.get("enum", [node["const"]] if "const" in node else [])
    kinds = sorted({_TYPES[type(value)] for value in values})
    return {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}


def _has_type(node: Any, kind: str) -> bool:
    kinds = node.get("type") if isinstance(node, Mapping) else None
    return kind == kinds or (isinstance(kinds, list) and kind in kinds)


def _is_object(node: Mapping[str, Any]) -> bool:
    return _has_type(node, "object") or "properties" in node
