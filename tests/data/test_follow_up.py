"""Follow-ups: the same requests under new ids, whichever shards they stood in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overnight.blobs.files import FileBlobs
from overnight.data import spans
from overnight.data.follow_up import Row, read_request, write_follow_up
from overnight.data.requests import Request
from overnight.data.shards import Most, ShardSet
from overnight.errors import InvariantError
from overnight.types import JobId, Shard
from overnight.wire.custom_ids import custom_id, split_custom_id
from overnight.wire.openai import request_line

JOB = JobId("job-1")
TAG = "abcd0123"
CHAT = "/v1/chat/completions"
_ids = (f"{n:032d}"[::-1] for n in itertools.count())


def new_id() -> str:
    return next(_ids)


def body(ordinal: int) -> bytes:
    return b'{"model":"m","max_tokens":%d,"x":"%s"}' % (ordinal, "ü".encode() * ordinal)


def shard_of(blobs: FileBlobs, ordinals: Iterable[int], segment: int | None, model: str = "m") -> Shard:
    with ShardSet(blobs, JOB, segment, 0, Most(10**6, 10**9, 10**9), new_id, "openai") as shards:
        for ordinal in ordinals:
            line = request_line(custom_id(TAG, ordinal, 0), CHAT, body(ordinal))
            shards.add(ordinal, Request(model, CHAT, line, 1.0, 2.0, ordinal, 1))
        [shard] = shards.finish()
    return shard


def follow_up(blobs: FileBlobs, rows: Iterable[Row], most_rows: int = 100, **changes: Any) -> tuple[Shard, ...]:
    told: dict[str, Any] = {"generation": 4, "most_bytes": 10**9, "most_rows": most_rows} | changes
    return write_follow_up(rows, job_id=JOB, run_tag=TAG, blobs=blobs, new_id=new_id, **told)


def lines(blobs: FileBlobs, name: str | None) -> Iterator[Any]:
    with blobs.open(name or "") as file:
        yield from map(json.loads, file)


def test_rows_of_several_shards_go_out_again_in_order(blobs: FileBlobs) -> None:
    first, second, mixed = (shard_of(blobs, o, s) for o, s in ((range(5), 0), (range(5, 9), 1), ((1, 4, 20), None)))
    rows = [(6, 1, 0, second), (4, 2, 1, mixed), (20, 0, 0, mixed), (0, 1, 1, first), (5, 3, 2, second)]
    one, two = follow_up(blobs, rows, most_rows=3)
    assert (one.spans, two.spans) == (((0, 1), (4, 6)), ((6, 7), (20, 21)))
    assert [list(lines(blobs, shard.tries_blob)) for shard in (one, two)] == [
        [[0, 1, 1], [4, 2, 1], [5, 3, 2]],
        [[6, 1, 0], [20, 0, 0]],
    ]
    assert [each["custom_id"] for each in lines(blobs, one.blob)] == [custom_id(TAG, n, 4) for n in (0, 4, 5)]
    assert [each["body"] for each in lines(blobs, two.blob)] == [json.loads(body(6)), json.loads(body(20))]
    assert (one.segment, one.generation, one.max_output, two.max_output) == (None, 4, 0 + 4 + 5, 26)
    assert one.tokens > 0
    assert one.tokens_ceiling > one.tokens


def test_many_shards_are_read_with_few_open_files(blobs: FileBlobs) -> None:
    shards = [shard_of(blobs, (n, n + 100), None) for n in range(40)]
    before = len(list(Path("/dev/fd").iterdir()))
    [made] = follow_up(blobs, [(n + 100 * (n % 2), 1, 1, shard) for n, shard in enumerate(shards)])
    assert made.rows == 40
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_models_do_not_mix(blobs: FileBlobs) -> None:
    a, b = shard_of(blobs, range(3), 0, "a"), shard_of(blobs, range(3, 5), 0, "b")
    made = follow_up(blobs, [(3, 1, 1, b), (0, 1, 1, a), (2, 1, 1, a)])
    assert [(shard.model, shard.spans) for shard in made] == [("a", ((0, 1), (2, 3))), ("b", ((3, 4),))]


def test_one_request_is_read(blobs: FileBlobs) -> None:
    shard = shard_of(blobs, (3, 4, 9), None)
    assert read_request(shard, 9, blobs) == request_line(custom_id(TAG, 9, 0), CHAT, body(9))
    with pytest.raises(InvariantError, match="does not hold row 6"):
        read_request(shard, 5, blobs)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=20),
    st.data(),
    st.integers(1, 9),
    st.integers(300, 2000),
)
def test_nothing_is_lost_or_doubled(
    blobs: FileBlobs, held: list[set[int]], data: st.DataObject, most_rows: int, most_bytes: int
) -> None:
    shards = [shard_of(blobs, sorted(ordinals), None) for ordinals in held]
    places = {ordinal: shard for shard, ordinals in zip(shards, held, strict=True) for ordinal in ordinals}
    chosen = data.draw(st.sets(st.sampled_from(sorted(places)), min_size=1))
    made = follow_up(blobs, [(o, o, 1, places[o]) for o in chosen], most_rows, most_bytes=most_bytes)
    found = [split_custom_id(each["custom_id"]) for shard in made for each in lines(blobs, shard.blob)]
    assert found == [(TAG, ordinal, 4) for ordinal in sorted(chosen)]
    assert [o for shard in made for o in spans.ordinals(shard.spans)] == sorted(chosen)
    assert all(shard.rows <= most_rows for shard in made)
    assert all(shard.size <= most_bytes or shard.rows == 1 for shard in made)
