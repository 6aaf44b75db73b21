"""How the fake Vertex AI answers one row: a word says how it ends, the request says with what.

| word | what the predictions hold | runs, is billed |
|---|---|---|
| `ok` | an answer | yes |
| `truncated`, `refused`, `filtered`, `empty`, `invalid` | an answer that is no success | yes |
| `duplicate` | the answer twice | yes, once |
| `foreign` | the answer, and one of an id nobody sent | yes |
| `malformed` | a line that is no JSON | yes |
| `missing` | nothing | yes |
| `400`, `404`, `429`, `500` ... | a status text with that code | no |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from zlib import crc32

import orjson

from overnight.types import Tokens
from overnight.upstreams.fake import tokens_of
from overnight.upstreams.fill import fill
from overnight.wire.vertex import error_line, result_line

Answering = Callable[[Mapping[str, Any]], str]
"""The text of the answer, by the request."""

PROCESSED: Final = "2026-01-01T00:00:00.000+00:00"
_FINISH: Final = {"truncated": "MAX_TOKENS", "filtered": "SAFETY"}
_TEXTS: Final = {"empty": "", "refused": "", "filtered": "", "invalid": "~ something else ~"}
_STATUSES: Final = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an input file: its key as it is echoed (JSON), and the request."""

    key: bytes
    custom_id: str
    body: Mapping[str, Any]


def echo(body: Mapping[str, Any]) -> str:
    """The last text that the user said, or a value of the schema that is asked for: the same for the same request."""
    text = next((text for text in reversed(_texts(body.get("contents")))), "")
    wanted = body.get("generationConfig") or {}
    schema = wanted.get("responseJsonSchema") or _lower(wanted.get("responseSchema"))
    return orjson.dumps(fill(schema, text)).decode() if schema else text


def end(row: Row, model: str, word: str, answering: Answering, *, total: bool) -> tuple[bytes, Tokens | None]:
    """The lines of a row that ends as the word says, and what it used (None: it did not run). `total`: whether the sum
    of tokens is told."""
    request = orjson.dumps(row.body)
    if word.isdigit():
        code = int(word)
        error = {"code": code, "message": f"Refused: {model}", "status": _STATUSES.get(code, "UNAVAILABLE")}
        status = f"{HTTPStatus(code).phrase}: {orjson.dumps({'error': error}).decode()}"
        return error_line(row.key, request, status, PROCESSED), None
    answer, tokens = _answer(row.body, model, word, answering, total)
    line = result_line(row.key, request, orjson.dumps(answer), PROCESSED)
    match word:
        case "missing":
            return b"", tokens
        case "malformed":
            return line[: len(line) // 2] + b"\n", tokens
        case "duplicate":
            return line * 2, tokens
        case "foreign":
            return line + result_line(b'"somebody-elses-row"', request, orjson.dumps(answer), PROCESSED), tokens
        case _:
            return line, tokens


def _answer(
    body: Mapping[str, Any], model: str, word: str, answering: Answering, total: bool
) -> tuple[dict[str, Any], Tokens]:
    text = _TEXTS[word] if word in _TEXTS else answering(body)
    if word == "truncated":
        text = text[: len(text) // 2]
    taken = max(1, sum(map(tokens_of, [*_texts(body.get("contents")), *_texts([body.get("systemInstruction")])])))
    tokens = Tokens(taken, 0, max(1, tokens_of(text)), 0)
    usage = {"promptTokenCount": tokens.input, "candidatesTokenCount": tokens.output}
    if total:
        usage["totalTokenCount"] = tokens.input + tokens.output
    if word == "refused":
        told: dict[str, Any] = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    else:
        content = {"role": "model", **({"parts": [{"text": text}]} if text else {})}
        told = {"candidates": [{"content": content, "finishReason": _FINISH.get(word, "STOP")}]}
    return {**told, "usageMetadata": usage, "modelVersion": model, "responseId": f"r{crc32(text.encode()):08x}"}, tokens


def _texts(contents: object) -> list[str]:
    turns = [turn for turn in contents if isinstance(turn, Mapping)] if isinstance(contents, list) else []
    parts = [part for turn in turns for part in turn.get("parts") or ()]
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def _lower(schema: Any) -> Any:
    """Google's schema as JSON Schema: the names of types in small letters."""
    if isinstance(schema, Mapping):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
            for name, value in schema.items()
        }
    return [_lower(each) for each in schema] if isinstance(schema, list) else schema
