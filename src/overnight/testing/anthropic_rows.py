"""How the fake Anthropic answers one request: a word says how it ends, the body says with what.

| word | its result line | runs, is billed |
|---|---|---|
| `ok` | succeeded | yes |
| `truncated`, `refused`, `empty`, `invalid` | succeeded, with an answer that is no success | yes |
| `duplicate` | succeeded, twice | yes, once |
| `foreign` | succeeded, and a second line of an id nobody sent | yes |
| `malformed` | a line that is no JSON | yes |
| `missing` | none | yes |
| `400`, `404`, `429`, `500`, `529` ... | errored, with the type of that status | no |
| `spend` | errored: the account's spend limit | no |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from overnight.testing.openai_rows import Answering
from overnight.types import Endpoint, Tokens
from overnight.upstreams.fake import tokens_of
from overnight.wire import anthropic as wire
from overnight.wire import openai
from overnight.wire.anthropic.formats import ANSWER_TOOL
from overnight.wire.conversation import Answered, Asked, Finish, Text, ToolCall

SPEND_LIMIT: Final = {"error_code": "enforced_spend_limit_reached"}
_TYPES: Final = {status: name for name, status in wire.STATUSES.items()}
_FINISH: Final = {"truncated": Finish.LENGTH, "refused": Finish.REFUSAL}
_TEXTS: Final = {"empty": "", "refused": "", "invalid": "~ something else ~"}


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a create's list."""

    custom_id: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a row left behind: whole result lines, and what it used (None: it did not run)."""

    lines: bytes
    tokens: Tokens | None


class Cache:
    """The provider's prompt cache: of a marked prefix that was seen before, `hits` of the rows read it, the others
    write it once more. Prefixes under `least` tokens are not kept."""

    def __init__(self, hits: float, least: int) -> None:
        self._hits = hits
        self._least = least
        self._kept: set[str] = set()

    def used(self, custom_id: str, asked: Asked) -> Tokens:
        """The input tokens of a request, with those that were read and written."""
        words = [[part.text for part in turn.parts if isinstance(part, Text)] for turn in asked.turns]
        each = [sum(map(tokens_of, texts)) for texts in words]
        prefix, total = sum(each[: asked.shared]), max(1, sum(each))
        if not asked.shared or prefix < self._least:
            return Tokens(total)
        name = hashlib.sha256(repr((asked.model, words[: asked.shared])).encode()).hexdigest()
        row = custom_id.partition("-")[2]  # without the tag of the run: the same rows are lucky in every run
        lucky = int(hashlib.sha256(row.encode()).hexdigest(), 16) % 1_000 < self._hits * 1_000
        if name in self._kept and lucky:
            return Tokens(total, cached=prefix)
        self._kept.add(name)
        return Tokens(total, written=prefix)


def end(row: Row, word: str, serial: str, answering: Answering, cache: Cache) -> Ended:
    """Let the row end as the word says; a body that is none ends errored, whatever the word."""
    if word == "spend":
        return _errored(row, "rate_limit_error", "This request would exceed your spend limit.", SPEND_LIMIT)
    if word.isdigit():
        return _errored(row, _TYPES.get(int(word), "api_error"), f"model: {row.params.get('model')}")
    try:
        if row.params.get("stream"):
            raise ValueError('"stream=True" is not supported in the Message Batches API')
        asked = wire.asked_of(Endpoint.MESSAGES, row.params)
    except ValueError as wrong:
        return _errored(row, "invalid_request_error", str(wrong))
    tokens = cache.used(row.custom_id, asked)
    text = _TEXTS.get(word)
    if text is None:
        text = answering(openai.request_body(Endpoint.CHAT, asked))
    if word == "truncated":
        text = text[: len(text) // 2]
    tokens = replace(tokens, output=max(1, tokens_of(text)))
    message = wire.answer_body(_answered(asked, text, _FINISH.get(word, Finish.STOP), serial, tokens))
    message["usage"]["service_tier"] = "batch"
    line = wire.succeeded_line(row.custom_id, orjson.dumps(message))
    return Ended(_LEFT[word](line, row) if word in _LEFT else line, tokens)


def _answered(asked: Asked, text: str, finish: Finish, serial: str, tokens: Tokens) -> Answered:
    plain = Answered(f"msg_{serial}", asked.model, text, finish, tokens)
    if asked.answer is None or asked.answer.strict or finish is not Finish.STOP:
        return plain
    return replace(plain, text=None, finish=Finish.TOOLS, tool_calls=(ToolCall(f"toolu_{serial}", ANSWER_TOOL, text),))


_LEFT: Final[Mapping[str, Callable[[bytes, Row], bytes]]] = {
    "missing": lambda line, _: b"",
    "malformed": lambda line, _: line[: len(line) // 2] + b"\n",
    "duplicate": lambda line, _: line * 2,
    "foreign": lambda line, row: line + wire.with_custom_id(line, "somebody-elses-row"),
}


def _errored(row: Row, type: str, message: str, details: Mapping[str, Any] | None = None) -> Ended:
    return Ended(wire.errored_line(row.custom_id, wire.error_envelope(type, message, None, details)), None)
