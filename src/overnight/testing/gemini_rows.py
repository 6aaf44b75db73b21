"""How the fakes of Google answer one request: a word says how it ends, the request says with what.

| word | what comes back | runs, is billed |
|---|---|---|
| `ok` | an answer | yes |
| `truncated`, `refused`, `filtered`, `empty`, `invalid` | an answer that is no success | yes |
| `duplicate` | the answer twice | yes, once |
| `foreign` | the answer, and one of an id nobody sent | yes |
| `malformed` | a line that is no JSON | yes |
| `keyless` | the answer, and nothing tells whose it is | yes |
| `missing` | nothing | yes |
| `400`, `404`, `429`, `500` ... | an error with the google.rpc code of that status | no |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import orjson

from overnight.types import Endpoint, Tokens
from overnight.upstreams.fake import tokens_of, unit_vector
from overnight.upstreams.fill import fill
from overnight.wire import gemini as wire
from overnight.wire.conversation import Embedded

Answering = Callable[[Mapping[str, Any]], str]
"""The text of the answer, by the request."""

DIMENSIONS: Final = 8  # of a vector, where the request names none
_FINISH: Final = {"truncated": "MAX_TOKENS", "filtered": "SAFETY"}
_TEXTS: Final = {"empty": "", "refused": "", "filtered": "", "invalid": "~ something else ~"}
_WORDS: Final = list(wire.STATUSES)


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a batch; `key` None: it was given none that counts."""

    key: str | None
    body: Mapping[str, Any]


def echo(body: Mapping[str, Any]) -> str:
    """The last text that the user said, or a value of the schema that is asked for: the same for the same request."""
    text = next((text for text in reversed(texts_of(body.get("contents")))), "")
    wanted = body.get("generationConfig") or {}
    schema = wanted.get("responseJsonSchema") or _lower(wanted.get("responseSchema"))
    return orjson.dumps(fill(schema, text)).decode() if schema else text


def end(row: Row, model: str, endpoint: str, word: str, answering: Answering) -> tuple[list[bytes], Tokens | None]:
    """The lines of a row that ends as the word says, and what it used (None: it did not run)."""
    if word.isdigit():
        status = next((name for name in _WORDS if wire.STATUSES[name] == int(word)), "INTERNAL")
        return [_keyed(row.key, {"error": {"code": _WORDS.index(status) + 1, "message": f"Refused: {model}"}})], None
    body, tokens = (embedding if endpoint == Endpoint.EMBED else answer)(row.body, model, word, answering)
    line = _keyed(row.key, {"response": body})
    match word:
        case "missing":
            return [], tokens
        case "malformed":
            return [line[: len(line) // 2] + b"\n"], tokens
        case "duplicate":
            return [line, line], tokens
        case "foreign":
            return [line, _keyed("somebody-elses-row", {"response": body})], tokens
        case "keyless":
            return [_keyed(None, {"response": body})], tokens
        case _:
            return [line], tokens


def answer(body: Mapping[str, Any], model: str, word: str, answering: Answering) -> tuple[dict[str, Any], Tokens]:
    """The response of generateContent, and what it used."""
    text = _TEXTS[word] if word in _TEXTS else answering(body)
    if word == "truncated":
        text = text[: len(text) // 2]
    taken = max(1, sum(map(tokens_of, [*texts_of(body.get("contents")), *texts_of([body.get("systemInstruction")])])))
    tokens = Tokens(taken, 0, max(1, tokens_of(text)), 0)
    if word == "refused":
        told: dict[str, Any] = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    else:
        content = {"role": "model", **({"parts": [{"text": text}]} if text else {})}
        told = {"candidates": [{"content": content, "finishReason": _FINISH.get(word, "STOP")}]}
    serial = f"r{crc32(text.encode()):08x}"
    return {**told, "usageMetadata": wire.usage(tokens), "modelVersion": model, "responseId": serial}, tokens


def embedding(body: Mapping[str, Any], model: str, word: str, answering: Answering) -> tuple[dict[str, Any], Tokens]:
    """The response of embedContent, and what it used; `answering` has no part in it."""
    text = "".join(texts_of([body.get("content")]))
    dimensions = body.get("outputDimensionality") or body.get("output_dimensionality") or DIMENSIONS
    vector = () if word == "empty" else tuple(unit_vector(text, dimensions))
    tokens = Tokens(max(1, tokens_of(text)))
    return wire.embedding_body(Embedded(model, (vector,), tokens.input)), tokens


def texts_of(contents: object) -> list[str]:
    """Every text of the contents, in order."""
    turns = [turn for turn in contents if isinstance(turn, Mapping)] if isinstance(contents, list) else []
    parts = [part for turn in turns for part in turn.get("parts") or ()]
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def _keyed(key: str | None, document: dict[str, Any]) -> bytes:
    return orjson.dumps(document if key is None else {**document, "key": key}) + b"\n"


def _lower(schema: Any) -> Any:
    """Google's schema as JSON Schema: the names of types in small letters."""
    if isinstance(schema, Mapping):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
            for name, value in schema.items()
        }
    return [_lower(each) for each in schema] if isinstance(schema, list) else schema
