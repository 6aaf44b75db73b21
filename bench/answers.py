"""What the model of the bench says, in the lines of every dialect: some thousand answers made beforehand, into which
the ids of rows are put."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from random import Random
from typing import Any

import orjson

from jobs import SYSTEM

ANSWERS = 4_096
BLOCK = 256
"""Answers that are made in one piece."""
_TOPICS = ("business", "politics", "sports", "technology")
Around = tuple[bytes, bytes]
"""Of a result line what stands before the row's id, and behind it."""


@cache
def contents(structured: bool) -> list[str]:
    """What the model says: prose with quotes, commas and now and then a line break; or an object of the schema."""
    random, made = Random(11), []
    for number in range(ANSWERS):
        topic = _TOPICS[number % len(_TOPICS)]
        summary = f"The text is about {topic}, and {'mostly' if number % 3 else 'only partly'} approves: " + " ".join(
            random.choices(("delivery", "price", "café", "market", "“quality”", "late,", "again", "support"), k=12)
        )
        if structured:
            answer = {
                "topic": topic,
                "summary": summary,
                "score": number % 100 / 100,
                "mentions": number % 9,
                "urgent": number % 5 == 0,
                "keywords": random.sample(("price", "quality", "service", "delivery", "growth"), 3),
            }
            made.append(orjson.dumps(answer).decode())
        else:
            made.append(summary + ('\nIt says so "twice".' if number % 8 == 0 else ""))
    return made


def _used(number: int) -> tuple[int, int]:
    return 300 + number * 7 % 397, 40 + number * 13 % 101


def completion(number: int, content: str) -> dict[str, Any]:
    """A body as OpenAI gives it, about 700 bytes beside its content."""
    taken, made = _used(number)
    return {
        "id": f"chatcmpl-C{number:08d}xQ7pLm2Vn4Rt9Ks",
        "object": "chat.completion",
        "created": 1_790_000_000 + number,
        "model": "gpt-5.4-mini-2026-03-05",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": taken,
            "completion_tokens": made,
            "total_tokens": taken + made,
            "prompt_tokens_details": {"cached_tokens": 128 * (number % 2), "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": number % 7,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_a7d06e42a7",
    }


def message(number: int, content: str) -> dict[str, Any]:
    """A body as Anthropic gives it."""
    taken, made = _used(number)
    return {
        "model": "claude-haiku-4-5-20251001",
        "id": f"msg_{number:08d}xQ7pLm2Vn4Rt9KsZ",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": content}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": taken,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 128 * (number % 2),
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": made,
            "service_tier": "batch",
        },
    }


def generated(number: int, content: str) -> dict[str, Any]:
    """A body as Gemini gives it, in both of Google's services."""
    taken, made = _used(number)
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": content}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": taken,
            "candidatesTokenCount": made,
            "totalTokenCount": taken + made + number % 7,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": taken}],
            "thoughtsTokenCount": number % 7,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": f"{number:08d}xQ7pLm2Vn4Rt9K",
    }


def _openai(number: int, content: str) -> Around:
    response = {"status_code": 200, "request_id": f"req_{number:032d}", "body": completion(number, content)}
    head = b'{"id": "batch_req_%024d", "custom_id": "' % number
    return head, b'", "response": ' + orjson.dumps(response) + b', "error": null}\n'


def _anthropic(number: int, content: str) -> Around:
    said = orjson.dumps(message(number, content))
    return b'{"custom_id":"', b'","result":{"type":"succeeded","message":%b}}\n' % said


def _gemini(number: int, content: str) -> Around:
    return b'{"response":%b,"key":"' % orjson.dumps(generated(number, content)), b'"}\n'


def _vertex(number: int, content: str) -> Around:
    """This service repeats the request."""
    text = "The delivery was late, and nobody at the shop could say why, naïve as it sounds. " * 18
    request = {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "contents": [{"role": "user", "parts": [{"text": f"{number}: {text}"}]}],
        "generationConfig": {"maxOutputTokens": 200},
    }
    told = b'","status":"","processed_time":"2026-11-20T18:13:16.826+00:00","request":%b,"response":%b}\n'
    return b'{"key":"', told % (orjson.dumps(request), orjson.dumps(generated(number, content)))


_LINES: dict[str, Callable[[int, str], Around]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "vertex": _vertex,
}


@cache
def result_lines(dialect: str, structured: bool) -> list[Around]:
    """The answers as lines."""
    return [_LINES[dialect](number, content) for number, content in enumerate(contents(structured))]


class Output:
    """The file of the answers to these rows, in this order; made while it is read."""

    def __init__(self, dialect: str, ids: list[bytes], structured: bool = False) -> None:
        self.ids = ids
        self._lines = result_lines(dialect, structured)
        around = [len(head) + len(tail) for head, tail in self._lines]
        sizes = (
            sum(around[number % ANSWERS] + len(ids[number]) for number in range(start, min(start + BLOCK, len(ids))))
            for start in range(0, len(ids), BLOCK)
        )
        self._starts = [0, *accumulate(sizes)]

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._starts[-1]

    def blocks(self, first: int = 0) -> Iterator[bytes]:
        """All of it, from a block on."""
        for start in range(first * BLOCK, len(self.ids), BLOCK):
            parts: list[bytes] = []
            for number, custom_id in enumerate(self.ids[start : start + BLOCK], start):
                head, tail = self._lines[number % ANSWERS]
                parts += (head, custom_id, tail)
            yield b"".join(parts)

    def read(self, offset: int, length: int) -> bytes:
        """A part of it."""
        first = bisect_right(self._starts, offset) - 1
        skip, made = offset - self._starts[first], bytearray()
        for block in self.blocks(first):
            made += block
            if len(made) >= skip + length:
                break
        return bytes(made[skip : skip + length])
