"""The floors: what the same work costs a script that does nothing else. Run as a process:

floor.py build DIALECT DOCUMENTS.jsonl REQUESTS.jsonl    read JSONL, put texts into request lines, write, fsync
floor.py consume DIALECT RESULTS.jsonl TABLE.jsonl       read result lines, pick six fields, write JSONL, fsync
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from jobs import SYSTEM

_BLOCK = 1 << 18
Fields = dict[str, Any]


def _chat(turns: list[Fields]) -> Fields:
    body = {"model": "gpt-5.4-mini", "messages": turns, "max_completion_tokens": 200}
    return {"custom_id": "ID", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _message(turns: list[Fields]) -> Fields:
    system, *rest = turns
    text = [{"type": "text", "text": system["content"]}]
    body = {"model": "claude-haiku-4-5", "max_tokens": 200, "system": text, "messages": rest}
    return {"custom_id": "ID", "params": body}


def _generate(turns: list[Fields]) -> Fields:
    system, user = ({"parts": [{"text": turn["content"]}]} for turn in turns)
    contents = [{"role": "user", **user}]
    body = {"systemInstruction": system, "contents": contents, "generationConfig": {"maxOutputTokens": 200}}
    return {"key": "ID", "request": body}


REQUESTS: dict[str, Callable[[list[Fields]], Fields]] = {
    "openai": _chat,
    "anthropic": _message,
    "gemini": _generate,
    "vertex": _generate,
}


def build(dialect: str, source: Path, target: Path) -> None:
    """The form of a request is serialised once, the text is put in its middle."""
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "TEXT"}]
    line = orjson.dumps(REQUESTS[dialect](turns))
    start, rest = line.split(b"ID", 1)
    middle, end = rest.split(b'"TEXT"', 1)
    end += b"\n"
    with source.open("rb", buffering=_BLOCK) as documents, target.open("wb", buffering=_BLOCK) as requests:
        for number, raw in enumerate(documents):
            document = orjson.loads(raw)
            prompt = f"{document['title']}\n\n{document['text']}"
            requests.write(b"%b%09d%b%b%b" % (start, number, middle, orjson.dumps(prompt), end))
        requests.flush()
        os.fsync(requests.fileno())


def _completion(line: Fields) -> Fields:
    body = line["response"]["body"]
    choice, usage = body["choices"][0], body["usage"]
    return {
        "custom_id": line["custom_id"],
        "answer": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "model": body["model"],
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
    }


def _said(line: Fields) -> Fields:
    body = line["result"]["message"]
    usage = body["usage"]
    return {
        "custom_id": line["custom_id"],
        "answer": body["content"][0]["text"],
        "finish_reason": body["stop_reason"],
        "model": body["model"],
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
    }


def _generated(line: Fields) -> Fields:
    body = line["response"]
    candidate, usage = body["candidates"][0], body["usageMetadata"]
    return {
        "custom_id": line["key"],
        "answer": candidate["content"]["parts"][0]["text"],
        "finish_reason": candidate["finishReason"],
        "model": body["modelVersion"],
        "input_tokens": usage["promptTokenCount"],
        "output_tokens": usage["candidatesTokenCount"],
    }


RESULTS: dict[str, Callable[[Fields], Fields]] = {
    "openai": _completion,
    "anthropic": _said,
    "gemini": _generated,
    "vertex": _generated,
}


def consume(dialect: str, source: Path, target: Path) -> None:
    """Six fields, by their own names."""
    read = RESULTS[dialect]
    with source.open("rb", buffering=_BLOCK) as results, target.open("wb", buffering=_BLOCK) as table:
        for raw in results:
            table.write(orjson.dumps(read(orjson.loads(raw)), option=orjson.OPT_APPEND_NEWLINE))
        table.flush()
        os.fsync(table.fileno())


if __name__ == "__main__":
    {"build": build, "consume": consume}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
