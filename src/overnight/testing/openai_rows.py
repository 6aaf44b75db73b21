"""How the fake OpenAI answers one row: a word says how it ends, the body says with what.

| word | where it ends | runs, is billed |
|---|---|---|
| `ok` | output file | yes |
| `truncated`, `refused`, `filtered`, `empty`, `invalid` | output file, an answer that is no success | yes |
| `duplicate` | output file, twice | yes, once |
| `foreign` | output file, and a second line of an id nobody sent | yes |
| `both` | output file, and an error in the error file | yes |
| `malformed` | output file, a line that is no JSON | yes |
| `missing` | in no file | yes |
| `zero` | error file, `status_code` 0 and an empty body | yes |
| `400`, `404`, `429`, `500` ... | error file, that status | no |
| `quota` | error file, 429 `insufficient_quota` | no |
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from overnight.types import Endpoint, Tokens
from overnight.upstreams.fake import tokens_of, unit_vector
from overnight.upstreams.fill import fill
from overnight.wire import openai as wire
from overnight.wire.openai.bodies import chat_completion, embeddings
from overnight.wire.openai.responses import chat_to_response, responses_to_chat

Answering = Callable[[Mapping[str, Any]], str]
"""The text of the answer, by the request's body (as a chat request)."""

_FINISH: Final = {"truncated": "length", "filtered": "content_filter"}
_TEXTS: Final = {"empty": "", "refused": "", "invalid": "~ something else ~"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an input file."""

    custom_id: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a row left behind: whole lines for the two files, and what it used (None: it did not run)."""

    output: bytes
    error: bytes
    tokens: Tokens | None


def echo(chat: Mapping[str, Any]) -> str:
    """The last user message, or a value of the JSON Schema that is asked for: the same for the same body."""
    text = next((said for role, said in reversed(_turns(chat)) if role == "user"), "")
    wanted = (chat.get("response_format") or {}).get("json_schema")
    return orjson.dumps(fill(wanted["schema"], text)).decode() if wanted else text


def end(row: Row, endpoint: str, word: str, serial: str, answering: Answering) -> Ended:
    """Let the row end as the word says."""
    if word == "quota":
        envelope = wire.error_envelope(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            code="insufficient_quota",
        )
        return Ended(b"", _line(row, serial, 429, envelope), None)
    if word.isdigit():
        kind = "server_error" if int(word) >= 500 else "invalid_request_error"
        param = "temperature" if word == "400" else None
        envelope = wire.error_envelope(f"Refused: {row.body.get('model')}", kind, param)
        return Ended(b"", _line(row, serial, int(word), envelope), None)
    body, tokens = _answer(row, endpoint, word, serial, answering)
    line = _line(row, serial, 200, body)
    match word:
        case "missing":
            return Ended(b"", b"", tokens)
        case "zero":
            return Ended(b"", wire.output_line(f"batch_req_{serial}", row.custom_id, 0, "", b"{}"), tokens)
        case "malformed":
            return Ended(line[: len(line) // 2] + b"\n", b"", tokens)
        case "duplicate":
            return Ended(line * 2, b"", tokens)
        case "foreign":
            return Ended(line + _line(Row("somebody-elses-row", row.body), serial, 200, body), b"", tokens)
        case "both":
            return Ended(line, _line(row, serial, 500, wire.error_envelope("Failed.", "server_error")), tokens)
        case _:
            return Ended(line, b"", tokens)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Input tokens by the fake's rule, a quarter of the bytes of every turn; at least one."""
    given = body.get("input") or body.get("prompt")
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return max(1, sum(map(tokens_of, given)))
    texts = [given] if isinstance(given, str) else [said for _, said in _turns(body)]
    instructions = body.get("instructions")
    return max(1, sum(map(tokens_of, [*texts, *([instructions] if isinstance(instructions, str) else [])])))


def _answer(row: Row, endpoint: str, word: str, serial: str, answering: Answering) -> tuple[Mapping[str, Any], Tokens]:
    body, model = row.body, str(row.body.get("model"))
    taken = prompt_tokens(body)
    if endpoint == Endpoint.EMBEDDINGS:
        given = body.get("input")
        texts = given if isinstance(given, list) else [str(given)]
        vectors = [] if word == "empty" else [unit_vector(text, int(body.get("dimensions", 8))) for text in texts]
        encoding = str(body.get("encoding_format", "float"))
        return embeddings(model=model, vectors=vectors, encoding_format=encoding, input_tokens=taken), Tokens(taken)
    if endpoint not in (Endpoint.CHAT, Endpoint.RESPONSES):
        return _small(row, endpoint, word, serial)
    chat = responses_to_chat(body) if endpoint == Endpoint.RESPONSES else body
    text = _TEXTS.get(word)
    if text is None:
        text = answering(chat)
    if word == "truncated":
        text = text[: len(text) // 2]
    tokens = Tokens(taken, 0, max(1, tokens_of(text)), 0)
    completion = chat_completion(
        id=f"chatcmpl-{serial}",
        created=0,
        model=model,
        content=text,
        finish_reason=_FINISH.get(word, "stop"),
        tokens=tokens,
    )
    if word == "refused":
        completion["choices"][0]["message"].update(content=None, refusal="I cannot help with that.")
    return (completion if endpoint == Endpoint.CHAT else chat_to_response(completion, body)), tokens


def _small(row: Row, endpoint: str, word: str, serial: str) -> tuple[Mapping[str, Any], Tokens]:
    """Answers of the smaller job kinds: an echo, a judgement by one word, a picture of a few bytes."""
    body, taken = row.body, prompt_tokens(row.body)
    model, asked = str(body.get("model")), str(body.get("prompt") or body.get("input") or "")
    if endpoint == Endpoint.MODERATIONS:
        flagged = "violent" in asked
        result = {
            "flagged": flagged,
            "categories": {"violence": flagged},
            "category_scores": {"violence": 0.9 * flagged},
        }
        return {"id": f"modr-{serial}", "model": model, "results": [] if word == "empty" else [result]}, Tokens()
    if endpoint == Endpoint.COMPLETIONS:
        text = _TEXTS.get(word, asked)
        choice = {"index": 0, "text": text, "finish_reason": _FINISH.get(word, "stop")}
        tokens = Tokens(taken, 0, max(1, tokens_of(text)), 0)
        usage = {"prompt_tokens": taken, "completion_tokens": tokens.output, "total_tokens": taken + tokens.output}
        return {
            "id": f"cmpl-{serial}",
            "object": "text_completion",
            "model": model,
            "choices": [choice],
            "usage": usage,
        }, tokens
    tokens = Tokens(taken, 0, 272, 0)
    usage = {"input_tokens": taken, "output_tokens": 272, "total_tokens": taken + 272}
    image = {"b64_json": base64.b64encode(picture(asked)).decode()}
    return {"created": 0, "data": [] if word == "empty" else [image], "usage": usage}, tokens


def picture(text: str) -> bytes:
    """A PNG of one pixel whose colour the text decides."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = hashlib.sha256(text.encode()).digest()[:3]
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" + colour))
        + chunk(b"IEND", b"")
    )


def _line(row: Row, serial: str, status: int, body: Mapping[str, Any]) -> bytes:
    request_id = hashlib.sha256(serial.encode()).hexdigest()[:32]
    return wire.output_line(f"batch_req_{serial}", row.custom_id, status, request_id, orjson.dumps(body))


def _turns(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    turns = body.get("messages") or body.get("input") or []
    if not isinstance(turns, list):
        return []
    return [
        (str(turn.get("role")), turn["content"])
        for turn in turns
        if isinstance(turn, Mapping) and isinstance(turn.get("content"), str)
    ]
