"""The table of answers: every selected row once, in the order of the source, with the best of its answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.blobs.files import FileBlobs
from overnight.core.cost import Rates
from overnight.data import spans
from overnight.data.ledger import read_ledger, write_ledger
from overnight.data.merge import MergeSummary, Parts, find_row, iterate, merge
from overnight.data.records import Cut, SourceChanged
from overnight.data.schemas import answer_rules
from overnight.data.sources import Source, open_source
from overnight.data.table import Row, blocks, layout_of
from overnight.errors import UsageError
from overnight.spec import Answer, Spec
from overnight.types import Batch, BatchId, BatchState, Outcome, Segment, Span, Tokens
from tests.data.result_lines import (
    EMBEDDINGS,
    TAG,
    answered,
    batch,
    bring_home,
    chat,
    embedding,
    line,
    never_ran,
    refused,
    segment,
    spec,
    write_rows,
)

RATES = Rates(1_000_000, 100_000, 10_000_000)


def parts(
    blobs: FileBlobs,
    segments: Sequence[Segment],
    batches: Iterable[Batch],
    *,
    of: Spec | None = None,
    selected: Sequence[Span] = ((0, 10**9),),
    source: Source | None = None,
) -> Parts:
    of = of or spec(key="id")
    homes = list(batches)

    def contributing(index: int) -> list[Batch]:
        return [home for home in homes if spans.intersect(home.shard.spans, (spans.of_segment(segments[index]),))]

    return Parts(
        of,
        answer_rules(of),
        TAG,
        segments,
        lambda segment: spans.intersect(selected, (spans.of_segment(segment),)),
        contributing,
        blobs,
        source,
    )


def one_segment(blobs: FileBlobs, rows: int, problems: dict[int, tuple[str, str]] | None = None) -> list[Segment]:
    one = segment(0, 0, rows)
    write_rows(one, blobs, problems)
    return [one]


def column(rows: Iterable[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_rows_stand_in_source_order_with_how_they_went(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 4)
    home = bring_home(
        batch(1, [(0, 4)]), blobs, segments, [chat(2, "two"), chat(0, "zero")], [refused(1, 400)], rates=RATES
    )
    first, second, third, fourth = iterate(parts(blobs, segments, [home]))
    assert first == {
        "id": "key0",
        "status": "succeeded",
        "answer": "zero",
        "error_kind": None,
        "error_message": None,
        "finish_reason": "stop",
        "model": "gpt-5.4-mini-2026-03-05",
        "custom_id": f"{TAG}-000000000-00",
        "request_id": "req_0_0",
        "batch_id": "batch_1",
        "attempts": 1,
        "input_tokens": 100,
        "cached_tokens": 0,
        "output_tokens": 10,
        "reasoning_tokens": 0,
        "cost": 0.0002,
    }
    assert third["answer"] == "two"
    assert (second["status"], second["error_kind"], second["answer"]) == ("errored", "permanent", None)
    assert (second["request_id"], second["cost"], second["input_tokens"]) == ("req_1", 0.0, 0)
    assert (fourth["status"], fourth["error_kind"], fourth["custom_id"]) == (
        "errored",
        "missing",
        f"{TAG}-000000003-00",
    )
    assert (fourth["cost"], fourth["input_tokens"]) == (None, None)


def test_skipped_rows_tell_why_and_rows_not_selected_are_left_out(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 5, {1: ("bad_row", "line 3: 2 fields, not 3"), 3: ("empty_row", "text is empty")})
    home = bring_home(batch(1, [(0, 1), (2, 3)]), blobs, segments, [chat(0), chat(2)])
    rows = list(iterate(parts(blobs, segments, [home], selected=[(0, 4)])))
    assert column(rows, "id") == ["key0", "key1", "key2", "key3"]
    assert column(rows, "status") == ["succeeded", "skipped", "succeeded", "skipped"]
    assert column(rows, "error_message") == [None, "line 3: 2 fields, not 3", None, "text is empty"]
    assert (rows[1]["attempts"], rows[1]["cost"], rows[1]["input_tokens"]) == (0, 0.0, 0)


def test_rows_not_answered_yet_are_pending_in_a_partial_table_only(blobs: FileBlobs, tmp_path: Path) -> None:
    segments = one_segment(blobs, 3)
    here = parts(blobs, segments, [bring_home(batch(1, [(0, 2)]), blobs, segments, [chat(0), chat(1)])])
    assert column(iterate(here, "partial"), "status") == ["succeeded", "succeeded", "pending"]
    with pytest.raises(UsageError, match="--partial"):
        list(iterate(here))
    output = tmp_path / "out.csv"
    output.write_text("older")
    with pytest.raises(UsageError):
        merge(here, output)
    assert (output.read_text(), list(tmp_path.glob(".*"))) == ("older", [])


def test_a_success_beats_a_failure_then_the_rank_decides_and_all_attempts_are_paid(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 3)
    bring = [
        bring_home(
            batch(1, [(0, 3)]), blobs, segments, [chat(0, "old"), chat(1, finish="length"), chat(2)], rates=RATES
        ),
        bring_home(
            batch(3, [(0, 3)], generation=1, rank=2),
            blobs,
            segments,
            [chat(0, "new", generation=1), chat(2, finish="length", generation=1)],
            [refused(1, 500, generation=1)],
            rates=RATES,
        ),
        bring_home(batch(2, [(1, 2)], generation=2, rank=1), blobs, segments, [chat(1, generation=2)], rates=RATES),
    ]
    for order in (bring, bring[::-1]):
        rows = list(iterate(parts(blobs, segments, order)))
        assert column(rows, "status") == ["succeeded"] * 3
        assert column(rows, "answer") == ["new", "fine", "fine"]
        assert column(rows, "batch_id") == ["batch_3", "batch_2", "batch_1"]
        assert column(rows, "attempts") == [2, 3, 2]
        assert column(rows, "cost") == [0.0004, 0.0004, 0.0004]
        assert column(rows, "input_tokens") == [200, 200, 200]


def test_a_batch_accepted_twice_adds_its_money_and_nothing_else(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 1)
    home = bring_home(batch(1, [(0, 1)]), blobs, segments, [], [refused(0, 400)], rates=RATES)
    twin = bring_home(batch(2, [(0, 1)]), blobs, segments, [chat(0)], rates=RATES)
    twin = replace(twin, duplicate_of=BatchId("b1"))
    (row,) = iterate(parts(blobs, segments, [home, twin]))
    assert (row["status"], row["attempts"], row["cost"]) == ("errored", 1, 0.0002)


def test_money_of_a_row_is_unknown_when_one_attempt_is(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 1)
    lost = bring_home(batch(1, [(0, 1)]), blobs, segments, [], rates=RATES)
    home = bring_home(batch(2, [(0, 1)], rank=1), blobs, segments, [chat(0)], rates=RATES)
    (row,) = iterate(parts(blobs, segments, [lost, home]))
    assert (row["status"], row["cost"], row["input_tokens"]) == ("succeeded", None, None)


def test_batches_never_sent_are_no_attempt(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 1)
    home = bring_home(batch(1, [(0, 1)]), blobs, segments, [chat(0)])
    unsent = replace(home, state=BatchState.CANCELED, ledger_blob=None, answers=(), submitted_at=None, remote=None)
    (row,) = iterate(parts(blobs, segments, [unsent]))
    assert (row["status"], row["attempts"], row["batch_id"], row["cost"]) == ("canceled", 0, None, 0.0)


# ------------------------------------------------------------------------------------------ answers and columns


def one_answer(blobs: FileBlobs, raw: bytes, of: Spec, endpoint: str = "/v1/chat/completions") -> dict[str, Any]:
    segments = one_segment(blobs, 1)
    home = bring_home(batch(1, [(0, 1)], endpoint=endpoint), blobs, segments, [raw], of=of)
    (row,) = iterate(parts(blobs, segments, [home], of=of))
    return row


def test_labels_stand_alone(blobs: FileBlobs) -> None:
    row = one_answer(blobs, chat(0, '{"label": "good"}'), spec(answer=Answer(labels=("good", "bad"))))
    assert row["answer"] == "good"


def test_properties_of_a_schema_are_columns(blobs: FileBlobs) -> None:
    properties = {"topic": {"type": "string"}, "model": {"type": "string"}, "id": {}, "more": {"type": "array"}}
    schema = {"type": "object", "properties": properties, "required": ["topic"]}
    text = '{"more":[1,{"a":2}],"topic":"x","model":"y"}'
    row = one_answer(blobs, chat(0, text), spec(key="id", answer=Answer(schema=schema)))
    assert list(row)[:6] == ["id", "status", "topic", "answer.model", "answer.id", "more"]
    assert (row["topic"], row["answer.model"], row["answer.id"], row["more"]) == ("x", "y", None, [1, {"a": 2}])
    assert "answer" not in row


def test_an_object_without_properties_is_one_column(blobs: FileBlobs) -> None:
    assert one_answer(blobs, chat(0, '{"a": [1]}'), spec(answer=Answer(schema={"type": "object"})))["answer"] == {
        "a": [1]
    }


def test_vectors_and_tool_calls_and_bodies_are_answers(blobs: FileBlobs) -> None:
    vector = one_answer(blobs, embedding(0, [0.5, -1.0]), spec(endpoint="embeddings"), EMBEDDINGS)
    assert tuple(vector["answer"]) == (0.5, -1.0)
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert json.loads(one_answer(blobs, chat(0, None, tools=calls), spec())["answer"]) == calls
    body = {"results": [{"flagged": False}, {"flagged": True}]}
    raw = one_answer(blobs, line(0, answered(200, body, "r")), spec(raw=True), "/v1/moderations")
    assert json.loads(raw["answer"]) == body


def test_rows_without_a_key_have_their_number(blobs: FileBlobs) -> None:
    segments = [segment(0, 0, 1), segment(1, 1, 2)]
    for each in segments:
        write_rows(each, blobs)
    home = bring_home(batch(1, [(0, 3)]), blobs, segments, [chat(0), chat(1), chat(2)])
    assert column(iterate(parts(blobs, segments, [home], of=spec())), "row") == [1, 2, 3]


def test_raw_lines_and_log_probabilities_on_request(blobs: FileBlobs, tmp_path: Path) -> None:
    of = spec(key="id", extra=("raw", "logprobs"))
    segments = one_segment(blobs, 2)
    tokens = {"content": [{"token": "a", "logprob": -0.5}]}
    home = bring_home(batch(1, [(0, 2)]), blobs, segments, [chat(0, logprobs=tokens)])
    here = parts(blobs, segments, [home], of=of)
    first, second = iterate(here)
    assert first["raw"]["custom_id"] == first["custom_id"]
    assert (first["logprobs"], second["raw"], second["logprobs"]) == (tokens, None, None)
    merge(here, tmp_path / "out.jsonl")
    assert [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()] == [first, second]
    merge(here, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert json.loads(next(csv.DictReader(file))["raw"]) == first["raw"]


def test_log_probabilities_of_responses(blobs: FileBlobs) -> None:
    parts = [{"type": "output_text", "text": word, "logprobs": [{"token": word, "logprob": -1}]} for word in "ab"]
    body = {"status": "completed", "model": "m", "output": [{"type": "message", "content": parts}]}
    row = one_answer(blobs, line(0, answered(200, body, "r")), spec(extra=("logprobs",)), "/v1/responses")
    assert (row["answer"], [token["token"] for token in row["logprobs"]]) == ("ab", ["a", "b"])


# ------------------------------------------------------------------------------------------------- the source


@pytest.fixture
def reviews(tmp_path: Path, blobs: FileBlobs) -> Iterator[Callable[[str], tuple[Source, list[Segment]]]]:
    """Write a CSV source and cut it into segments of two records."""

    opened: list[Source] = []

    def write(text: str) -> tuple[Source, list[Segment]]:
        path = tmp_path / "reviews.csv"
        path.write_text(text)
        source = open_source("reviews.csv", tmp_path, blobs, cut=Cut(rows=2))
        opened.append(source)
        segments = []
        for index, run in enumerate(source.segments()):
            rows = list(run)
            name = f"jobs/job1/segments/{index:06d}.rows.jsonl"
            segments.append(
                Segment(
                    index,
                    run.first_ordinal,
                    len(rows),
                    run.file,
                    run.offset,
                    run.line,
                    run.length,
                    run.sha256,
                    name,
                    0,
                    0,
                )
            )
            write_rows(segments[-1], blobs)
        return source, segments

    yield write
    for source in opened:
        source.close()


CSV = "id,text,model,zip\nkey0,a,x,007\nkey1,b,y,1\nkey2,c,z,2\n"


def test_kept_columns_are_read_again_and_give_way_in_names(
    blobs: FileBlobs, reviews: Callable[[str], tuple[Source, list[Segment]]]
) -> None:
    source, segments = reviews(CSV)
    home = bring_home(batch(1, [(0, 3)]), blobs, segments, [chat(2), chat(1), chat(0)])
    everything = list(iterate(parts(blobs, segments, [home], of=spec(key="id", keep="all"), source=source)))
    assert list(everything[0])[:6] == ["id", "text", "source.model", "zip", "status", "answer"]
    assert [(row["id"], row["text"], row["source.model"], row["zip"]) for row in everything] == [
        ("key0", "a", "x", "007"),
        ("key1", "b", "y", "1"),
        ("key2", "c", "z", "2"),
    ]
    some = parts(blobs, segments, [home], of=spec(key="id", keep=("zip", "id")), source=source, selected=[(1, 3)])
    assert [list(row.values())[:2] for row in iterate(some)] == [["key1", "1"], ["key2", "2"]]
    assert "zip" not in next(iterate(replace(some, source=None)))


def test_a_changed_source_stops_and_leaves_no_output(
    blobs: FileBlobs, tmp_path: Path, reviews: Callable[[str], tuple[Source, list[Segment]]]
) -> None:
    source, segments = reviews(CSV)
    home = bring_home(batch(1, [(0, 3)]), blobs, segments, [chat(2), chat(1), chat(0)])
    (tmp_path / "reviews.csv").write_text(CSV.replace("key2,c", "key2,d"))
    here = parts(blobs, segments, [home], of=spec(key="id", keep="all"), source=source, selected=[(0, 3)])
    with pytest.raises(SourceChanged):
        merge(here, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    assert merge(replace(here, source=None), tmp_path / "out.jsonl").rows == 3


def test_failed_rows_are_a_source_like_the_first(
    blobs: FileBlobs, tmp_path: Path, reviews: Callable[[str], tuple[Source, list[Segment]]]
) -> None:
    source, segments = reviews("id,text,status\nkey0,a,x\nkey1,b,y\nkey2,c,z\n")
    home = bring_home(batch(1, [(0, 2)]), blobs, segments, [chat(0), chat(1, finish="length")])
    merge(parts(blobs, segments, [home], source=source), tmp_path / "failed.csv", "failed")
    with open_source("failed.csv", tmp_path, blobs) as again:
        assert again.columns[:5] == ("id", "text", "status", "overnight.status", "error_kind")
        assert "answer" not in again.columns
        records = [record.values for run in again.segments() for record in run]
    assert [(values and (values["id"], values["text"], values["status"])) for values in records] == [("key1", "b", "y")]


# ------------------------------------------------------------------------------------------------ the summary


def test_the_summary_counts_rows_reasons_and_the_money_of_each_batch_once(blobs: FileBlobs, tmp_path: Path) -> None:
    of = spec(key="id", answer=Answer(labels=("a", "b")))
    segments = [segment(0, 0, 3), segment(1, 3, 3)]
    write_rows(segments[0], blobs, {0: ("bad_row", "line 2: unreadable")})
    write_rows(segments[1], blobs)
    home = bring_home(
        batch(1, [(1, 6)]),
        blobs,
        segments,
        [chat(1, "a"), chat(2, "a"), chat(3, "b"), chat(4, finish="length")],
        rates=RATES,
        of=of,
    )
    summary = merge(parts(blobs, segments, [home], of=of), tmp_path / "out.jsonl")
    assert summary == MergeSummary(
        rows=6,
        outcomes={"succeeded": 3, "errored": 2, "skipped": 1},
        reasons={
            "bad_row": (1, "line 2: unreadable"),
            "truncated": (1, "cut at the output limit"),
            "missing": (1, "in no file of the answer"),
        },
        labels={"a": 2, "b": 1},
        tokens=Tokens(400, 0, 40, 0),
        cost=800_000_000,  # type: ignore[arg-type]
        unknown_rows=1,
    )


def test_a_row_is_found_by_its_key(blobs: FileBlobs) -> None:
    segments = [segment(0, 0, 3), segment(1, 3, 3)]
    for each in segments:
        write_rows(each, blobs)
    assert (find_row("key4", segments, blobs), find_row("key9", segments, blobs)) == (4, None)


def test_large_answers_are_held_a_few_at_a_time(blobs: FileBlobs) -> None:
    segments = one_segment(blobs, 40)
    home = bring_home(batch(1, [(0, 40)]), blobs, segments, [chat(row, "x" * 500_000) for row in range(40)])
    here = parts(blobs, segments, [home])

    class Silent:
        def succeeded(self, answers: Sequence[Row]) -> None: ...

        def ended(self, status: str, kind: object, message: str) -> None: ...

    made = blocks(here, layout_of(here, "finished"), "finished", segments[0], [home], Silent())
    held = [len(block[0]) for block in made]
    assert (sum(held), max(held)) == (40, 9)


# ------------------------------------------------------------------------------------------- plain answers

WORDS = st.text(st.sampled_from('a \n",é“=\u2028/\\日\x01'), min_size=1, max_size=8)
ROWS = st.lists(st.tuples(WORDS, st.booleans(), st.sampled_from(("stop", "stop", "stop", "length", ""))), min_size=1)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.booleans(), st.sampled_from(((), ("raw",))))
def test_texts_copied_as_they_stand_are_those_that_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, bool, str]], labeled: bool, extra: tuple[str, ...]
) -> None:
    place = tmp_path_factory.mktemp("place")
    blobs = FileBlobs(place / "blobs")
    of = spec(
        key="id", extra=extra, answer=Answer(labels=tuple({text for text, _, _ in rows})) if labeled else Answer()
    )
    segments = one_segment(blobs, len(rows))
    lines = [
        chat(row, text, finish=finish, request=f"req{row} {chr(8220) * (row % 3 > 1)}")
        for row, (text, _, finish) in enumerate(rows)
    ]
    for row, (_, ascii, finish) in enumerate(rows):
        if not ascii:
            lines[row] = json.dumps(json.loads(lines[row]), ensure_ascii=False).encode() + b"\n"
        if not finish:
            lines[row] = b""
    home = bring_home(batch(1, [(0, len(rows))]), blobs, segments, lines[::-1], rates=RATES, of=of)
    made = tables(parts(blobs, segments, [home], of=of), place)
    assert home.ledger_blob is not None
    entries = read_ledger(home.ledger_blob, blobs)
    for at in range(len(entries)):
        entries.text_length[at] = 0  # now every answer is read
    write_ledger(home.ledger_blob, entries, home.shard.spans, segments, blobs)
    assert tables(parts(blobs, segments, [home], of=of), place) == made


def tables(these: Parts, place: Path) -> list[Any]:
    """The table in all formats, and its summary."""
    found: list[Any] = [list(iterate(these))]
    for suffix in ("jsonl", "csv", "parquet"):
        found.append(merge(these, place / f"table.{suffix}"))
        found.append((place / f"table.{suffix}").read_bytes())
    return found


# -------------------------------------------------------------------------------------------------- the join


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, set[int], list[tuple[int, set[int], list[tuple[int, str]]]]]:
    """Rows, segment length, selected rows, and batches of `(rank, rows, answers in the order they come back)`."""
    rows = draw(st.integers(1, 30))
    selected = draw(st.sets(st.integers(0, rows - 1), min_size=1))
    ways = st.sampled_from(["ok", "cut", "error", "expired"])
    ranks = draw(st.lists(st.integers(0, 3), max_size=4))
    retried = st.sets(st.sampled_from(sorted(selected)), min_size=1)
    batches = [(0, selected), *((rank, draw(retried)) for rank in ranks)]
    answers = [draw(st.lists(st.tuples(st.integers(0, rows + 3), ways), max_size=50)) for _ in batches]
    cut = draw(st.integers(1, 30))
    return rows, cut, selected, [(rank, held, came) for (rank, held), came in zip(batches, answers, strict=True)]


def came_back(row: int, way: str, generation: int, number: int) -> bytes:
    match way:
        case "ok":
            return chat(row, f"{generation}.{number}", generation=generation)
        case "cut":
            return chat(row, finish="length", generation=generation)
        case "error":
            return refused(row, 400, generation=generation)
        case _:
            return never_ran(row, "batch_expired", generation=generation)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_each_selected_row_has_exactly_its_best_outcome(
    tmp_path_factory: pytest.TempPathFactory,
    history: tuple[int, int, set[int], list[tuple[int, set[int], list[tuple[int, str]]]]],
) -> None:
    rows, cut, selected, batches = history
    blobs = FileBlobs(tmp_path_factory.mktemp("blobs"))
    segments = [segment(index, first, min(cut, rows - first)) for index, first in enumerate(range(0, rows, cut))]
    for each in segments:
        write_rows(each, blobs)
    homes: list[Batch] = []
    expected: dict[int, tuple[bool, int, int, str | None]] = {}
    for number, (rank, held, came) in enumerate(batches):
        lines = [came_back(row, way, number, at) for at, (row, way) in enumerate(came)]
        shape = batch(number, spans.from_ordinals(held), generation=number, rank=rank)
        homes.append(bring_home(shape, blobs, segments, lines[::2], lines[1::2]))
        order = list(enumerate(came))[::2] + list(enumerate(came))[1::2]  # one file is read after the other
        for row in held:
            good = next((f"{number}.{at}" for at, (other, way) in order if other == row and way == "ok"), None)
            best = (good is not None, rank, number, good)
            expected[row] = max(expected.get(row, best), best, key=lambda one: one[:3])
    found = list(iterate(parts(blobs, segments, homes, selected=spans.from_ordinals(selected))))
    assert column(found, "id") == [f"key{row}" for row in sorted(selected)]
    for row, shown in zip(sorted(selected), found, strict=True):
        good, _, number, answer = expected[row]
        assert (shown["status"] == Outcome.SUCCEEDED, shown["answer"]) == (good, answer)
        assert shown["batch_id"] == f"batch_{number}"
        assert shown["attempts"] == sum(row in held for _, held, _ in batches)
