"""An upstream's reply to a row, judged: is it a success, may another try help, what did it use."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from overnight.ports import UpstreamReply
from overnight.types import Failure, FailureKind, Tokens
from overnight.wire import openai
from overnight.wire.openai.shapes import CachedDetails, ReasoningDetails, Usage

BAD_GATEWAY = 502  # the status of a row whose upstream gave no answer that can be passed on
BAD_ANSWER = "invalid_answer"  # the model did answer: whether to pay for another try is for the caller to say


class _Body(msgspec.Struct):
    usage: Usage | None = None


_read_body = msgspec.json.Decoder(_Body).decode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row is answered with; `body` is JSON on one line. `transient`: another try may help."""

    status: int
    body: bytes
    request_id: str | None
    transient: bool = False
    retry_after: float | None = None  # seconds, as asked for by the upstream
    tokens: Tokens | None = None  # None: the answer does not tell

    @property
    def succeeded(self) -> bool:
        """A 2xx status: the line belongs into the output file."""
        return 200 <= self.status < 300


def answer_of(reply: UpstreamReply) -> Answer:
    """The answer that a whole reply stands for. A body that is no JSON is replaced by an error envelope."""
    try:
        body = reply.body if b"\n" not in reply.body else _on_one_line(reply.body)
        if 200 <= reply.status < 300:
            return Answer(reply.status, body, reply.request_id, tokens=_tokens(body))
        _check_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = f"The upstream answered with status {reply.status} and a body that is no JSON."
        if 200 <= reply.status < 300:
            return _bad_gateway(message, "bad_upstream_answer", None)
        body = _envelope(message, None)
    failure = openai.error_failure(reply.status, reply.body)
    transient = failure.kind is FailureKind.TRANSIENT and failure.code != BAD_ANSWER
    return Answer(reply.status, body, reply.request_id, transient, reply.retry_after)


def unreachable(failure: Failure) -> Answer:
    """The answer of a row whose upstream gave none."""
    return _bad_gateway("The upstream gave no answer.", failure.code or "upstream_unreachable", failure.retry_after)


def unreadable() -> Answer:
    """The answer of a row whose upstream gave one that is no answer of its kind."""
    return _bad_gateway("The upstream gave an answer of another shape.", "bad_upstream_answer", None)


def _bad_gateway(message: str, code: str, retry_after: float | None) -> Answer:
    return Answer(BAD_GATEWAY, _envelope(message, code), None, transient=True, retry_after=retry_after)


def _envelope(message: str, code: str | None) -> bytes:
    return msgspec.json.encode(openai.error_envelope(message, type="server_error", code=code))


def _on_one_line(body: bytes) -> bytes:
    line: bytes = msgspec.json.format(body, indent=-1)
    return line


def _tokens(body: bytes) -> Tokens | None:
    """Raises `msgspec.DecodeError` where the body is no JSON; usage of another shape counts as not told."""
    try:
        usage = _read_body(body).usage
    except msgspec.ValidationError:
        _check_json(body)
        return None
    if usage is None:
        return None
    cached = usage.prompt_tokens_details or usage.input_tokens_details or CachedDetails()
    reasoning = usage.completion_tokens_details or usage.output_tokens_details or ReasoningDetails()
    return Tokens(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        cached=cached.cached_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        reasoning=reasoning.reasoning_tokens or 0,
    )
