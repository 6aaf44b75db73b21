"""What is sent: Gemini's bodies, in lines `{"key":"k<custom id>","request":<body>}`.

The service knows no keys; it gives back beside an answer what stood beside the request, and makes a number of what
looks like one: hence the letter (contracts: 5.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from overnight.types import Endpoint
from overnight.wire.conversation import Asked, Unsayable
from overnight.wire.gemini import requests as gemini
from overnight.wire.vertex.importer import Importer

DIALECT = "Vertex AI"
KEY = "k"
"""What stands before our ids."""


def request_body(endpoint: str, asked: Asked) -> dict[str, Any]:
    """The body of one request, as Gemini takes it and the importer of batch files does. Raises `Unsayable`."""
    if endpoint != Endpoint.GENERATE:
        raise Unsayable("endpoint", DIALECT, "runs generateContent in batches and nothing else")
    if asked.answer is not None:
        asked = replace(asked, answer=replace(asked.answer, schema=spelled_out(asked.answer.schema)))
    body = gemini.request_body(endpoint, asked)
    fault = Importer().fault(body)
    if fault is not None:
        raise Unsayable(fault.field, DIALECT, f"cannot import it: it {fault.why}")
    return body


def request_line(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """One line of an input file, with its `\\n`; it starts exactly with `{"key":"k<id>",`."""
    return gemini.request_line(KEY + custom_id, endpoint, body)


def with_custom_id(line: bytes, custom_id: str) -> bytes:
    """The same request under another id. Raises ValueError for a line that `request_line` did not make."""
    return gemini.with_custom_id(line, KEY + custom_id)


def split_line(line: bytes) -> tuple[str, bytes]:
    """`(custom id, body)` of a line. Raises ValueError."""
    key, body = gemini.split_line(line)
    return key.removeprefix(KEY), body


def spelled_out(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same JSON Schema without names that the importer refuses, as far as that is possible: definitions stand where
    they are referred to, unless they refer to themselves."""
    definitions = {
        f"#/{name}/{key}": definition
        for name in ("$defs", "definitions")
        if isinstance(schema.get(name), Mapping)
        for key, definition in schema[name].items()
    }

    def replaced(value: Any, within: frozenset[str]) -> Any:
        if isinstance(value, list):
            return [replaced(item, within) for item in value]
        if not isinstance(value, Mapping):
            return value
        target = value.get("$ref")
        if isinstance(target, str) and target in definitions and target not in within:
            beside = {name: inner for name, inner in value.items() if name != "$ref"}
            return replaced({**definitions[target], **beside}, within | {target})
        return {name: replaced(inner, within) for name, inner in value.items()}

    rest = {name: value for name, value in schema.items() if name not in {"$schema", "$id"}}
    made: dict[str, Any] = replaced(
        {name: value for name, value in rest.items() if name not in {"$defs", "definitions"}}, frozenset()
    )
    return made if not _refers(made) else rest


def _refers(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "$ref" in value or any(map(_refers, value.values()))
    return isinstance(value, list) and any(map(_refers, value))
