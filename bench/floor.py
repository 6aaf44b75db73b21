"""The floors: what the same work costs a script that does nothing else. Run as a process:

floor.py build DOCUMENTS.jsonl REQUESTS.jsonl      read JSONL, put each text into a request line, write, fsync
floor.py consume RESULTS.jsonl TABLE.jsonl         read result lines, pick six fields, write JSONL, fsync
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson

from jobs import MODEL, SYSTEM

_BLOCK = 1 << 18


def build(source: Path, target: Path) -> None:
    """The form of a request is serialised once, the text is put in its middle."""
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "TEXT"}]
    body = {"model": MODEL, "messages": turns, "max_completion_tokens": 200}
    line = orjson.dumps({"custom_id": "ID", "method": "POST", "url": "/v1/chat/completions", "body": body})
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


def consume(source: Path, target: Path) -> None:
    """Six fields, by their own names."""
    with source.open("rb", buffering=_BLOCK) as results, target.open("wb", buffering=_BLOCK) as table:
        for raw in results:
            line = orjson.loads(raw)
            body = line["response"]["body"]
            choice, usage = body["choices"][0], body["usage"]
            row = {
                "custom_id": line["custom_id"],
                "answer": choice["message"]["content"],
                "finish_reason": choice["finish_reason"],
                "model": body["model"],
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
            }
            table.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        table.flush()
        os.fsync(table.fileno())


if __name__ == "__main__":
    {"build": build, "consume": consume}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
