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

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson

from overnight.testing.gemini_rows import Answering, answer
from overnight.types import Tokens
from overnight.wire.vertex import error_line, result_line

PROCESSED: Final = "2026-01-01T00:00:00.000+00:00"
_STATUSES: Final = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an input file: its key as it is echoed (JSON), and the request."""

    key: bytes
    custom_id: str
    body: Mapping[str, Any]


def end(row: Row, model: str, word: str, answering: Answering, *, total: bool) -> tuple[bytes, Tokens | None]:
    """The lines of a row that ends as the word says, and what it used (None: it did not run). `total`: whether the sum
    of tokens is told."""
    request = orjson.dumps(row.body)
    if word.isdigit():
        code = int(word)
        error = {"code": code, "message": f"Refused: {model}", "status": _STATUSES.get(code, "UNAVAILABLE")}
        status = f"{HTTPStatus(code).phrase}: {orjson.dumps({'error': error}).decode()}"
        return error_line(row.key, request, status, PROCESSED), None
    told, tokens = answer(row.body, model, word, answering)
    if not total:
        del told["usageMetadata"]["totalTokenCount"]
    line = result_line(row.key, request, orjson.dumps(told), PROCESSED)
    match word:
        case "missing":
            return b"", tokens
        case "malformed":
            return line[: len(line) // 2] + b"\n", tokens
        case "duplicate":
            return line * 2, tokens
        case "foreign":
            return line + result_line(b'"somebody-elses-row"', request, orjson.dumps(told), PROCESSED), tokens
        case _:
            return line, tokens
