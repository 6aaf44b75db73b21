"""A model that costs nothing and always says the same: for tests, dry runs and load figures."""

from __future__ import annotations

import asyncio
import hashlib
import math
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from overnight.ports import UpstreamReply
from overnight.types import Endpoint, Tokens
from overnight.upstreams import asked
from overnight.upstreams.answer_schemas import answer_check
from overnight.upstreams.fill import fill
from overnight.wire.openai.bodies import chat_completion, embeddings
from overnight.wire.openai.refusal import Refusal
from overnight.wire.openai.responses import chat_to_response, responses_to_chat

MODEL: Final = "fake"

Failing = Callable[[str, Mapping[str, Any]], UpstreamReply | None]
"""Given endpoint and request: the reply to give instead of an answer, or None. It may raise `ProviderError`."""


def tokens_of(text: str) -> int:
    """Tokens by the fake's own rule: one for every four bytes of UTF-8, the rest rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def never(endpoint: str, request: Mapping[str, Any]) -> None:
    """No request fails."""


class FakeUpstream:
    """Echoes the text of the last user message (images and files are taken, not looked at), or fills the JSON Schema
    that is asked for (`fill`); texts become unit vectors that depend on nothing but the text.

    Any model name is served. Ids are hashes of the request and `created` is 0, so equal requests have equal replies.
    Usage: `count` of every message, and of the answer; an answer over the output limit is cut there, with
    `finish_reason: length`."""

    name = "fake"

    def __init__(
        self,
        *,
        concurrency: int = 64,
        dimensions: int = 8,
        latency: float = 0.0,
        count: Callable[[str], int] = tokens_of,
        failing: Failing = never,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`dimensions`: length of a vector where the request does not say; `latency`: seconds before every reply,
        waited for with `sleep`; `count`: tokens of a text; `failing`: which requests fail, and how."""
        self.concurrency = concurrency
        self._dimensions = dimensions
        self._latency = latency
        self._count = count
        self._failing = failing
        self._sleep = sleep

    async def start(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """Nothing is held."""

    async def models(self) -> Sequence[str]:
        """One name; every other is served as well."""
        return (MODEL,)

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        """The reply to one request; what cannot be answered gets 400 or 404 in OpenAI's envelope."""
        if self._latency > 0:
            await self._sleep(self._latency)
        serial = hashlib.blake2b(endpoint.encode() + b"\n" + body, digest_size=16).hexdigest()
        request_id = f"req_{serial}"
        try:
            request = asked.request(body)
            failure = self._failing(endpoint, request)
            if failure is not None:
                return failure
            reply = self._reply(endpoint, request, serial)
        except Refusal as refusal:
            return UpstreamReply(refusal.status, refusal.body(), request_id)
        return UpstreamReply(200, orjson.dumps(reply), request_id)

    def _reply(self, endpoint: str, request: Mapping[str, Any], serial: str) -> dict[str, Any]:
        match endpoint:
            case Endpoint.CHAT:
                return self._chat(request, serial)
            case Endpoint.RESPONSES:
                return chat_to_response(self._chat(responses_to_chat(request), serial), request)
            case Endpoint.EMBEDDINGS:
                return self._embeddings(request)
            case _:
                raise Refusal(f"Invalid URL (POST {endpoint})", status=404)

    def _chat(self, chat: Mapping[str, Any], serial: str) -> dict[str, Any]:
        asked.one_choice(chat)
        messages = asked.messages(chat, media=True)
        content = _content(chat, asked.last_user_text(messages))
        limit = asked.output_limit(chat)
        cut = content if limit is None else self._longest_start(content, limit)
        return chat_completion(
            id=f"chatcmpl-{serial}",
            created=0,
            model=chat["model"],
            content=cut,
            finish_reason="stop" if cut == content else "length",
            tokens=Tokens(
                input=sum(self._count(message["content"] or "") for message in messages), output=self._count(cut)
            ),
        )

    def _longest_start(self, text: str, limit: int) -> str:
        """The longest start of the text with at most `limit` tokens."""
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._count(text[:middle]) <= limit else (low, middle - 1)
        return text[:low]

    def _embeddings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        texts = asked.embedding_inputs(request)
        dimensions = request.get("dimensions") or self._dimensions
        if not isinstance(dimensions, int) or not 1 <= dimensions <= 65536:
            raise asked.invalid("dimensions", "an integer from 1 to 65536")
        return embeddings(
            model=request["model"],
            vectors=(unit_vector(text, dimensions) for text in texts),
            encoding_format=asked.encoding_format(request),
            input_tokens=sum(map(self._count, texts)),
        )


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 made of the text's hash."""
    drawn = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    raw = [int.from_bytes(drawn[at : at + 4], "big") / 2**31 - 1 for at in range(0, len(drawn), 4)]
    length = math.hypot(*raw) or 1.0
    return list(array("f", (value / length for value in raw)))


def _content(chat: Mapping[str, Any], text: str) -> str:
    match asked.answer_format(chat):
        case "json_schema", schema if schema is not None:
            check = answer_check(schema)
            value = fill(schema, text)
            if not check(value):
                raise Refusal("Invalid schema for response_format: no answer could be made for it.")
            return orjson.dumps(value).decode()
        case "json_object", _:
            return orjson.dumps({"text": text}).decode()
        case _:
            return text
