"""JSON as strict readers take it."""

from __future__ import annotations

import json

import orjson

from overnight.wire.jsonl import BOM


def strict_json(line: bytes) -> bytes:
    """The line without its end where it is strict JSON; else what a lenient reader makes of it: NaN is null, bytes that
    are no UTF-8 are replaced."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        text = line.removeprefix(BOM).decode("utf-8", "replace")
        document = json.loads(text, parse_constant=lambda _: None)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return line.strip()
