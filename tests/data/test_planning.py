"""Planning: every selected row in exactly one shard, in the dialect's own form, before anything is sent."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overnight.blobs.files import FileBlobs
from overnight.data import spans
from overnight.data.batch_size import batch_plan
from overnight.data.estimates import estimate
from overnight.data.planning import EMPTY, Planning, Summary, plan_segments, requests_of, source_of
from overnight.data.raw_requests import RawRequests, parse_raw
from overnight.data.records import Cut, SourceChanged, Unreadable
from overnight.data.requests import PromptRequests, RequestShape
from overnight.data.selection import selected
from overnight.data.shards import varied
from overnight.errors import UsageError
from overnight.spec import BatchSize, Example, Prompt, Rows, Spec
from overnight.types import Endpoint, JobId, Limits, Proof, Segment, Selection, Shard
from overnight.wire.conversation import AnswerFormat, Asked, Text, Turn
from overnight.wire.custom_ids import custom_id
from overnight.wire.openai import request_body, request_line

JOB = JobId("job-1")
TAG = "abcd0123"
LIMITS = Limits(rows=50_000, size=200_000_000, window=86_400, creates_per_hour=2_000, retention=None)
SHAPE = RequestShape("openai", Endpoint.CHAT, "m-1", {}, None, 7)
CUT = Cut(rows=4, size=10_000)
ALL = Selection()


def spec_of(path: Path, **changes: Any) -> Spec:
    given: dict[str, Any] = {"model": "openai/m-1", "source": str(path), "prompt": Prompt(user="Say {{ text }}")}
    return Spec(**given | changes)


@dataclass
class Book:
    """What the store would know of a job."""

    blobs: FileBlobs
    segments: list[Segment] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)

    def plan(
        self,
        spec: Spec,
        selection: Selection = ALL,
        limits: Limits = LIMITS,
        cut: Cut = CUT,
        proof: Proof = "tag",
    ) -> Summary:
        ids = (f"{n:032x}" for n in itertools.count(len(self.shards)))
        summary = Summary()
        with source_of(spec, Path("/"), self.blobs, cut=cut) as source:
            requests = requests_of(spec, SHAPE, source.columns, TAG)
            task = Planning(
                spec=spec,
                job_id=JOB,
                source=source,
                requests=requests,
                blobs=self.blobs,
                limits=limits,
                selection=selection,
                new_id=lambda: next(ids)[::-1],
                dialect="openai",
                known=tuple(self.segments),
                shards=tuple(self.shards),
                proof=proof,
            )
            for plan in plan_segments(task, summary):
                if plan.new:
                    self.segments.append(plan.segment)
                self.shards += plan.shards
        return summary

    def lines(self) -> dict[int, dict[str, Any]]:
        """Ordinal -> request, checked against what the shards say of themselves."""
        found: dict[int, dict[str, Any]] = {}
        for shard in self.shards:
            with self.blobs.open(shard.blob) as file:
                data = file.read()
            lines = data.splitlines(keepends=True)
            assert (len(data), len(lines)) == (shard.size, shard.rows)
            for ordinal, line in zip(spans.ordinals(shard.spans), lines, strict=True):
                assert ordinal not in found, "a row stands in two shards"
                found[ordinal] = orjson.loads(line)
                assert found[ordinal]["custom_id"] == custom_id(TAG, ordinal, 0)
        return found

    def row_list(self) -> list[Any]:
        found = []
        for segment in self.segments:
            with self.blobs.open(segment.rows_blob) as file:
                rows = [json.loads(line) for line in file]
            assert len(rows) == segment.rows
            found += rows
        return found


@pytest.fixture
def book(blobs: FileBlobs) -> Book:
    return Book(blobs)


def table(tmp_path: Path, rows: Sequence[str], header: str = "id,text") -> Path:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def ten(tmp_path: Path) -> Path:
    return table(tmp_path, [f"k{n},text {n}" for n in range(10)])


def refusal(book: Book, spec: Spec, selection: Selection = ALL) -> str:
    with pytest.raises(UsageError) as caught:
        book.plan(spec, selection)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------ requests

KINDS = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.EMBEDDINGS)
texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.sampled_from(KINDS), texts, texts, st.none() | texts, st.integers(0, 10**9), st.booleans())
def test_lines_are_those_of_the_dialect(
    endpoint: Endpoint, one: str, two: str, system: str | None, ordinal: int, with_format: bool
) -> None:
    answer = AnswerFormat("a", {"type": "object"}) if with_format and endpoint is not Endpoint.EMBEDDINGS else None
    shape = RequestShape("openai", endpoint, "m", {"temperature": 0}, answer, None)
    literal = None if system is None else "S " + system.replace("{", "").replace("\r", "").rstrip("\n") + "."
    for used in (literal, "S {{ one }}"):
        prompt = Prompt(user="{{ two }}/{{ one }}", system=used, examples=(Example(user="{{ a }}", assistant=one),))
        requests = PromptRequests(prompt, shape, ("one", "two"), TAG)
        rendered = requests.render({"one": one, "two": two})
        turns = [
            Turn("user", (Text("{{ a }}"),)),
            Turn("assistant", (Text(one),)),
            Turn("user", (Text(f"{two}/{one}"),)),
        ]
        if used is not None:
            turns.insert(0, Turn("system", (Text(f"S {one}" if used == "S {{ one }}" else used),)))
        body = request_body(endpoint, Asked("m", tuple(turns), None, {"temperature": 0}, answer))
        made = requests.request(ordinal, 3, rendered)
        assert made.line == request_line(custom_id(TAG, ordinal, 3), endpoint, orjson.dumps(body))
        assert (made.model, made.endpoint, made.inputs) == ("m", endpoint, 1)


rows_to_plan = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"text": texts | st.sampled_from(["", " ", "100 %d", None, 5, True, ["x"]]), "n": st.integers(0, 9)},
    ),
    min_size=1,
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows_to_plan,
    st.sampled_from(["{{ text }}", "%s {{ text }} {{ n }}%", "{% if n %}{{ n }}{% endif %}{{ text }}"]),
    st.sampled_from(["id", None]),
    st.sampled_from([ALL, Selection(limit=5), Selection(sample=4)]),
    st.sampled_from([{}, {"rows": 3}, {"bytes": 1000}, {"tokens": 30}]),
)
def test_rows_in_blocks_are_planned_like_rows_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    prompt: str,
    key: str | None,
    selection: Selection,
    size: dict[str, int],
) -> None:
    path = tmp_path_factory.mktemp("plan") / "a.jsonl"
    columns = {"id": "", "text": "", "n": 0}  # all of them in the first row
    written = [columns | row | {"id": f"k{at}"} for at, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in written))
    spec = spec_of(path, prompt=Prompt(user=prompt, system="100 % sure"), key=key, batch=BatchSize(**size))
    books = [Book(FileBlobs(path.parent / name)) for name in ("blocks", "singly")]
    found: list[Any] = []
    for book in books:
        with pytest.MonkeyPatch.context() as patch:
            if book is books[1]:
                patch.setattr(PromptRequests, "request_all", lambda self, first, generation, rows: None)
            try:
                summary = book.plan(spec, selection, cut=Cut(rows=7))
            except UsageError as error:
                found.append(str(error).replace(str(book.blobs.root), ""))
                continue
        found.append((book.lines(), book.row_list(), [shard.spans for shard in book.shards], summary.why_batches))
        found[-1] += (summary.requests, summary.selected, summary.empty, summary.tokens_ceiling, summary.max_output)
    assert found[0] == found[1]


def test_output_limits_count_every_copy() -> None:
    shape = RequestShape("openai", Endpoint.CHAT, "m", {}, None, 10, extra={"n": 3})
    requests = PromptRequests(Prompt(user="{{ a }}"), shape, ("a",), TAG)
    assert requests.request(0, 0, requests.render({"a": "x"})).max_output == 30


def test_prompts_that_are_refused() -> None:
    for prompt, said in (
        (Prompt(), "prompt.user is empty"),
        (Prompt(user="hello"), "no column of the source is named"),
        (Prompt(user="{{ text }}", system="{{ txt }}"), "prompt.system: the source has no column 'txt'"),
    ):
        with pytest.raises(UsageError, match=said):
            PromptRequests(prompt, SHAPE, ("text",), TAG)


@given(texts)
def test_the_ceiling_is_no_less_than_the_estimate(text: str) -> None:
    tokens, ceiling = estimate(text)
    other = sum(byte >= 128 for byte in text.encode())
    assert 0 <= tokens <= ceiling
    assert ceiling >= (len(text.encode()) - other) / 2 + other


def test_estimates_have_the_right_size() -> None:
    english = "The quick brown fox jumps over the lazy dog, and nobody minds. "  # 14 tokens
    chinese = "敏捷的棕色狐狸跳过了懒狗"  # about 12 tokens
    assert 12 <= estimate(english)[0] <= 18
    assert 10 <= estimate(chinese)[0] <= 20


# ------------------------------------------------------------------------------------- segments, rows


def test_a_whole_source_is_planned(tmp_path: Path, book: Book) -> None:
    path = ten(tmp_path)
    summary = book.plan(spec_of(path, key="id"))
    lines = book.lines()
    assert [lines[n]["body"]["messages"][0]["content"] for n in range(10)] == [f"Say text {n}" for n in range(10)]
    assert [(s.index, s.first_ordinal, s.rows, s.line, s.bad, s.empty) for s in book.segments] == [
        (0, 0, 4, 2, 0, 0),
        (1, 4, 4, 6, 0, 0),
        (2, 8, 2, 10, 0, 0),
    ]
    assert [shard.segment for shard in book.shards] == [0, 1, 2]
    assert book.row_list() == [[f"k{n}", None, None] for n in range(10)]
    assert (summary.rows, summary.selected, summary.requests, summary.batches) == (10, 10, 10, 3)
    assert summary.source_bytes == path.stat().st_size - len("id,text\n")
    assert summary.request_bytes == sum(shard.size for shard in book.shards)
    assert summary.max_output == 70 == sum(shard.max_output or 0 for shard in book.shards)
    assert 10 * 5 < summary.tokens < summary.tokens_ceiling < 10 * 40
    assert summary.first_request == lines[0]
    assert summary.why_batches == "3 batches: at most 5,000 requests in each (the default for a job of this size)"
    again = book.plan(spec_of(path, key="id"))
    assert (again.requests, again.planned_before, again.batches, len(book.segments)) == (0, 10, 0, 3)


def test_without_a_key_the_number_of_the_row_is_the_key(tmp_path: Path, book: Book) -> None:
    book.plan(spec_of(table(tmp_path, ["a,x", "b", "c,y"]), rows=Rows(on_bad="skip")))
    assert [row[0] for row in book.row_list()] == ["1", "2", "3"]


def test_a_limit_reads_no_more_than_it_needs_and_is_extended(tmp_path: Path, book: Book) -> None:
    spec = spec_of(ten(tmp_path), key="id")
    assert book.plan(spec, Selection(limit=3)).requests == 3
    assert (len(book.segments), sorted(book.lines())) == (1, [0, 1, 2])
    assert len(book.row_list()) == 4, "a segment is never cut by a selection"
    assert book.plan(spec, Selection(limit=4)).requests == 1
    assert len(book.segments) == 1
    summary = book.plan(spec, Selection(limit=9))
    assert (summary.selected, summary.planned_before, summary.requests) == (9, 4, 5)
    book.plan(spec)
    assert sorted(book.lines()) == list(range(10))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.builds(Selection, st.none() | st.integers(1, 12), st.none() | st.integers(1, 12)), max_size=4))
def test_any_selections_after_another_plan_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, selections: list[Selection]
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    book, spec = Book(FileBlobs(tmp_path / "blobs")), spec_of(ten(tmp_path))
    wanted: set[int] = set()
    for selection in selections:
        book.plan(spec, selection)
        wanted |= set(spans.ordinals(selected(selection, 10, JOB)))
        assert set(book.lines()) == wanted
    book.plan(spec)
    assert set(book.lines()) == set(range(10))
    assert [s.first_ordinal for s in book.segments] == [0, 4, 8]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 50))
def test_a_larger_sample_contains_a_smaller_one(one: int, two: int, total: int) -> None:
    small, large = sorted((one, two))
    drawn = [selected(Selection(sample=size), total, JOB) for size in (small, large)]
    assert [spans.count(each) for each in drawn] == [min(small, total), min(large, total)]
    assert spans.minus(drawn[0], drawn[1]) == ()


def test_a_limit_and_a_sample_add_up() -> None:
    both = selected(Selection(limit=3, sample=4), 100, JOB)
    assert both == spans.union(((0, 3),), selected(Selection(sample=4), 100, JOB))


def test_samples_of_other_jobs_are_other_samples() -> None:
    assert len({selected(Selection(sample=5), 1000, JobId(f"job-{n}")) for n in range(5)}) == 5


# ------------------------------------------------------------------------------- bad, empty, keys


def test_a_bad_record_stops_where_it_is_selected(tmp_path: Path, book: Book) -> None:
    path = table(tmp_path, ["k0,a", "k1,b", "k2", "k3,d", "k4,e"])
    assert refusal(book, spec_of(path)) == (
        f"{path}, line 4: 1 fields where the header has 2: mend the record, or skip such rows with rows.on_bad: skip"
    )
    assert book.plan(spec_of(path), Selection(limit=2)).bad == 0
    assert "line 4" in refusal(book, spec_of(path)), "from the list of rows, the second time"
    summary = book.plan(spec_of(path, rows=Rows(on_bad="skip")))
    assert (summary.bad, summary.requests, summary.problems) == (
        1,
        2,
        [f"{path}, line 4: 1 fields where the header has 2"],
    )
    assert sorted(book.lines()) == [0, 1, 3, 4]
    assert book.row_list()[2] == ["3", "bad_row", f"{path}, line 4: 1 fields where the header has 2"]
    assert [segment.bad for segment in book.segments] == [1, 0]


def test_a_template_that_fails_makes_a_bad_row_without_its_text(tmp_path: Path, book: Book) -> None:
    path = table(tmp_path, ["k0,5", "k1,zero", "k2,2"])
    spec = spec_of(path, key="id", prompt=Prompt(user="{{ 10 / text|int }}"), rows=Rows(on_bad="skip"))
    assert book.plan(spec).bad == 1
    assert book.row_list()[1] == ["k1", "bad_row", f"{path}, line 3: prompt.user, line 1: ZeroDivisionError"]


def test_empty_rows_are_skipped_or_sent(tmp_path: Path, book: Book) -> None:
    path = table(tmp_path, ["k0,a", 'k1," "', "k2,"])
    summary = book.plan(spec_of(path, key="id"))
    assert (summary.empty, summary.requests, book.segments[0].empty) == (2, 1, 2)
    assert book.row_list()[1:] == [["k1", "empty_row", EMPTY], ["k2", "empty_row", EMPTY]]
    assert book.plan(spec_of(path, key="id", rows=Rows(on_empty="send"))).requests == 2
    assert sorted(book.lines()) == [0, 1, 2]


def test_keys_are_checked(tmp_path: Path, book: Book) -> None:
    path = table(tmp_path, ["k0,a", "k1,b", "k2,c", "k3,d", "k4,e", "k1,f"])
    assert refusal(book, spec_of(path, key="idd")) == "key: the source has no column 'idd': did you mean 'id'?"
    assert refusal(book, spec_of(path, key="id")) == (
        f"{path}, line 7: the key (id) is the same as in {path}, line 3: every row needs one of its own"
    )


def test_keys_within_a_segment_and_empty_ones(tmp_path: Path, blobs: FileBlobs) -> None:
    path = table(tmp_path, ["k0,a", "k1,b", "k0,c"])
    assert "line 4: the key (id) is the same as in" in refusal(Book(blobs), spec_of(path, key="id"))
    assert "line 3: the key (id) is empty" in refusal(Book(blobs), spec_of(table(tmp_path, ["k0,a", ",b"]), key="id"))
    (tmp_path / "a.jsonl").write_text('{"id":1,"text":"a"}\n{"id":"1","text":"b"}\n')
    assert "a.jsonl, line 2: the key (id) is the same" in refusal(Book(blobs), spec_of(tmp_path / "a.jsonl", key="id"))
    (tmp_path / "a.jsonl").write_text('{"id":[1],"text":"a"}\n')
    assert "is neither text nor a number" in refusal(Book(blobs), spec_of(tmp_path / "a.jsonl", key="id"))
    (tmp_path / "a.jsonl").write_text('{"id":"x","text":"a"}\n{"text":"b"}\n')
    assert "line 2: the key (id) is empty" in refusal(Book(blobs), spec_of(tmp_path / "a.jsonl", key="id"))


def test_a_key_that_repeats_one_of_an_earlier_planning(tmp_path: Path, book: Book) -> None:
    spec = spec_of(table(tmp_path, [*(f"k{n},x" for n in range(7)), "k0,x"]), key="id")
    book.plan(spec, Selection(limit=4))
    assert "line 9: the key (id) is the same as in" in refusal(book, spec)


def test_equal_hashes_are_no_equal_keys(tmp_path: Path, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("keys", "planning"):
        monkeypatch.setattr(f"overnight.data.{module}.key_hash", lambda key: bytes(8))
    assert book.plan(spec_of(ten(tmp_path), key="id")).requests == 10
    assert "is the same as in" in refusal(
        Book(book.blobs), spec_of(table(tmp_path, [f"k{n % 9},x" for n in range(10)]), key="id")
    )


def test_planning_with_another_key_is_refused(tmp_path: Path, blobs: FileBlobs) -> None:
    path = ten(tmp_path)
    book = Book(blobs)
    book.plan(spec_of(path))
    assert "was planned without the key 'id'" in refusal(book, spec_of(path, key="id"))


def test_nothing_to_send(tmp_path: Path, book: Book) -> None:
    assert "has no rows" in refusal(book, spec_of(table(tmp_path, [])))


def test_a_changed_source_stops(tmp_path: Path, book: Book) -> None:
    path = ten(tmp_path)
    book.plan(spec_of(path), Selection(limit=6))
    path.write_text(path.read_text().replace("text 1", "TEXT 1"))
    with pytest.raises(SourceChanged, match=r"in rows 1 to 4.*--new"):
        book.plan(spec_of(path))
    assert len(book.shards) == 2


# --------------------------------------------------------------------------------------------- shards


def test_shards_are_cut_by_rows_bytes_and_tokens(tmp_path: Path, blobs: FileBlobs) -> None:
    path = table(tmp_path, [f"k{n},{'word ' * 100}" for n in range(10)])
    whole = Cut(rows=100, size=10**9)
    for size, expected, said in (
        (BatchSize(rows=4), [4, 4, 2], "at most 4 requests in each (batch.rows)"),
        (BatchSize(bytes=2200), [3, 3, 3, 1], "3 ended at 2,200 bytes (batch.bytes)"),
        (BatchSize(tokens=300), [2, 2, 2, 2, 2], "4 ended at 300 estimated tokens (batch.tokens)"),
        (BatchSize(), [10], "at most 5,000 requests in each"),
    ):
        book = Book(blobs)
        summary = book.plan(spec_of(path, batch=size), cut=whole)
        assert [shard.rows for shard in book.shards] == expected
        assert sorted(book.lines()) == list(range(10))
        assert said in summary.why_batches
    book = Book(blobs)
    tight = msgspec.structs.replace(spec_of(path), batch=BatchSize(bytes=1000))
    assert "9 ended at 1,000 bytes" in book.plan(tight, cut=whole).why_batches
    with pytest.raises(UsageError, match=r"row 1: the request has \d+ bytes, a whole batch may have 500: shorten it"):
        Book(blobs).plan(spec_of(path), limits=Limits(10, 500, 1, None, None))


def test_default_sizes_grow_with_the_job_and_keep_the_limits() -> None:
    def rows(job: int, creates: int | None = 2000, most: int = 50_000) -> int:
        return batch_plan(BatchSize(), Limits(most, 10, 1, creates, None), job).most.rows

    assert [rows(n) for n in (1, 10**6, 4 * 10**6, 10**8)] == [5_000, 5_000, 10_000, 50_000]
    assert rows(10**6, creates=100) == 50_000
    assert rows(10, most=100) == 100
    assert batch_plan(BatchSize(rows=900), Limits(100, 10, 1, None, None), 5).rows_reason == "the provider's limit"


def test_where_batches_are_told_apart_by_their_number_of_requests_it_varies(tmp_path: Path, book: Book) -> None:
    path = table(tmp_path, [f"k{n},t{n}" for n in range(600)])
    spec = msgspec.structs.replace(spec_of(path), batch=BatchSize(rows=50))
    half = Cut(rows=300, size=10**9)
    book.plan(spec, Selection(limit=450), cut=half, proof="count")
    book.plan(spec, cut=half, proof="count")  # goes on counting
    assert sorted(book.lines()) == list(range(600))
    assert [shard.rows for shard in book.shards] == [
        *(50, 49, 48, 47, 46, 50, 10),  # the sixth has the number of the first, the seventh what is left
        *(48, 47, 46, 9),
        *(49, 48, 47, 6),
    ]
    assert len({varied(5_000, number) for number in range(100)}) == 61
    assert [varied(rows, 1) for rows in (1, 9, 10, 19, 20, 5_000)] == [1, 9, 10, 19, 19, 4_999]
    assert all(rows * 0.9 <= varied(rows, number) <= rows for rows in (1, 7, 30, 900) for number in range(70))


def test_an_abandoned_planning_leaves_no_half_written_file(tmp_path: Path, book: Book) -> None:
    path = table(tmp_path, ["k0,a", "k1"])
    refusal(book, spec_of(path))
    assert list(book.blobs.list("jobs/")) == []
    assert book.blobs.sweep() == 0


# ------------------------------------------------------------------------------------------------ raw


def raw_spec(tmp_path: Path, lines: Sequence[str], **changes: Any) -> Spec:
    path = tmp_path / "raw.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return spec_of(path, raw=True, prompt=Prompt(), **changes)


def line_of(custom_id: str, body: str, url: str = "/v1/chat/completions") -> str:
    return f'{{"custom_id":"{custom_id}","method":"POST","url":"{url}","body":{body}}}'


def test_raw_lines_keep_their_bodies_to_the_byte(tmp_path: Path, book: Book) -> None:
    body = '{"model": "m-1",  "max_tokens": 5, "x": 1e400, "y": 123456789012345678901234567890, "z": "\\u00e9"}'
    summary = book.plan(raw_spec(tmp_path, [line_of("mine 1", body), body]))
    [shard] = book.shards
    with book.blobs.open(shard.blob) as file:
        assert file.read().decode() == "".join(
            f'{{"custom_id":"{custom_id(TAG, n, 0)}","method":"POST","url":"/v1/chat/completions","body":{body}}}\n'
            for n in range(2)
        )
    assert book.row_list() == [["mine 1", None, None], ["2", None, None]]
    assert (summary.max_output, shard.max_output, shard.model) == (10, 10, "m-1")


def test_raw_lines_are_split_by_model_and_endpoint(tmp_path: Path, book: Book) -> None:
    lines = [line_of(f"c{n}", f'{{"model":"m{n % 2}","max_tokens":1}}') for n in range(6)]
    lines[3] = line_of("c3", '{"model":"m1","input":["a","b",[1,2]]}', "/v1/embeddings")
    spec = raw_spec(tmp_path, lines)
    summary = book.plan(spec, cut=Cut(rows=100, size=10**6))
    assert [(s.model, s.endpoint, s.spans, s.max_output) for s in book.shards] == [
        ("m0", "/v1/chat/completions", ((0, 1), (2, 3), (4, 5)), 3),
        ("m1", "/v1/chat/completions", ((1, 2), (5, 6)), 2),
        ("m1", "/v1/embeddings", ((3, 4),), None),
    ]
    assert summary.max_output is None
    assert sorted(book.lines()) == list(range(6))


def test_inputs_of_embeddings_count_against_the_rows_of_a_batch(tmp_path: Path, book: Book) -> None:
    inputs = ['["a","b"]', "[1,2,3]", '"a"', '["a","b","c"]', "[[1],[2]]"]
    lines = [line_of(f"c{n}", f'{{"model":"m","input":{each}}}', "/v1/embeddings") for n, each in enumerate(inputs)]
    book.plan(raw_spec(tmp_path, lines, batch=BatchSize(rows=4)), cut=Cut(rows=100, size=10**6))
    assert [shard.rows for shard in book.shards] == [3, 1, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (line_of("a", '{"model":"m","max_tokens":1,"stream":true}'), "body.stream must not be true in a batch"),
        (line_of("a", '{"max_tokens":1}'), "body.model is missing"),
        (line_of("a", '{"model":7,"max_tokens":1}'), "body: Expected `str | null`, got `int` - at `$.model`"),
        (line_of("a", '{"model":"m"}'), "no limit on the output: set body.max_completion_tokens"),
        (line_of("a", '{"model":"m"}', "/v1/responses"), "no limit on the output: set body.max_output_tokens"),
        (line_of("a", '{"model":"m"}', "https://x.org/v1/a"), "url must be a path such as /v1/chat/completions"),
        (line_of("a", '{"model":"m","max_tokens":1}').replace("POST", "GET"), "method must be POST"),
        (line_of("a", "7"), "body: Expected `object`, got `int`"),
        ('{"custom_id":"a"}', "a batch line needs a body"),
        ('{"custom_id":7,"body":{}}', "no batch line: Expected `str | null`, got `int` - at `$.custom_id`"),
        ("[1]", "no batch line: Expected `object`, got `array`"),
        ('{"model":NaN}', "no valid JSON (JSON is malformed: invalid character (byte 9))"),
        ('{"model":"m"', "no valid JSON (Input data was truncated)"),
    ],
)
def test_raw_lines_are_linted(tmp_path: Path, book: Book, line: str, said: str) -> None:
    spec = raw_spec(tmp_path, ['{"model":"m","max_tokens":1}', line])
    assert refusal(book, spec).startswith(f"{tmp_path}/raw.jsonl, line 2: {said}")


def test_raw_lines_without_limit_may_be_allowed_and_ids_are_checked(tmp_path: Path, book: Book) -> None:
    assert book.plan(raw_spec(tmp_path, ['{"model":"m"}'], allow_unlimited=True)).max_output is None
    twice = raw_spec(tmp_path, [line_of("a", '{"model":"m","max_tokens":1}')] * 2)
    assert "line 2: the key (custom_id) is the same as in" in refusal(Book(book.blobs), twice)
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert "raw requests are lines of JSON" in refusal(book, spec_of(tmp_path / "a.csv", raw=True))


@pytest.mark.parametrize(
    ("dialect", "endpoint", "line", "frame", "limit"),
    [
        ("anthropic", Endpoint.MESSAGES, {"model": "c", "max_tokens": 5}, "params", 5),
        ("gemini", Endpoint.GENERATE, {"contents": [], "generationConfig": {"maxOutputTokens": 7}}, "request", 7),
        ("vertex", Endpoint.GENERATE, {"contents": [], "generation_config": {"max_output_tokens": 8}}, "request", 8),
    ],
)
def test_raw_lines_of_other_dialects(
    dialect: str, endpoint: Endpoint, line: dict[str, Any], frame: str, limit: int
) -> None:
    raw = RawRequests(RequestShape(dialect, endpoint, "m", {}, None, 0), False, TAG)
    plain, framed = parse_raw(orjson.dumps(line)), parse_raw(orjson.dumps({"key": "k", frame: line}))
    assert (plain["custom_id"], framed["custom_id"]) == (None, "k")
    assert plain["body"] == framed["body"]
    assert raw.render(plain).peek.limit == limit
    with pytest.raises(Unreadable, match=f"has its body in `{frame}`, not in `body`"):
        raw.render(parse_raw(orjson.dumps({"custom_id": "k", "body": line})))
    with pytest.raises(Unreadable, match=r"no limit on the output: set .*ax_?[oOt]"):
        raw.render(parse_raw(orjson.dumps({frame: {"model": "c"}})))


def test_a_raw_line_that_vertex_could_not_import_is_refused_alone_or_beside_others() -> None:
    raw = RawRequests(RequestShape("vertex", Endpoint.GENERATE, "m", {}, None, 0), True, TAG)
    raw.render(parse_raw(b'{"request":{"contents":[],"labels":{"a":"1"}}}'))
    with pytest.raises(Unreadable, match=r"labels\.a is a number here and text elsewhere"):
        raw.render(parse_raw(b'{"request":{"contents":[],"labels":{"a":1}}}'))
    with pytest.raises(Unreadable, match=r"tools\[\]\.googleSearch is an empty object"):
        raw.render(parse_raw(b'{"request":{"contents":[],"tools":[{"googleSearch":{}}]}}'))
    gemini = RawRequests(RequestShape("gemini", Endpoint.GENERATE, "m", {}, None, 0), True, TAG)
    gemini.render(parse_raw(b'{"request":{"contents":[],"tools":[{"googleSearch":{}}]}}'))
