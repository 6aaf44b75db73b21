"""What a batch server reads and writes for the rows of a batch, in the words of the family that the batch was made in.

The upstream behind the server speaks OpenAI: the rows of other families are asked there in its words, and the answers
are told in theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec
import orjson

from overnight.types import Endpoint, Outcome
from overnight.wire import anthropic, gemini, openai
from overnight.wire.conversation import Asked, Unsayable


class Refused(Exception):
    """A request that is not passed on: HTTP status, and why, free of content."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Upstreamed:
    """A request as the upstream takes it."""

    endpoint: str
    body: bytes


class Family(Protocol):
    """How a family's rows are read and answered. `line` is a line of its batch file, checked before."""

    def custom_id(self, line: bytes) -> str:
        """The id under which the row is answered."""

    def request(self, line: bytes, endpoint: str, model: str) -> Upstreamed:
        """What the upstream is asked; `model` where the body names none. Raises `Refused`."""

    def result(self, row_id: str, custom_id: str, status: int, request_id: str, body: bytes, endpoint: str) -> bytes:
        """The result line of an answer of the upstream, with its `\\n`."""

    def refused(self, row_id: str, custom_id: str, request_id: str, refusal: Refused) -> bytes:
        """The result line of a row that was not passed on, with its `\\n`."""

    def unanswered(self, row_id: str, custom_id: str, end: Outcome) -> bytes:
        """The result line of a row that did not run (EXPIRED, CANCELED), with its `\\n`."""


class _RequestLine(msgspec.Struct):
    custom_id: str
    body: msgspec.Raw


_request_line = msgspec.json.Decoder(_RequestLine).decode


class OpenAIFamily:
    """The upstream's own words: passed through."""

    def custom_id(self, line: bytes) -> str:
        """See `Family`."""
        return _request_line(line).custom_id

    def request(self, line: bytes, endpoint: str, model: str) -> Upstreamed:
        """See `Family`."""
        return Upstreamed(endpoint, bytes(_request_line(line).body))

    def result(self, row_id: str, custom_id: str, status: int, request_id: str, body: bytes, endpoint: str) -> bytes:
        """See `Family`."""
        return openai.output_line(row_id, custom_id, status, request_id, body)

    def refused(self, row_id: str, custom_id: str, request_id: str, refusal: Refused) -> bytes:
        """See `Family`."""
        envelope = orjson.dumps(openai.error_envelope(refusal.message))
        return openai.output_line(row_id, custom_id, refusal.status, request_id, envelope)

    def unanswered(self, row_id: str, custom_id: str, end: Outcome) -> bytes:
        """See `Family`."""
        if end is Outcome.EXPIRED:
            message = "This request could not be executed before the completion window expired."
            return openai.error_line(row_id, custom_id, "batch_expired", message)
        message = "This request was not executed because the batch was cancelled."
        return openai.error_line(row_id, custom_id, "batch_cancelled", message)


class AnthropicFamily:
    """Rows are params of the Messages API."""

    def custom_id(self, line: bytes) -> str:
        """See `Family`."""
        return anthropic.split_line(line)[0]

    def request(self, line: bytes, endpoint: str, model: str) -> Upstreamed:
        """See `Family`."""
        params = _read(anthropic.split_line(line)[1])
        if isinstance(params, dict) and params.get("stream"):
            raise Refused(400, '"stream=True" is not supported in the Message Batches API')
        return self.asked(params)

    def asked(self, params: Any) -> Upstreamed:
        """The chat request that asks what these params of the Messages API ask. Raises `Refused`."""
        if not isinstance(params, dict):
            raise Refused(400, "params: Input should be an object")
        return _upstreamed(Endpoint.CHAT, _heard(anthropic, Endpoint.MESSAGES, params))

    def result(self, row_id: str, custom_id: str, status: int, request_id: str, body: bytes, endpoint: str) -> bytes:
        """See `Family`."""
        told = self.answer(status, request_id, body, "batch")
        if 200 <= status < 300:
            return anthropic.succeeded_line(custom_id, orjson.dumps(told))
        return anthropic.errored_line(custom_id, told)

    def answer(self, status: int, request_id: str, body: bytes, tier: str = "standard") -> dict[str, Any]:
        """The message that tells an answer of the upstream, or the envelope of its error."""
        document = orjson.loads(body)
        if not 200 <= status < 300:
            return self.error(status, _said(document), request_id)
        answered = openai.answered_of(document)
        return {**anthropic.answer_body(answered), "usage": anthropic.usage(answered.tokens, tier)}

    def error(self, status: int, message: str, request_id: str | None) -> dict[str, Any]:
        """The envelope of an error with this HTTP status."""
        kinds = (kind for kind, known in anthropic.STATUSES.items() if known == status)
        kind = next(kinds, "invalid_request_error" if status < 500 else "api_error")
        return anthropic.error_envelope(kind, message, request_id)

    def refused(self, row_id: str, custom_id: str, request_id: str, refusal: Refused) -> bytes:
        """See `Family`. What is found out before a request runs has no request id."""
        return anthropic.errored_line(custom_id, self.error(refusal.status, refusal.message, None))

    def unanswered(self, row_id: str, custom_id: str, end: Outcome) -> bytes:
        """See `Family`."""
        return anthropic.expired_line(custom_id) if end is Outcome.EXPIRED else anthropic.canceled_line(custom_id)


class GeminiFamily:
    """Rows are requests of generateContent or embedContent."""

    def custom_id(self, line: bytes) -> str:
        """See `Family`."""
        return gemini.split_line(line)[0]

    def request(self, line: bytes, endpoint: str, model: str) -> Upstreamed:
        """See `Family`."""
        return self.asked(_read(gemini.split_line(line)[1]), endpoint, model)

    def asked(self, body: Any, endpoint: str, model: str) -> Upstreamed:
        """The request that asks what this body asks of the model. Raises `Refused`."""
        if not isinstance(body, dict):
            raise Refused(400, "request: must be an object")
        asked = replace(_heard(gemini, endpoint, body), model=model)
        return _upstreamed(Endpoint.EMBEDDINGS if endpoint == Endpoint.EMBED else Endpoint.CHAT, asked)

    def result(self, row_id: str, custom_id: str, status: int, request_id: str, body: bytes, endpoint: str) -> bytes:
        """See `Family`."""
        if not 200 <= status < 300:
            return self._error_line(custom_id, status, _said(orjson.loads(body)))
        return gemini.response_line(custom_id, orjson.dumps(self.answer(body, endpoint)))

    def answer(self, body: bytes, endpoint: str) -> dict[str, Any]:
        """The response that tells a good answer of the upstream."""
        document = orjson.loads(body)
        if endpoint == Endpoint.EMBED:
            return gemini.embedding_body(openai.embedded_of(document))
        return gemini.answer_body(openai.answered_of(document))

    def refused(self, row_id: str, custom_id: str, request_id: str, refusal: Refused) -> bytes:
        """See `Family`."""
        return self._error_line(custom_id, refusal.status, refusal.message)

    def unanswered(self, row_id: str, custom_id: str, end: Outcome) -> bytes:
        """See `Family`. A batch that expired has no results at all: nobody reads this line."""
        return gemini.error_line(custom_id, _CANCELED, "The batch was cancelled before this request ran.")

    def _error_line(self, custom_id: str, status: int, message: str) -> bytes:
        word = gemini.error_object(status, message)["status"]
        number = list(gemini.STATUSES).index(word) + 1 if word in gemini.STATUSES else 2
        return gemini.error_line(custom_id, number, message)


_CANCELED: Final = 1  # google.rpc.Code
_DEEP: Final = "The request is nested too deeply."

OPENAI, ANTHROPIC, GEMINI = OpenAIFamily(), AnthropicFamily(), GeminiFamily()
_FAMILIES: Final[dict[str, Family]] = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}


def family(name: str) -> Family:
    """The family of that name (`openai`, `anthropic`, `gemini`)."""
    return _FAMILIES[name]


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"The request is not valid JSON: {error.msg}") from None


def _heard(dialect: Any, endpoint: str, body: dict[str, Any]) -> Asked:
    try:
        asked: Asked = dialect.asked_of(endpoint, body)
    except ValueError as error:  # Unsayable is one
        raise Refused(400, str(error)) from None
    except RecursionError:
        raise Refused(400, _DEEP) from None
    return asked


def _upstreamed(endpoint: str, asked: Asked) -> Upstreamed:
    try:
        return Upstreamed(endpoint, orjson.dumps(openai.request_body(endpoint, asked)))
    except Unsayable as error:
        raise Refused(400, str(error)) from None
    except orjson.JSONEncodeError:
        raise Refused(400, _DEEP) from None


def _said(document: Any) -> str:
    """What an error of the upstream says."""
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) and message else "The upstream refused the request."
