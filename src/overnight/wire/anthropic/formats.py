"""Structured output. Every model that is left (4.5 and later) constrains its answer to a JSON Schema itself, in
`output_config.format`: that is used where the schema can be enforced. It knows neither schemas that contain themselves
nor "any JSON object": there the classic way is taken, one tool that must be used and whose input is the answer. (Upon a
model that thinks no tool can be forced: there it is asked for, and what comes is checked, as everywhere.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANSWER_TOOL = "give_answer"
"""The tool whose input is the answer; what it is called with is read as the answer's text."""

_UNKNOWN = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "$schema",
        "$id",
    }
)
"""Keywords that are refused: the answer is held to them when it is back."""
_NAMED = frozenset({"properties", "$defs", "definitions"})
_LITERAL = frozenset({"enum", "const", "default", "examples"})


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema without keywords that the API refuses; None where it contains itself and cannot be enforced."""
    return None if _contains_itself(schema, schema, ()) else _plain(schema)


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        if name in _LITERAL
        else {inner: _value(part) for inner, part in value.items()}
        if name in _NAMED and isinstance(value, Mapping)
        else _value(value)
        for name, value in schema.items()
        if name not in _UNKNOWN
    }


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain(value)
    return [_value(part) for part in value] if isinstance(value, list | tuple) else value


def _contains_itself(node: Any, root: Mapping[str, Any], open_references: tuple[str, ...]) -> bool:
    if isinstance(node, list | tuple):
        return any(_contains_itself(part, root, open_references) for part in node)
    if not isinstance(node, Mapping):
        return False
    reference = node.get("$ref")
    if isinstance(reference, str):
        if reference in open_references or not reference.startswith("#/"):
            return True
        return _contains_itself(_target(reference, root), root, (*open_references, reference))
    parts = (value for name, value in node.items() if name not in _LITERAL and name not in ("$defs", "definitions"))
    return any(_contains_itself(part, root, open_references) for part in parts)


def _target(reference: str, root: Any) -> Any:
    for step in reference[2:].split("/"):
        root = root.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(root, Mapping) else None
    return root
