"""What a batch brings home: outcomes, money, attempts, and the ledger that holds them."""

from __future__ import annotations

import json
from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.blobs.files import FileBlobs
from overnight.core.cost import Rates
from overnight.data.entries import Entries
from overnight.data.ledger import entries_of, read_ledger
from overnight.errors import InvariantError, LocalError
from overnight.ports import Blobs
from overnight.spec import Answer, Policy
from overnight.types import BatchState, Counts, Entry, Failure, FailureKind, Outcome, Tokens, Totals
from tests.data.result_lines import (
    EMBEDDINGS,
    batch,
    bring_home,
    chat,
    embedding,
    line,
    never_ran,
    refused,
    segment,
    spec,
)

RATES = Rates(1_000, 100, 10_000)
WHOLE = segment(0, 0, 10)


def entries(home: object, blobs: Blobs) -> dict[int, Entry]:
    return {entry.ordinal: entry for entry in entries_of(home, blobs)}  # type: ignore[arg-type]


def test_every_row_ends_with_one_entry(blobs: FileBlobs) -> None:
    home = bring_home(
        batch(1, [(0, 6)]),
        blobs,
        [WHOLE],
        [chat(3), chat(0), b"\n", b"  \r\n", chat(1, finish="length")],
        [refused(2, 400), never_ran(4, "batch_expired")],
        rates=RATES,
    )
    found = entries(home, blobs)
    assert {ordinal: (entry.outcome, entry.kind) for ordinal, entry in found.items()} == {
        0: (Outcome.SUCCEEDED, None),
        1: (Outcome.ERRORED, FailureKind.TRUNCATED),
        2: (Outcome.ERRORED, FailureKind.PERMANENT),
        3: (Outcome.SUCCEEDED, None),
        4: (Outcome.EXPIRED, FailureKind.EXPIRED),
        5: (Outcome.ERRORED, FailureKind.MISSING),
    }
    assert list(found) == sorted(found)
    assert home.totals == Totals(
        rows=6,
        counts=Counts(total=6, succeeded=2, errored=3, expired=1),
        kinds={"truncated": 1, "permanent": 1, "expired": 1, "missing": 1},
        retryable={"expired": 1, "missing": 1},
        tokens=Tokens(300, 0, 30, 0),
        cost=3 * 200_000,
        unknown_rows=1,
    )
    assert (found[2].cost, found[2].paid, found[2].burned) == (0, 0, 1)
    assert (found[5].cost, found[5].tokens, found[5].paid) == (None, None, 1)


def test_entries_lead_to_the_raw_answers(blobs: FileBlobs) -> None:
    lines = [chat(2), b"\n", chat(0, "ü\u2028x"), chat(1)]
    home = bring_home(batch(1, [(0, 3)]), blobs, [WHOLE], lines)
    for entry in entries_of(home, blobs):
        raw = blobs.reader(home.answers[entry.file]).read_at(entry.offset, entry.length)
        assert int(json.loads(raw)["custom_id"].split("-")[1]) == entry.ordinal


def test_what_is_not_ours_is_counted_and_never_fatal(blobs: FileBlobs) -> None:
    strange = [
        chat(0),
        chat(1, tag="zzzz0000"),
        chat(1, generation=1),
        chat(7),
        line(1, None).replace(b"abcd0123-000000001-00", b"request-1"),
        b"\xff\xfe garbage\n",
        b'{"no":"id"}\n',
        b"[1]\n",
        chat(1)[:50],
    ]
    home = bring_home(batch(1, [(0, 2)]), blobs, [WHOLE], strange)
    assert home.totals is not None
    assert (home.totals.foreign, home.totals.malformed, home.totals.repeated) == (4, 4, 0)
    assert home.totals.counts == Counts(total=2, succeeded=1, errored=1)
    assert home.totals.kinds == {"missing": 1}


def test_a_last_line_without_newline_counts(blobs: FileBlobs) -> None:
    home = bring_home(batch(1, [(0, 1)]), blobs, [WHOLE], [chat(0).rstrip(b"\n")])
    assert home.totals is not None
    assert home.totals.counts.succeeded == 1


@pytest.mark.parametrize(
    ("end", "outcome", "kind"),
    [
        (Outcome.SUCCEEDED, Outcome.ERRORED, FailureKind.MISSING),
        (Outcome.EXPIRED, Outcome.EXPIRED, FailureKind.EXPIRED),
        (Outcome.CANCELED, Outcome.CANCELED, FailureKind.CANCELED),
    ],
)
def test_a_row_in_no_file_ended_as_its_batch(
    blobs: FileBlobs, end: Outcome, outcome: Outcome, kind: FailureKind
) -> None:
    home = bring_home(batch(1, [(0, 2)], end=end), blobs, [WHOLE], [chat(0)], rates=RATES)
    lost = entries(home, blobs)[1]
    assert (lost.outcome, lost.kind, lost.file, lost.cost) == (outcome, kind, -1, None)
    assert home.totals is not None
    assert (home.totals.unknown_rows, home.totals.cost) == (1, 200_000)


def test_rows_the_provider_says_never_ran_cost_nothing(blobs: FileBlobs) -> None:
    home = bring_home(
        batch(1, [(0, 2)], end=Outcome.CANCELED), blobs, [WHOLE], [], [never_ran(0, "batch_cancelled"), refused(1, 500)]
    )
    assert home.totals is not None
    assert (home.totals.cost, home.totals.unknown_rows, home.totals.tokens) == (0, 0, Tokens())


def test_an_answer_that_breaks_the_jobs_rules_is_invalid(blobs: FileBlobs) -> None:
    home = bring_home(
        batch(1, [(0, 2)]),
        blobs,
        [WHOLE],
        [chat(0, "yes"), chat(1, "no")],
        check=lambda reply: None if reply.text == "yes" else "not yes",
    )
    wrong = entries(home, blobs)[1]
    assert (wrong.outcome, wrong.kind, wrong.message, wrong.paid) == (
        Outcome.ERRORED,
        FailureKind.INVALID,
        "not yes",
        1,
    )
    assert wrong.length > 0


def test_labels_are_counted(blobs: FileBlobs) -> None:
    labels = spec(answer=Answer(labels=("a", "b")))
    lines = [chat(0, '{"label":"a"}'), chat(1, '{ "label" : "a" }'), chat(2, "b"), chat(3, finish="length")]
    home = bring_home(batch(1, [(0, 4)]), blobs, [WHOLE], lines, of=labels)
    assert home.totals is not None
    assert home.totals.labels == {"a": 2, "b": 1}


def test_vectors_of_another_length_than_most_are_invalid(blobs: FileBlobs) -> None:
    lines = [embedding(0, [1.0]), embedding(1, [1.0, 2.0]), embedding(2, [3.0, 4.0])]
    home = bring_home(batch(1, [(0, 3)], endpoint=EMBEDDINGS), blobs, [WHOLE], lines)
    assert [entry.kind for entry in entries_of(home, blobs)] == [FailureKind.INVALID, None, None]
    assert home.totals is not None
    assert home.totals.counts == Counts(total=3, succeeded=2, errored=1)


# --------------------------------------------------------------------------------------------- repeated answers


def test_the_first_success_of_a_row_wins(blobs: FileBlobs) -> None:
    home = bring_home(
        batch(1, [(0, 2)]),
        blobs,
        [WHOLE],
        [chat(0, "first"), chat(0, "second", request="other"), refused(1, 500), chat(1, "later")],
        rates=RATES,
    )
    assert home.totals is not None
    assert (home.totals.repeated, home.totals.counts.succeeded) == (2, 2)
    first, later = entries_of(home, blobs)
    assert b"first" in blobs.reader(home.answers[0]).read_at(first.offset, first.length)
    assert b"later" in blobs.reader(home.answers[0]).read_at(later.offset, later.length)
    # The first row ran twice and is paid twice; the failure of the second never ran.
    assert (first.cost, first.tokens, first.paid) == (400_000, Tokens(200, 0, 20, 0), 2)
    assert (later.cost, later.paid) == (200_000, 1)
    assert (home.totals.cost, home.totals.tokens) == (600_000, Tokens(300, 0, 30, 0))


def test_one_execution_told_twice_is_paid_once(blobs: FileBlobs) -> None:
    home = bring_home(batch(1, [(0, 1)]), blobs, [WHOLE], [chat(0), chat(0)], [chat(0)], rates=RATES)
    assert home.totals is not None
    assert (home.totals.repeated, home.totals.cost) == (2, 200_000)
    assert entries(home, blobs)[0].paid == 1


def test_the_batchs_usage_decides_about_repeated_answers(blobs: FileBlobs) -> None:
    twice = [chat(0), chat(0, request="other")]
    once = bring_home(batch(1, [(0, 1)], usage=Tokens(100, 0, 10, 0)), blobs, [WHOLE], twice, rates=RATES)
    both = bring_home(batch(2, [(0, 1)], usage=Tokens(200, 0, 20, 0)), blobs, [WHOLE], twice, rates=RATES)
    for home, cost in ((once, 200_000), (both, 400_000)):
        assert home.totals is not None
        assert (home.totals.cost, entries(home, blobs)[0].cost) == (cost, cost)


# ------------------------------------------------------------------------------------------------------- money


def test_the_batchs_usage_settles_what_rows_do_not_tell(blobs: FileBlobs) -> None:
    usage = Tokens(350, 50, 40, 5)
    home = bring_home(batch(1, [(0, 3)], usage=usage), blobs, [WHOLE], [chat(0), chat(1, used=None)], rates=RATES)
    assert home.totals is not None
    rest = 200 * 1_000 + 50 * 100 + 30 * 10_000
    assert (home.totals.tokens, home.totals.cost, home.totals.unknown_rows) == (usage, 200_000 + rest, 0)
    assert [entry.cost for entry in entries_of(home, blobs)] == [200_000, None, None]


@pytest.mark.parametrize("usage", [None, Tokens(), Tokens(50, 0, 50, 0), Tokens(500, 0, 5, 0)])
def test_usage_that_is_zero_or_less_than_the_rows_settles_nothing(blobs: FileBlobs, usage: Tokens | None) -> None:
    home = bring_home(batch(1, [(0, 2)], usage=usage), blobs, [WHOLE], [chat(0)], rates=RATES)
    assert home.totals is not None
    assert (home.totals.tokens, home.totals.cost, home.totals.unknown_rows) == (Tokens(100, 0, 10, 0), 200_000, 1)


def test_a_usage_of_zero_does_not_make_lost_rows_free(blobs: FileBlobs) -> None:
    home = bring_home(batch(1, [(0, 2)], usage=Tokens(), end=Outcome.CANCELED), blobs, [WHOLE], rates=RATES)
    assert home.totals is not None
    assert (home.totals.cost, home.totals.unknown_rows) == (0, 2)


def test_without_a_price_what_ran_is_unknown_and_not_zero(blobs: FileBlobs) -> None:
    ran = bring_home(batch(1, [(0, 2)]), blobs, [WHOLE], [chat(0), refused(1, 400)])
    silent = bring_home(batch(2, [(0, 1)]), blobs, [WHOLE], [chat(0, used=None)])
    never = bring_home(batch(3, [(0, 1)]), blobs, [WHOLE], [refused(0, 400)])
    assert [home.totals and home.totals.cost for home in (ran, silent, never)] == [None, None, 0]
    assert [entry.cost for entry in entries_of(ran, blobs)] == [None, 0]


# ---------------------------------------------------------------------------------------------------- attempts


def test_attempts_add_up_over_follow_ups_and_end(blobs: FileBlobs) -> None:
    with blobs.create("tries") as writer:
        writer.write(b"[1,1,0]\n[4,2,2]\n[8,2,2]\n")
        writer.commit()
    follow_up = batch(2, [(1, 2), (4, 5), (8, 9)], generation=1, rank=1, tries="tries")
    home = bring_home(
        follow_up,
        blobs,
        [WHOLE],
        [chat(4, finish="stop", text="", generation=1)],
        [refused(1, 503, generation=1), refused(8, 429, generation=1)],
        policy=Policy(retries=2, max_paid=3),
    )
    found = entries(home, blobs)
    assert {ordinal: (entry.burned, entry.paid) for ordinal, entry in found.items()} == {
        1: (2, 0),
        4: (3, 3),
        8: (3, 2),
    }
    assert home.totals is not None
    assert home.totals.kinds == {"transient": 2, "empty": 1}
    assert home.totals.retryable == {"transient": 1}


def test_account_trouble_burns_no_attempt(blobs: FileBlobs) -> None:
    home = bring_home(batch(1, [(0, 1)]), blobs, [WHOLE], [refused(0, 401)])
    assert [(entry.kind, entry.burned) for entry in entries_of(home, blobs)] == [(FailureKind.ACCOUNT, 0)]
    assert home.totals is not None
    assert home.totals.retryable == {"account": 1}


# ----------------------------------------------------------------------------------------------------- ledgers


def test_a_ledger_is_entered_by_segment(blobs: FileBlobs) -> None:
    segments = [segment(0, 0, 4), segment(1, 4, 4), segment(2, 8, 4), segment(3, 12, 4)]
    spans = [(1, 2), (3, 5), (7, 9), (11, 12)]
    home = bring_home(batch(1, spans, generation=2), blobs, segments, [chat(8, generation=2)])
    assert [[row.ordinal for row in entries_of(home, blobs, one)] for one in segments] == [[1, 3], [4, 7], [8, 11], []]
    assert [row.ordinal for row in entries_of(home, blobs)] == [1, 3, 4, 7, 8, 11]
    assert [e.ordinal for e in entries_of(home, blobs).failed()] == [1, 3, 4, 7, 11]
    assert home.ledger_blob is not None
    header = json.loads((blobs.root / home.ledger_blob).read_bytes().split(b"\n")[0])
    assert (header["v"], header["rows"], header["messages"]) == (2, 6, ["in no file of the answer"])
    assert header["reports"] == [["stop", "gpt-5.4-mini-2026-03-05"]]
    assert {number: place[:2] for number, place in header["segments"].items()} == {
        "0": [0, 2],
        "1": [2, 2],
        "2": [4, 2],
    }


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 99), min_size=1), st.integers(1, 40))
def test_the_segments_of_a_ledger_are_all_of_it(
    tmp_path_factory: pytest.TempPathFactory, rows: set[int], cut: int
) -> None:
    blobs = FileBlobs(tmp_path_factory.mktemp("blobs"))
    segments = [segment(number, start, cut) for number, start in enumerate(range(0, 100, cut))]
    home = bring_home(batch(1, [(row, row + 1) for row in sorted(rows)]), blobs, segments, [])
    apart = [row for one in segments for row in entries_of(home, blobs, one)]
    assert [row.ordinal for row in apart] == sorted(rows)
    assert apart == list(entries_of(home, blobs))


COUNTS = st.integers(0, 10**7)
ENTRIES = st.builds(
    Entry,
    st.integers(0, 10**12),
    st.sampled_from(Outcome),
    st.none() | st.sampled_from(FailureKind),
    st.integers(-1, 3),
    st.integers(0, 10**12),
    st.integers(0, 2**31 - 1),
    st.none() | st.builds(Tokens, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    st.none() | st.integers(0, 10**18),
    st.integers(0, 99),
    st.integers(0, 99),
    st.none() | st.text(max_size=9),
)


@given(st.lists(ENTRIES, max_size=9), st.lists(ENTRIES, max_size=9))
def test_packed_entries_are_what_they_were(first: list[Entry], second: list[Entry]) -> None:
    one, other = (Entries.blank(len(rows)) for rows in (first, second))
    for rows, packed in ((first, one), (second, other)):
        for at, entry in enumerate(rows):
            packed[at] = entry
        assert list(packed) == rows
    both = Entries.blank(len(one) + len(other) + 1)
    for packed, at in ((one, 0), (other, len(one))):
        packed.speak_as(both)
        both.take(at, packed, 0, len(packed))
    assert (list(both), both[len(both) - 1]) == ([*first, *second], None)


def test_a_damaged_ledger_is_named(blobs: FileBlobs) -> None:
    home = bring_home(batch(1, [(0, 3)]), blobs, [WHOLE], [])
    assert home.ledger_blob is not None
    path = blobs.root / home.ledger_blob
    whole = path.read_bytes()
    for damaged in (
        whole[:-30],
        b"".join(whole.splitlines(keepends=True)[:-1]),
        b"",
        whole[:-1] + bytes([whole[-1] ^ 1]),
        whole.replace(b'"v":2', b'"v":9'),
    ):
        path.write_bytes(damaged)
        with pytest.raises(LocalError, match=r"b1\.ledger is"):
            read_ledger(home.ledger_blob, blobs)


def test_a_ledger_means_the_same_when_further_words_are_known(blobs: FileBlobs) -> None:
    home = bring_home(batch(1, [(0, 3)]), blobs, [WHOLE], [chat(0), chat(1, finish="length")])
    assert home.ledger_blob is not None
    path = blobs.root / home.ledger_blob
    before = list(entries_of(home, blobs))
    line, records = path.read_bytes().split(b"\n", 1)
    header = json.loads(line)
    for words in ("outcomes", "kinds"):
        header[words].reverse()
    entries = read_ledger(home.ledger_blob, blobs)
    for column, words in ((entries.outcome, "outcomes"), (entries.kind, "kinds")):
        for at, number in enumerate(column):
            column[at] = number and len(header[words]) + 1 - number
    header["segments"]["0"][2] = crc32(entries.data)
    path.write_bytes(json.dumps(header).encode() + b"\n" + entries.data)
    assert len(records) == len(entries.data)
    assert list(entries_of(home, blobs)) == before


def test_a_row_outside_every_segment_is_a_bug(blobs: FileBlobs) -> None:
    with pytest.raises(InvariantError):
        bring_home(batch(1, [(8, 12)]), blobs, [WHOLE], [])


def test_batches_without_a_ledger_have_entries_all_the_same(blobs: FileBlobs) -> None:
    totals = Totals(2, Counts(total=2), {}, {}, Tokens(), None)
    failure = Failure(FailureKind.PERMANENT, "line 3 is no JSON")
    refused_whole = replace(batch(1, [(2, 4)]), state=BatchState.FAILED, failure=failure, totals=totals)
    assert list(entries_of(refused_whole, blobs)) == [
        Entry(ordinal, Outcome.ERRORED, FailureKind.PERMANENT, -1, 0, 0, Tokens(), 0, 1, 0, "line 3 is no JSON")  # type: ignore[arg-type]
        for ordinal in (2, 3)
    ]
    unsent = replace(batch(1, [(2, 4)]), state=BatchState.CANCELED, totals=totals)
    assert [(e.outcome, e.kind, e.burned) for e in entries_of(unsent, blobs, segment(0, 0, 3))] == [
        (Outcome.CANCELED, FailureKind.CANCELED, 0)
    ]
    put_back = replace(refused_whole, totals=None)
    assert list(entries_of(put_back, blobs)) == []
