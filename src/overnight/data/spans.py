"""Sets of ordinals as sorted, disjoint, non-touching half-open ranges: small for runs, exact for scattered rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from overnight.types import Segment, Span

Spans = tuple[Span, ...]


def from_ordinals(ordinals: Iterable[int]) -> Spans:
    """The set of these ordinals, given in any order, repeated ones counted once."""
    return _joined((ordinal, ordinal + 1) for ordinal in sorted(ordinals))


def union(*sets: Iterable[Span]) -> Spans:
    """What is in any of them. The ranges inside one argument may overlap."""
    return _joined(sorted(span for spans in sets for span in spans))


def intersect(left: Sequence[Span], right: Sequence[Span]) -> Spans:
    """What is in both."""
    found: list[Span] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start, stop = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if start < stop:
            found.append((start, stop))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def minus(left: Sequence[Span], right: Sequence[Span]) -> Spans:
    """What is in `left` and not in `right`."""
    found: list[Span] = []
    j = 0
    for first, stop in left:
        start = first
        while j < len(right) and right[j][1] <= start:
            j += 1
        k = j
        while k < len(right) and right[k][0] < stop:
            if start < right[k][0]:
                found.append((start, right[k][0]))
            start = max(start, right[k][1])
            k += 1
        if start < stop:
            found.append((start, stop))
    return tuple(found)


def count(spans: Iterable[Span]) -> int:
    """How many ordinals."""
    return sum(stop - start for start, stop in spans)


def ordinals(spans: Iterable[Span]) -> Iterator[int]:
    """Each ordinal, ascending."""
    for start, stop in spans:
        yield from range(start, stop)


def of_segment(segment: Segment) -> Span:
    """All ordinals of the segment."""
    return segment.first_ordinal, segment.first_ordinal + segment.rows


def position(spans: Sequence[Span], ordinal: int) -> int | None:
    """How many ordinals of the set are smaller, so: the zero-based line of the ordinal in a shard of these spans.
    None where the set does not hold it."""
    at = bisect_right(spans, ordinal, key=lambda span: span[0]) - 1
    if at < 0 or ordinal >= spans[at][1]:
        return None
    return count(spans[:at]) + ordinal - spans[at][0]


def _joined(ascending: Iterable[Span]) -> Spans:
    found: list[Span] = []
    for start, stop in ascending:
        if start >= stop:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return tuple(found)
