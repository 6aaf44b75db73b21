"""Rows given from Python are written down once, so that they can be read again: as JSON Lines named by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from secrets import token_hex
from typing import Any, TypeGuard
from uuid import UUID

from overnight.errors import UsageError
from overnight.ports import Blobs

SPOOL = "spool:"
_BLOCK = 1 << 20


def is_spool(source: str | tuple[str, ...]) -> TypeGuard[str]:
    """Whether a spec's source is the locator of a spool."""
    return isinstance(source, str) and source.startswith(SPOOL)


def spool_blob(locator: str) -> str:
    """The blob that holds the rows of a locator `spool:<sha256>`."""
    return f"spool/{locator.removeprefix(SPOOL)}.jsonl"


def spool_rows(rows: Iterable[Mapping[str, Any]] | Any, blobs: Blobs) -> str:
    """Write the rows (dicts, or an Arrow table or anything else that offers `__arrow_c_stream__`) as JSON Lines and
    return their locator `spool:<sha256>`, which `open_source` takes; the same rows have the same locator. Dates become
    ISO text, decimals and UUIDs their text. Numbers that JSON does not know are kept as they are, and so become bad
    records. Raises `UsageError` naming row and column where a value has no such form."""
    name = f"spool/{token_hex(8)}.part"
    digest = hashlib.sha256()
    with blobs.create(name) as part:
        lines: list[bytes] = []
        for number, row in enumerate(_mappings(rows), 1):
            lines.append(_line(number, row))
            if len(lines) == 1000:
                _flush(lines, part.write, digest.update)
        _flush(lines, part.write, digest.update)
        part.commit()
    locator = SPOOL + digest.hexdigest()
    final = spool_blob(locator)
    if blobs.size(final) is None:
        with blobs.open(name) as written, blobs.create(final) as spool:
            while block := written.read(_BLOCK):
                spool.write(block)
            spool.commit()
    blobs.delete(name)
    return locator


def _flush(lines: list[bytes], *takers: Any) -> None:
    block = b"".join(lines)
    lines.clear()
    for take in takers:
        take(block)


def _mappings(rows: Any) -> Iterator[Mapping[str, Any]]:
    if not hasattr(rows, "__arrow_c_stream__"):
        yield from rows
        return
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError("reading Arrow data needs pyarrow: pip install 'overnight[parquet]'") from error
    for batch in pyarrow.RecordBatchReader.from_stream(rows):
        for start in range(0, batch.num_rows, 1000):
            yield from batch.slice(start, 1000).to_pylist()


def _line(number: int, row: Mapping[str, Any]) -> bytes:
    if not isinstance(row, Mapping):
        raise UsageError(f"row {number} is no mapping of columns to values: give dicts")
    try:
        # ASCII, so that lone surrogates survive as escapes and are told as a bad record later.
        return json.dumps(dict(row), default=_text, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"row {number}, {_culprit(row)}: the value has no JSON form: convert it first") from error


def _text(value: object) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError


def _culprit(row: Mapping[str, Any]) -> str:
    for column, value in row.items():
        try:
            json.dumps({column: value}, default=_text)
        except (TypeError, ValueError, RecursionError):
            return f"column {column!r} ({type(value).__name__})"
    return "as a whole"
