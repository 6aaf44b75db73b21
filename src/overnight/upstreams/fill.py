"""A value that holds to a JSON Schema, made without a model: the same schema and text always give the same value.

| schema | value |
|---|---|
| `const` | that |
| `enum` | one of its members, chosen by the text's hash |
| `anyOf` | the first branch (the last one where `$ref`s nest deep), together with what stands beside it |
| `$ref` | what it points to in the same document |
| `type: object` | every property; below four levels only the required ones |
| `type: array` | `minItems` items, at least one where `maxItems` and the depth allow it |
| `type: string` | the text, cut to `maxLength`, filled up to `minLength`; a fixed one for `format` |
| `type: integer`, `number` | 0, or else the nearest number that the bounds allow |
| `type: boolean`, `null` | true, null |

A list of types stands for the first that is not null.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final

from overnight.wire.openai.refusal import Refusal

SHALLOW: Final = 4
DEEP: Final = 12
DEEPEST: Final = 40
LONGEST: Final = 10_000

_BY_FORMAT: Final = {
    "date": "2024-02-29",
    "time": "06:30:00Z",
    "date-time": "2024-02-29T06:30:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def fill(schema: Mapping[str, Any], text: str) -> object:
    """The value. `schema` has passed `answer_schemas.answer_check`. Raises `Refusal` where it cannot end."""
    return _Filling(schema, text).value(schema, 0)


class _Filling:
    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self.root = root
        self.text = text
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self.choice = int.from_bytes(digest, "big")

    def value(self, schema: Any, depth: int) -> object:
        if depth > DEEPEST:
            raise _refusal("'$ref' recurs without end")
        if not isinstance(schema, dict):
            return self.text
        if "$ref" in schema:
            rest = {word: rule for word, rule in schema.items() if word != "$ref"}
            return self.value({**self._target(schema["$ref"]), **rest}, depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self.choice % len(schema["enum"])]
        if schema.get("anyOf"):
            rest = {word: rule for word, rule in schema.items() if word != "anyOf"}
            return self.value({**rest, **schema["anyOf"][0 if depth < DEEP else -1]}, depth + 1)
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema)

    def _target(self, reference: str) -> dict[str, Any]:
        at: Any = self.root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            at = at.get(name) if isinstance(at, dict) else None
        if not isinstance(at, dict):
            raise _refusal(f"'$ref' {reference} leads nowhere")
        return at

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, object]:
        required = schema.get("required", ())
        return {
            name: self.value(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if name in required or depth < SHALLOW
        }

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[object]:
        wanted = 1 if depth < SHALLOW and schema.get("maxItems", 1) > 0 else 0
        length = _bounded(max(int(schema.get("minItems", 0)), wanted))
        return [self.value(schema.get("items", {}), depth + 1)] * length

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "format" in schema:
            return _BY_FORMAT[schema["format"]]
        least = _bounded(int(schema.get("minLength", 0)))
        most = schema.get("maxLength")
        return self.text[: None if most is None else int(most)].ljust(least, ".")


def _bounded(length: int) -> int:
    if length > LONGEST:
        raise _refusal(f"lengths over {LONGEST} are not made up here")
    return length


def _refusal(what: str) -> Refusal:
    name = "response_format"
    return Refusal(f"Invalid schema for {name}: {what}.", param=name, code="invalid_json_schema")


def _type(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((str(one) for one in kind if one != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else None
    return str(kind)


def _number(schema: Mapping[str, Any], whole: bool) -> float:
    """The first of 0, the lower bound, the middle, the upper bound that the bounds allow; 0 where none is."""
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    middle = (low + high) / 2
    near: list[float] = [0, low, low + 1, middle, high - 1, high]
    if whole:
        near = [
            candidate for value in near if math.isfinite(value) for candidate in (math.floor(value), math.ceil(value))
        ]
    allowed = (
        value
        for value in near
        if math.isfinite(value)
        and schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )
    return next(allowed, 0)
