"""JSON Schemas that an answer must hold to: what is allowed in them, and whether an answer does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from overnight.wire.openai.refusal import Refusal

KEYWORDS: Final = frozenset(
    {"type", "enum", "const", "anyOf", "$ref", "$defs", "definitions"}
    | {"properties", "required", "additionalProperties", "items", "minItems", "maxItems"}
    | {"minLength", "maxLength", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)
ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$comment"}
)
FORMATS: Final = frozenset({"date", "time", "date-time", "uuid"})
DEEPEST: Final = 48

_ONE: Final = ("items", "additionalProperties")
_MANY: Final = ("properties", "$defs", "definitions", "anyOf")

Check = Callable[[object], bool]


def answer_check(schema: Mapping[str, Any]) -> Check:
    """A function that says whether a value holds to the schema. Raises `Refusal` (400) for a schema that is none, is
    not an object at the top, or uses a keyword outside `KEYWORDS` and `ANNOTATIONS`: grammars for the other keywords
    are not to be trusted, and a rule that is not kept must not look kept."""
    return _compiled(orjson.dumps(schema))


@lru_cache(maxsize=64)
def _compiled(schema: bytes) -> Check:
    import jsonschema_rs

    read = orjson.loads(schema)
    if read.get("type") != "object":
        raise _refusal("the schema must be of type 'object' at the top")
    for word in _unsupported(read, 0):
        raise _refusal(f"'{word}' is not supported")
    try:
        validator = jsonschema_rs.validator_for(read, validate_formats=True)
    except ValueError:
        raise _refusal("this is not a valid JSON Schema") from None
    check: Check = validator.is_valid
    return check


def _unsupported(schema: object, depth: int) -> Iterator[str]:
    """Names of what is not allowed, in the order in which it is met."""
    if depth > DEEPEST:
        yield "nesting this deep"
        return
    if not isinstance(schema, dict):
        if not isinstance(schema, bool):
            yield "a schema that is no object"
        return
    yield from (word for word in schema if word not in KEYWORDS and word not in ANNOTATIONS)
    if "format" in schema and str(schema["format"]) not in FORMATS:
        yield f"format: {schema['format']}"
    if not str(schema.get("$ref", "#")).startswith("#"):
        yield "$ref to another document"
    for word in _ONE:
        if word in schema:
            yield from _unsupported(schema[word], depth + 1)
    for word in _MANY:
        for inner in _inner(schema.get(word)):
            yield from _unsupported(inner, depth + 1)


def _inner(schemas: object) -> list[object]:
    if isinstance(schemas, dict):
        return list(schemas.values())
    return schemas if isinstance(schemas, list) else []


def _refusal(what: str) -> Refusal:
    name = "response_format"
    return Refusal(f"Invalid schema for {name}: {what}.", param=name, code="invalid_json_schema")
