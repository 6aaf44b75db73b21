"""What comes back: one line of an output or error file, read and judged.

Typed decoding is the fast way. A line that does not fit is read again by the standard library, which takes what sloppy
servers write (NaN, lone surrogates); what then still has a wrong shape is an invalid answer of that row, never an
exception: the row ran and was paid, and its ledger must know.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from msgspec import Raw, UnsetType, ValidationError, convert
from msgspec.json import Decoder, encode

from overnight.types import Endpoint, FailureKind, Outcome, Reply
from overnight.wire.jsonl import BOM
from overnight.wire.openai.failures import ErrorFields, error_fields, fields_from, kind_of, row_message
from overnight.wire.openai.kinds import judge_completion, judge_images, judge_moderation
from overnight.wire.openai.replies import failed, succeeded, tokens_of
from overnight.wire.openai.shapes import (
    ChatBody,
    CompletionBody,
    Embedding,
    EmbeddingsBody,
    ErrorShape,
    ImagesBody,
    Item,
    Line,
    ModerationBody,
    Response,
    ResponsesBody,
    Usage,
)

Judge = Callable[[str, Response[Any], bool], Reply]

_TOOL_ITEMS = frozenset({"function_call", "custom_tool_call"})
_PASSING_CODES = frozenset({"server_error", "rate_limit_exceeded", "vector_store_timeout"})
_items = Decoder(list[Item] | None)
_raw_items = Decoder(list[Raw])


def read_line(line: bytes, endpoint: str, *, text: bool = True) -> Reply:
    """The answer of a row of `endpoint`, judged. `text=False` leaves text, tool calls and vector out of the reply; the
    judgement is the same. Raises ValueError for a line that is no JSON object with a `custom_id`."""
    lines, judge = _DIALECTS.get(endpoint, _ANY)
    try:
        return _judged(lines.decode(line), judge, text)
    except (ValueError, RecursionError):
        return _read_slowly(line, lines, judge, text)


def _judged(line: Line[Any], judge: Judge, text: bool) -> Reply:
    response = line.response
    error = line.error
    if error is not None and (error.code is not None or error.message):
        return _not_executed(line.custom_id, response, _fields(error))
    if response is None:
        return Reply(line.custom_id, Outcome.ERRORED, FailureKind.MISSING, "neither answer nor error came", ran=True)
    if 200 <= response.status_code < 300:
        if response.body is None:
            return failed(line.custom_id, response, FailureKind.EMPTY, "the answer has no body")
        return judge(line.custom_id, response, text)
    error = getattr(response.body, "error", None)
    return _refused(
        line.custom_id, response.status_code, response.request_id, None if error is None else _fields(error)
    )


# ------------------------------------------------------------------------------------- rows that gave no answer


def _not_executed(custom_id: str, response: Response[Any] | None, fields: ErrorFields) -> Reply:
    ran = response is not None and 200 <= response.status_code < 300
    status = response.status_code if response is not None else None
    match fields.code:
        case "batch_expired":
            return Reply(custom_id, Outcome.EXPIRED, FailureKind.EXPIRED, "the batch expired first", fields.code)
        case "batch_cancelled" | "batch_canceled":
            return Reply(custom_id, Outcome.CANCELED, FailureKind.CANCELED, "the batch was canceled first", fields.code)
        case _:
            kind = kind_of(status, fields)
            return Reply(
                custom_id, Outcome.ERRORED, kind, row_message(status, fields), fields.code, status or None, ran=ran
            )


def _refused(custom_id: str, status: int, request_id: str | None, fields: ErrorFields | None) -> Reply:
    if status == 0 and fields is None:
        # Seen in the error file while the counts said completed: it may have run, and what it cost is not known.
        return Reply(custom_id, Outcome.ERRORED, FailureKind.MISSING, "status 0 and no answer", ran=True)
    known = fields or ErrorFields()
    kind = kind_of(status, known)
    return Reply(custom_id, Outcome.ERRORED, kind, row_message(status, known), known.code, status, request_id or None)


def _fields(error: ErrorShape) -> ErrorFields:
    return error_fields(error.code, error.type, error.param, error.message)


# ------------------------------------------------------------------------------------------ judges, by job kind


def _judge_chat(custom_id: str, response: Response[ChatBody], text: bool) -> Reply:
    body = response.body
    choice = body.choices[0] if body is not None and body.choices else None
    message = choice.message if choice is not None else None
    if choice is None or message is None:
        return failed(custom_id, response, FailureKind.EMPTY, "the answer has no message")
    said = message.content
    shown = said if text else None
    finish = choice.finish_reason
    if finish == "content_filter":
        return failed(custom_id, response, FailureKind.REFUSED, "stopped by the content filter", shown, finish)
    if message.refusal:
        return failed(custom_id, response, FailureKind.REFUSED, "the model refused", shown, finish)
    if finish == "length":
        return failed(custom_id, response, FailureKind.TRUNCATED, "cut at the output limit", shown, finish)
    calls = message.tool_calls
    if not isinstance(calls, UnsetType) and (raw := bytes(calls)) != b"null" and raw.strip(b"[] \t\r\n"):
        return succeeded(custom_id, response, shown, raw if text else None, None, finish)
    if not said or said.isspace():
        return failed(custom_id, response, FailureKind.EMPTY, "the answer is empty", shown, finish)
    return succeeded(custom_id, response, shown, None, None, finish)


def _judge_response(custom_id: str, response: Response[ResponsesBody], text: bool) -> Reply:
    body = response.body or ResponsesBody()
    items = () if isinstance(body.output, UnsetType) else _items.decode(body.output) or ()
    parts = [part for item in items if item.type == "message" for part in item.content or ()]
    said = "".join(part.text or "" for part in parts if part.type == "output_text")
    shown = said if text and said else None
    status = body.status or "completed"
    if status == "failed":
        return _failed_response(custom_id, response, body)
    if status == "incomplete":
        return _incomplete_response(custom_id, response, body, shown)
    if status != "completed":
        message = f"the response is {status if status.isalpha() else 'not finished'}"
        return failed(custom_id, response, FailureKind.INVALID, message, shown)
    if any(part.refusal or part.type == "refusal" for part in parts):
        return failed(custom_id, response, FailureKind.REFUSED, "the model refused", shown, status)
    calls = [number for number, item in enumerate(items) if item.type in _TOOL_ITEMS]
    if calls and not isinstance(body.output, UnsetType):
        raw = _raw_items.decode(body.output)
        tool_calls = b"[%s]" % b",".join(bytes(raw[number]) for number in calls)
        return succeeded(custom_id, response, shown, tool_calls if text else None, None, status)
    if not said or said.isspace():
        return failed(custom_id, response, FailureKind.EMPTY, "the answer is empty", shown, status)
    return succeeded(custom_id, response, shown, None, None, status)


def _failed_response(custom_id: str, response: Response[ResponsesBody], body: ResponsesBody) -> Reply:
    fields = _fields(body.error) if body.error is not None else ErrorFields()
    kind = kind_of(None if fields.code in _PASSING_CODES or fields.code is None else 400, fields)
    return failed(custom_id, response, kind, row_message(response.status_code, fields), None, "failed", fields.code)


def _incomplete_response(
    custom_id: str, response: Response[ResponsesBody], body: ResponsesBody, shown: str | None
) -> Reply:
    reason = body.incomplete_details.reason if body.incomplete_details is not None else None
    if reason == "content_filter":
        return failed(custom_id, response, FailureKind.REFUSED, "stopped by the content filter", shown, reason)
    return failed(custom_id, response, FailureKind.TRUNCATED, "cut at the output limit", shown, reason or "incomplete")


def _judge_embeddings(custom_id: str, response: Response[EmbeddingsBody], text: bool) -> Reply:
    body = response.body
    vectors = [_vector(entry) for entry in (body.data if body is not None else None) or ()]
    if not vectors or not all(vectors):
        return failed(custom_id, response, FailureKind.EMPTY, "the answer has no vector")
    if len({len(vector) for vector in vectors}) > 1:
        return failed(custom_id, response, FailureKind.INVALID, "the vectors are not of one length")
    if not all(math.isfinite(sum(vector)) for vector in vectors):
        return failed(custom_id, response, FailureKind.INVALID, "a vector holds a number that is not finite")
    # A row with several inputs (raw lines) has several vectors: they stay in the raw answer.
    return succeeded(custom_id, response, None, None, tuple(vectors[0]) if text and len(vectors) == 1 else None, None)


def vectors_of(body: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """The vectors of an embeddings list. Raises ValueError for what is none."""
    try:
        entries = convert(body, EmbeddingsBody).data or ()
    except ValidationError as error:
        raise ValueError(f"not an embeddings list: {error}") from None
    return tuple(tuple(_vector(entry)) for entry in entries)


def _vector(entry: Embedding) -> Sequence[float]:
    given = entry.embedding
    if not isinstance(given, str):
        return given or ()
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(given, validate=True))
    except (binascii.Error, ValueError):
        raise ValidationError("embedding is no base64 of 32-bit floats") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _judge_any(custom_id: str, response: Response[dict[str, Any]], text: bool) -> Reply:
    """Any other endpoint: a body is an answer. Where it looks like one that holds text, the text is taken."""
    body = response.body
    if not body:
        return failed(custom_id, Response(response.status_code, response.request_id), FailureKind.EMPTY, "empty body")
    judge, shape = (_judge_response, ResponsesBody) if "output" in body else (_judge_chat, ChatBody)
    try:
        known: Any = Decoder(shape).decode(encode(body))
        reply = judge(custom_id, Response(response.status_code, response.request_id, known), text)
    except ValidationError:
        known = ChatBody(usage=_usage_from(body.get("usage")))
        reply = failed(custom_id, Response(response.status_code, response.request_id, known), FailureKind.INVALID, "")
    return Reply(
        custom_id,
        Outcome.SUCCEEDED,
        status=reply.status,
        request_id=reply.request_id,
        text=reply.text,
        tool_calls=reply.tool_calls,
        finish_reason=reply.finish_reason,
        model=reply.model,
        tokens=reply.tokens,
        ran=True,
    )


_DIALECTS: dict[str, tuple[Decoder[Line[Any]], Judge]] = {
    Endpoint.CHAT: (Decoder(Line[ChatBody]), _judge_chat),
    Endpoint.RESPONSES: (Decoder(Line[ResponsesBody]), _judge_response),
    Endpoint.EMBEDDINGS: (Decoder(Line[EmbeddingsBody]), _judge_embeddings),
    Endpoint.MODERATIONS: (Decoder(Line[ModerationBody]), judge_moderation),
    Endpoint.COMPLETIONS: (Decoder(Line[CompletionBody]), judge_completion),
    Endpoint.IMAGES: (Decoder(Line[ImagesBody]), judge_images),
    Endpoint.IMAGE_EDITS: (Decoder(Line[ImagesBody]), judge_images),
}
_ANY: tuple[Decoder[Line[Any]], Judge] = (Decoder(Line[dict[str, Any]]), _judge_any)


# ------------------------------------------------------------------------------------------ lines that do not fit


def _read_slowly(line: bytes, lines: Decoder[Line[Any]], judge: Judge, text: bool) -> Reply:
    document = _document(line)
    _open_body(document)
    try:
        return _judged(lines.decode(_encoded(document)), judge, text)
    except (ValueError, RecursionError) as error:
        wrong = str(error) if isinstance(error, ValidationError) else "unreadable"
    custom_id, response = document["custom_id"], document.get("response")
    if not isinstance(response, dict):
        return Reply(custom_id, Outcome.ERRORED, FailureKind.TRANSIENT, "unexpected shape of an error")
    status, body = response.get("status_code"), response.get("body")
    status = status if isinstance(status, int) else None
    if status is not None and not 200 <= status < 300:
        return _refused(custom_id, status, None, fields_from(body))
    usage = None
    if isinstance(body, dict) and (given := body.pop("usage", None)) is not None:
        usage = _usage_from(given)
        with suppress(ValueError, RecursionError):
            # A good answer with a strange usage is a good answer whose cost is unknown.
            return replace(_judged(lines.decode(_encoded(document)), judge, text), tokens=tokens_of(usage))
    shape = Response(status or 0, None, ChatBody(usage=usage))
    return failed(custom_id, shape, FailureKind.INVALID, f"unexpected shape: {wrong[:200]}")


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line.removeprefix(BOM).decode("utf-8", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise ValueError("the line is not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("custom_id"), str):
        raise ValueError("the line is no object with a custom_id")
    return document


def _open_body(document: dict[str, Any]) -> None:
    """A body that is a JSON text (Mistral's refused rows) becomes what it says, in an envelope."""
    response = document.get("response")
    if isinstance(response, dict) and isinstance(response.get("body"), str):
        with suppress(ValueError, RecursionError):
            said = json.loads(response["body"], parse_constant=lambda _: None)
            response["body"] = said if not isinstance(said, dict) or _is_good(response) else {"error": said, **said}


def _is_good(response: dict[str, Any]) -> bool:
    status = response.get("status_code")
    return isinstance(status, int) and 200 <= status < 300


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def _usage_from(given: object) -> Usage | None:
    try:
        return convert(given, Usage | None)
    except ValidationError:
        return None
