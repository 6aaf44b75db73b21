"""Result lines, read and judged: what of each row came, and what it cost."""

from __future__ import annotations

import json
from typing import Annotated, Any

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder

from overnight.types import FailureKind, Outcome, Reply, Tokens
from overnight.wire.anthropic.failures import ErrorFields, fields_from, kind_of, row_message
from overnight.wire.anthropic.formats import ANSWER_TOOL
from overnight.wire.jsonl import BOM
from overnight.wire.strict import strict_json

MOST_TOKENS = 10_000_000
"""No request has more: a usage that says so says nothing."""
TRUNCATED = frozenset({"max_tokens", "model_context_window_exceeded"})
_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class _Block(Struct, gc=False):
    type: str | None = None
    text: str | None = None
    name: str | None = None
    input: Raw | UnsetType = UNSET


class _Message(Struct, gc=False):
    id: str | None = None
    model: str | None = None
    content: Raw | UnsetType = UNSET
    stop_reason: str | None = None
    usage: Raw | UnsetType = UNSET


class _Result(Struct, gc=False):
    type: str | None = None
    message: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _Line(Struct, gc=False):
    custom_id: str
    result: _Result | None = None


class OutputDetails(Struct, gc=False):
    """Part of the output tokens."""

    thinking_tokens: _Count | None = None


class Usage(Struct, gc=False):
    """Tokens: what was read from the cache and written into it comes on top of `input_tokens`."""

    input_tokens: _Count
    output_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    output_tokens_details: OutputDetails | None = None

    def counts(self) -> tuple[int, int, int, int, int]:
        """The same in our terms: the fields of `Tokens`."""
        read, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        details = self.output_tokens_details
        return (
            self.input_tokens + read + written,
            read,
            self.output_tokens or 0,
            (details.thinking_tokens or 0) if details is not None else 0,
            written,
        )

    def tokens(self) -> Tokens:
        """The same in our terms."""
        return Tokens(*self.counts())


_lines = Decoder(_Line)
_messages = Decoder(_Message)
_blocks = Decoder(list[_Block] | None)
_raw_blocks = Decoder(list[Raw])
_usages = Decoder(Usage)


def read_line(line: bytes, endpoint: str, text: bool = True) -> Reply:
    """The answer of a row, judged. `text=False` leaves text and tool calls out of the reply; the judgement is the same.
    Raises ValueError for a line that is no JSON object with a `custom_id`."""
    try:
        found = _lines.decode(line)
    except (ValueError, RecursionError):
        found = _read_leniently(line)
    result = found.result or _Result()
    match result.type:
        case "succeeded":
            return _answered(found.custom_id, result.message, text)
        case "errored":
            return _errored(found.custom_id, _document(result.error))
        case "canceled":
            return Reply(found.custom_id, Outcome.CANCELED, FailureKind.CANCELED, "the batch was canceled first")
        case "expired":
            return Reply(found.custom_id, Outcome.EXPIRED, FailureKind.EXPIRED, "the batch expired first")
        case None:
            return Reply(
                found.custom_id, Outcome.ERRORED, FailureKind.MISSING, "neither answer nor error came", ran=True
            )
        case _:
            return Reply(found.custom_id, Outcome.ERRORED, FailureKind.INVALID, "unknown type of result", ran=True)


def body_of(line: bytes) -> bytes | None:
    """The message as the provider wrote it, or the error; None where there is neither."""
    try:
        result = _lines.decode(strict_json(line)).result or _Result()
    except ValidationError:
        return None
    return _given(result.message) or _given(result.error)


def logprobs_of(line: bytes, endpoint: str) -> bytes | None:
    """None: the API has none."""
    return None


# ------------------------------------------------------------------------------------------ judgement


def _errored(custom_id: str, document: Any) -> Reply:
    fields = fields_from(document) or ErrorFields()
    request_id = document.get("request_id") if isinstance(document, dict) else None
    return Reply(
        custom_id,
        Outcome.ERRORED,
        kind_of(None, fields),
        row_message(fields),
        fields.code or fields.type,
        fields.status,
        request_id if isinstance(request_id, str) else None,
    )


def _answered(custom_id: str, raw: Raw | UnsetType, text: bool) -> Reply:
    """A request that ran. Whatever else is wrong with the answer, what it cost is kept."""
    try:
        message = _Message() if isinstance(raw, UnsetType) else _messages.decode(raw)
        content = message.content
        blocks = (None if isinstance(content, UnsetType) else _blocks.decode(content)) or []
    except (ValidationError, DecodeError, RecursionError) as error:
        message, blocks = _salvaged(raw), []
        kind: FailureKind | None = FailureKind.INVALID
        why: str | None = f"unexpected shape: {str(error)[:200]}"
    else:
        kind, why = _judged(message, blocks)
    shown, calls = (_words(blocks), _calls(message, blocks)) if text else (None, None)
    return Reply(
        custom_id,
        Outcome.SUCCEEDED if kind is None else Outcome.ERRORED,
        kind,
        why,
        None,
        200,
        message.id or None,
        shown,
        calls if kind is None else None,
        None,
        message.stop_reason,
        message.model,
        _tokens(message.usage),
        True,
    )


def _judged(message: _Message, blocks: list[_Block]) -> tuple[FailureKind | None, str | None]:
    reason = message.stop_reason
    if reason == "refusal":
        return FailureKind.REFUSED, "the model refused"
    if reason in TRUNCATED:
        return FailureKind.TRUNCATED, "cut at the output limit"
    if reason == "pause_turn":
        return FailureKind.INVALID, "paused before the answer was finished"
    if any(block.type == "tool_use" for block in blocks):
        return None, None
    if any(block.type == "text" and block.text and not block.text.isspace() for block in blocks):
        return None, None
    return FailureKind.EMPTY, "the answer is empty" if blocks else "the answer has no message"


def _words(blocks: list[_Block]) -> str | None:
    """The text: what our answer tool was called with, where it was, else all that was said."""
    for block in blocks:
        if _gives_answer(block) and not isinstance(block.input, UnsetType):
            return bytes(block.input).decode()
    return "".join(block.text or "" for block in blocks if block.type == "text") or None


def _calls(message: _Message, blocks: list[_Block]) -> bytes | None:
    called = [at for at, block in enumerate(blocks) if block.type == "tool_use" and not _gives_answer(block)]
    if not called or isinstance(message.content, UnsetType):
        return None
    raw = _raw_blocks.decode(message.content)
    return b"[%s]" % b",".join(bytes(raw[at]) for at in called)


def _gives_answer(block: _Block) -> bool:
    return block.type == "tool_use" and block.name == ANSWER_TOOL


def _tokens(raw: Raw | UnsetType) -> Tokens | None:
    """None where the usage is not one: a good answer with a strange usage is a good answer whose cost is unknown."""
    if isinstance(raw, UnsetType):
        return None
    try:
        return _usages.decode(raw).tokens()
    except (ValidationError, DecodeError):
        return None


# ------------------------------------------------------------------------------------------ lines that do not fit


def _read_leniently(line: bytes) -> _Line:
    try:
        document = json.loads(line.removeprefix(BOM).decode("utf-8", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise ValueError("the line is not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("custom_id"), str):
        raise ValueError("the line is no object with a custom_id")
    try:
        return _lines.decode(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return _Line(document["custom_id"], _Result("?"))


def _salvaged(raw: Raw | UnsetType) -> _Message:
    document = _document(raw)
    if not isinstance(document, dict) or not isinstance(usage := document.get("usage"), dict):
        return _Message()
    return _Message(usage=Raw(json.dumps(usage).encode()))


def _document(raw: Raw | UnsetType) -> Any:
    return None if isinstance(raw, UnsetType) else json.loads(bytes(raw))


def _given(raw: Raw | UnsetType) -> bytes | None:
    return None if isinstance(raw, UnsetType) or bytes(raw) == b"null" else bytes(raw)
