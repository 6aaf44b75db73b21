"""The list of a segment's records: `[key, problem kind, problem message]` a line, in order, written once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import orjson

from overnight.data import spans
from overnight.ports import Blobs, BlobWriter
from overnight.types import FailureKind, JobId, Segment, Span

_NO_PROBLEM = b",null,null]\n"
_encoder = msgspec.json.Encoder()


ROWS = ".rows.jsonl"


def row_list_name(job_id: JobId, segment: int, plan: str) -> str:
    """The blob of a segment's list. A plan that is not approved leaves the lists of another one as they are."""
    return f"jobs/{job_id}/segments/{segment:06d}-{plan}{ROWS}"


class RowListWriter:
    """Writes lines in blocks; `flush` in the end."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self._lines: list[bytes] = []

    def add(self, key: str, kind: FailureKind | None, message: str | None) -> None:
        """One record."""
        if kind is None:
            self._lines.append(b"[%s%s" % (orjson.dumps(key), _NO_PROBLEM))
        else:
            self._lines.append(orjson.dumps([key, kind, message]) + b"\n")
        if len(self._lines) == 1000:
            self.flush()

    def add_all(self, keys: Sequence[str]) -> None:
        """Records without a problem."""
        self.flush()
        self._writer.write(_encoder.encode_lines([(key, None, None) for key in keys]))

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            self._writer.write(b"".join(self._lines))
            self._lines.clear()


def problems(blobs: Blobs, segment: Segment, among: Sequence[Span]) -> Iterator[tuple[int, FailureKind, str]]:
    """Ordinal, kind and message of the records with a problem among those ordinals."""
    if not segment.bad and not segment.empty:
        return
    with blobs.open(segment.rows_blob) as file:
        for ordinal, line in enumerate(file, segment.first_ordinal):
            if not line.endswith(_NO_PROBLEM) and spans.position(among, ordinal) is not None:
                _, kind, message = orjson.loads(line)
                yield ordinal, FailureKind(kind), message
