"""Lines of an answer file, read and judged: what of each row came, and what it cost.

A line holds `response` or `error` beside its key, in any order; field names are camelCase, and snake_case is taken as
well. What is not of the expected shape is an invalid answer of its row, never an exception.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from overnight.types import Endpoint, FailureKind, Outcome, Reply, Tokens
from overnight.wire.gemini.failures import ErrorFields, fields_from, kind_of, row_message
from overnight.wire.strict import strict_json

MOST_TOKENS = 10_000_000
"""No request has more: a usage that says so says nothing."""
REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    }
)
"""Reasons to end that are a filter's."""


def field(document: object, camel: str) -> Any:
    """A field by its camelCase name, or by its snake_case one; None where there is neither."""
    if not isinstance(document, Mapping):
        return None
    if camel in document:
        return document[camel]
    return document.get("".join(f"_{char.lower()}" if char.isupper() else char for char in camel))


def number(value: object) -> int:
    """A count: a number, or its digits as a text; 0 where it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def read_line(line: bytes, endpoint: str, text: bool = True) -> Reply:
    """The answer of a row, judged. `text=False` leaves text, tool calls and vector out; the judgement is the same.
    Raises ValueError for a line that is no JSON object with a `key`."""
    document = document_of(line)
    key = document.get("key")
    if not isinstance(key, str):
        raise ValueError("the line is no object with a key")
    return judged(key, document.get("response"), document.get("error"), endpoint, text)


def judged(custom_id: str, response: object, error: object, endpoint: str, text: bool) -> Reply:
    """What a row's response, or its error, says."""
    fields = fields_from(error)
    if fields is not None:
        return refused(custom_id, fields)
    if response is None:
        return Reply(custom_id, Outcome.ERRORED, FailureKind.MISSING, "neither answer nor error came", ran=True)
    if not isinstance(response, Mapping):
        return Reply(custom_id, Outcome.ERRORED, FailureKind.INVALID, "unexpected shape of an answer", ran=True)
    if endpoint == Endpoint.EMBED:
        return _embedded(custom_id, response, text)
    return _generated(custom_id, response, text)


def refused(custom_id: str, fields: ErrorFields) -> Reply:
    """A row that was not executed."""
    kind = kind_of(fields)
    outcome = Outcome.CANCELED if kind is FailureKind.CANCELED else Outcome.ERRORED
    return Reply(custom_id, outcome, kind, row_message(fields), fields.reason or fields.word, fields.status)


def body_of(line: bytes) -> bytes | None:
    """The response as the provider wrote it (but for spaces), or the error; None where there is neither."""
    document = orjson.loads(strict_json(line))
    found = document.get("response") or document.get("error") if isinstance(document, dict) else None
    return None if found is None else orjson.dumps(found)


def logprobs_of(line: bytes, endpoint: str) -> bytes | None:
    """`logprobsResult` of the first candidate as JSON, None where it has none."""
    document = orjson.loads(strict_json(line))
    found = field(_first(field(field(document, "response"), "candidates")), "logprobsResult")
    return None if found is None else orjson.dumps(found)


def words_of(parts: Sequence[Any]) -> str:
    """All that was said, thoughts apart."""
    said = (part for part in parts if isinstance(part, Mapping) and not part.get("thought"))
    return "".join(part["text"] for part in said if isinstance(part.get("text"), str))


def calls_of(parts: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The function calls."""
    calls = (field(part, "functionCall") for part in parts)
    return [call for call in calls if isinstance(call, Mapping)]


def tokens_of(response: Mapping[str, Any]) -> Tokens | None:
    """Usage; thoughts are output as well. None where nothing is told, or nothing that can be."""
    usage = field(response, "usageMetadata")
    if not isinstance(usage, Mapping) or field(usage, "promptTokenCount") is None:
        return None
    thought = number(field(usage, "thoughtsTokenCount"))
    told = Tokens(
        number(field(usage, "promptTokenCount")) + number(field(usage, "toolUsePromptTokenCount")),
        number(field(usage, "cachedContentTokenCount")),
        number(field(usage, "candidatesTokenCount")) + thought,
        thought,
    )
    return told if max(told.input, told.cached, told.output) <= MOST_TOKENS else None


def parts_of(candidate: object) -> Sequence[Any]:
    """The parts of a candidate's content."""
    parts = field(field(candidate, "content"), "parts")
    return parts if isinstance(parts, list) else ()


def document_of(line: bytes) -> dict[str, Any]:
    """The line's object, read leniently (NaN is null, broken UTF-8 is replaced). Raises ValueError."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(strict_json(line))
        except (ValueError, RecursionError):
            raise ValueError("the line is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("the line is no object")
    return document


# ------------------------------------------------------------------------------------------ judgement


def _generated(custom_id: str, response: Mapping[str, Any], text: bool) -> Reply:
    candidate = _first(field(response, "candidates"))
    reason = field(candidate, "finishReason")
    parts = parts_of(candidate)
    said, calls = words_of(parts), calls_of(parts)
    kind, why = _verdict(response, candidate, reason, said, calls)
    version, request_id = field(response, "modelVersion"), field(response, "responseId")
    return Reply(
        custom_id,
        Outcome.SUCCEEDED if kind is None else Outcome.ERRORED,
        kind,
        why,
        None,
        200,
        request_id if isinstance(request_id, str) else None,
        (said or None) if text else None,
        orjson.dumps(calls) if text and calls and kind is None else None,
        None,
        reason if isinstance(reason, str) else None,
        version if isinstance(version, str) else None,
        tokens_of(response),
        True,
    )


def _verdict(
    response: Mapping[str, Any], candidate: object, reason: object, said: str, calls: Sequence[Any]
) -> tuple[FailureKind | None, str | None]:
    if candidate is None:
        blocked = field(field(response, "promptFeedback"), "blockReason")
        if blocked is not None:
            return FailureKind.REFUSED, "the prompt was blocked by a filter"
        return FailureKind.EMPTY, "the answer has no candidate"
    if reason in REFUSALS:
        return FailureKind.REFUSED, "stopped by a filter"
    if reason == "MAX_TOKENS":
        return FailureKind.TRUNCATED, "cut at the output limit"
    if reason in {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"}:
        return FailureKind.INVALID, "the model called a tool in a way that cannot be read"
    if calls or (said and not said.isspace()):
        return None, None
    return FailureKind.EMPTY, "the answer is empty"


def _embedded(custom_id: str, response: Mapping[str, Any], text: bool) -> Reply:
    values = field(field(response, "embedding"), "values")
    counted = field(response, "tokenCount")
    told = Tokens(number(counted)) if counted is not None else tokens_of(response)
    if not isinstance(values, list) or not values:
        kind, why = FailureKind.EMPTY, "the answer has no vector"
    elif not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        kind, why = FailureKind.INVALID, "a vector holds something that is no finite number"
    else:
        vector = tuple(map(float, values)) if text else None
        return Reply(custom_id, Outcome.SUCCEEDED, status=200, vector=vector, tokens=told, ran=True)
    return Reply(custom_id, Outcome.ERRORED, kind, why, None, 200, tokens=told, ran=True)


def _first(candidates: object) -> Any:
    return candidates[0] if isinstance(candidates, list) and candidates else None
