"""Sources: what is read, what is refused and how it is said, and that segments never move."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overnight.data import records
from overnight.data.records import Cut, Record, SourceChanged
from overnight.data.sources import Source, open_source
from overnight.data.spool import spool_rows
from overnight.errors import UsageError
from overnight.types import Segment

SMALL = Cut(rows=3, size=200)


def opened(path: Path | str, blobs: Any, cut: Cut = records.DEFAULT_CUT) -> Source:
    return open_source(str(path), Path("/"), blobs, cut=cut)


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def consume(source: Source, after: Segment | None = None) -> tuple[list[Segment], list[Record]]:
    """All segments as they would be recorded, and all records."""
    segments, found, index = [], [], 0 if after is None else after.index + 1
    for run in source.segments(after):
        found += list(run)
        segments.append(
            Segment(
                index, run.first_ordinal, run.rows, run.file, run.offset, run.line, run.length, run.sha256, "", 0, 0
            )
        )
        index += 1
    return segments, found


def values(path: Path, blobs: Any) -> list[Any]:
    with opened(path, blobs) as source:
        return [record.values for record in consume(source)[1]]


def refusal(path: Path | str, blobs: Any) -> str:
    with pytest.raises(UsageError) as caught, opened(path, blobs) as source:
        consume(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- CSV


def test_csv_keeps_text_as_it_is(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.csv", '\ufeffid,text\n007,"a\nb, ""c"""\n\n1e5, x \n"é\u2028",\n')
    with opened(path, blobs) as source:
        assert source.columns == ("id", "text")
        _, found = consume(source)
    assert [(r.ordinal, r.line, r.values) for r in found] == [
        (0, 2, {"id": "007", "text": 'a\nb, "c"'}),
        (1, 5, {"id": "1e5", "text": " x "}),
        (2, 6, {"id": "é\u2028", "text": ""}),
    ]


def test_tsv_and_wanted_columns(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.tsv", "a\tb\tc\n1\t2,5\t3\n")
    with opened(path, blobs) as source:
        for wanted in ({"a", "c"}, {"b"}, set[str]()):
            [run] = source.segments(wanted=frozenset(wanted))
            [record] = run
            assert record.values == {k: v for k, v in {"a": "1", "b": "2,5", "c": "3"}.items() if k in wanted}


def test_bad_csv_records_are_named_and_the_next_ones_read(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.csv", b'a,b\n1\n2,"x"y\n3,\xff\n4,"two\n\xfe"\n5,ok\n')
    with opened(path, blobs) as source:
        _, found = consume(source)
    assert [r.problem and r.problem.removeprefix(str(path)) for r in found] == [
        ", line 2: 1 fields where the header has 2",
        ", line 3: cannot be read as CSV (',' expected after '\"')",
        ", line 4: not valid UTF-8",
        ", line 6: not valid UTF-8",
        None,
    ]
    assert found[4].values == {"a": "5", "b": "ok"}
    assert found[4].ordinal == 4


@pytest.mark.parametrize(
    "body",
    ['1,"never closed\n2,b\n', '1,"opened\n2,"closed here" and more\n3,c\n', '1,"'],
    ids=["end", "later", "last"],
)
def test_an_unclosed_quote_always_stops(tmp_path: Path, blobs: Any, body: str) -> None:
    path = write(tmp_path / "a.csv", "a,b\n0,x\n" + body)
    assert refusal(path, blobs).startswith(f"{path}, line 3: a quote opens in this record and is not properly closed")


def test_a_record_without_end_stops(tmp_path: Path, blobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sources_csv", "sources_jsonl"):
        monkeypatch.setattr(f"overnight.data.{module}.RECORD_BYTES", 1000)
    assert records.RECORD_BYTES == 64 << 20
    long_csv = write(tmp_path / "a.csv", "a\nx\n" + "y" * 3000 + "\n")
    open_quote = write(tmp_path / "b.csv", 'a\nx\n"' + "y\n" * 3000)
    long_jsonl = write(tmp_path / "c.jsonl", '{"a":1}\n{"a":"' + "y" * 3000 + '"}\n')
    assert f"{long_csv}, line 3: the record that starts here is over" in refusal(long_csv, blobs)
    assert f"{open_quote}, line 3: the record that starts here is over" in refusal(open_quote, blobs)
    assert f"{long_jsonl}, line 2: the record that starts here is over" in refusal(long_jsonl, blobs)


def test_large_fields_are_read(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.csv", "a\n" + "y" * 300_000 + "\n")
    assert values(path, blobs) == [{"a": "y" * 300_000}]


def test_csv_headers(tmp_path: Path, blobs: Any) -> None:
    assert "is empty" in refusal(write(tmp_path / "a.csv", ""), blobs)
    assert "blank line" in refusal(write(tmp_path / "b.csv", "\ufeff"), blobs)
    assert "blank line" in refusal(write(tmp_path / "c.csv", "\na,b\n"), blobs)
    assert "repeats 'a'" in refusal(write(tmp_path / "d.csv", "a,b,a\n"), blobs)
    assert "line 1: the header is not valid UTF-8" in refusal(write(tmp_path / "e.csv", b"a\xff,b\n"), blobs)
    assert "the header cannot be read" in refusal(write(tmp_path / "f.csv", '"a,b\n1,2\n'), blobs)
    assert values(write(tmp_path / "g.csv", "a,b\n"), blobs) == []


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_what_csv_writes_is_read_back_at_its_place(
    tmp_path: Path, blobs: Any, rows: list[tuple[str, str]], end: str
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    path = write(tmp_path / "a.csv", out.getvalue())
    with opened(path, blobs, SMALL) as source:
        segments, found = consume(source)
        assert [tuple((r.values or {}).values()) for r in found] == rows
        data, at = path.read_bytes(), 0
        for segment in segments:
            assert segment.rows <= 3
            again = list(source.read(segment))
            assert again == found[at : at + segment.rows]
            assert data[: segment.offset].count(b"\n") == segment.line - 1
            at += segment.rows


# -------------------------------------------------------------------------------------------- JSONL


def test_jsonl_nested_blank_lines_and_separators(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.jsonl", '\ufeff{"a":"x\u2028y","b":{"c":[1,null]}}\r\n\n  \n{"z":true,"a":-0.5}')
    with opened(path, blobs) as source:
        assert source.columns == ("a", "b", "z")
        _, found = consume(source)
    assert [(r.ordinal, r.line, r.values) for r in found] == [
        (0, 1, {"a": "x\u2028y", "b": {"c": [1, None]}}),
        (1, 4, {"z": True, "a": -0.5}),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a":NaN}', "no valid JSON (unexpected character, expected a JSON value, column 6)"),
        (b'{"a":"\\ud800"}', "no valid JSON (no low surrogate in string, column 7)"),
        (b'{"a":"\xff"}', "not valid UTF-8"),
        (b'{"a":18446744073709551616}', "an integer over 64 bits: write it as a string"),
        (b'{"a":{"b":[-9223372036854775809]}}', "an integer over 64 bits: write it as a string"),
        (b'{"a":1' + b"0" * 50 + b"}", "an integer over 64 bits: write it as a string"),
        (b"[1]", "a JSON object is needed on every line"),
        (b'{"a":', "no valid JSON (unexpected end of data, column 7)"),
    ],
)
def test_bad_jsonl_records_are_named(tmp_path: Path, blobs: Any, line: bytes, problem: str) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a":1}\n' + line + b'\n{"a":2}\n')
    with opened(path, blobs) as source:
        _, found = consume(source)
    assert [r.problem for r in found] == [None, f"{path}, line 2: {problem}", None]
    assert found[2].values == {"a": 2}


def test_numbers_that_fit_are_kept(tmp_path: Path, blobs: Any) -> None:
    numbers = {"a": 18446744073709551615, "b": -9223372036854775808, "c": 1e300, "d": [1.5, 2e19]}
    assert values(write(tmp_path / "a.jsonl", json.dumps(numbers)), blobs) == [numbers]


# ------------------------------------------------------------------------------- files and segments


def test_paths_that_are_refused(tmp_path: Path, blobs: Any) -> None:
    write(tmp_path / "a.xlsx", "x")
    write(tmp_path / "a.csv.gz", b"no gzip")
    assert refusal(tmp_path / "no.csv", blobs) == f"{tmp_path}/no.csv: no such file"
    assert "no file matches" in refusal(tmp_path / "*.csv", blobs)
    assert "is a directory" in refusal(tmp_path, blobs)
    assert "told by the suffix, which must be .csv" in refusal(tmp_path / "a.xlsx", blobs)
    assert "gzip data is damaged or cut off" in refusal(tmp_path / "a.csv.gz", blobs)
    assert "is empty" in refusal(write(tmp_path / "a.jsonl", ""), blobs)
    assert "cannot be read as Parquet" in refusal(write(tmp_path / "a.parquet", "x"), blobs)
    with pytest.raises(UsageError, match="no source is given"):
        open_source((), tmp_path, blobs)


def test_several_files_are_one_sorted_source(tmp_path: Path, blobs: Any) -> None:
    write(tmp_path / "b.csv", "t,n\nlast,5\n")
    write(tmp_path / "a.csv", "t,n\n" + "".join(f"x,{n}\n" for n in range(5)))
    write(tmp_path / ".hidden.csv", "no,table\n")
    with open_source("*.csv", tmp_path, blobs, cut=SMALL) as source:
        segments, found = consume(source)
        assert source.locator == f"{tmp_path}/a.csv\n{tmp_path}/b.csv"
        assert [int((r.values or {})["n"]) for r in found] == list(range(6)) == [r.ordinal for r in found]
        assert [(s.first_ordinal, s.rows, Path(s.file).name) for s in segments] == [
            (0, 3, "a.csv"),
            (3, 2, "a.csv"),
            (5, 1, "b.csv"),
        ]
        assert source.place(segments[2].file, 2) == f"{tmp_path}/b.csv, line 2"
    write(tmp_path / "c.csv", "t,m\n")
    with pytest.raises(UsageError, match=r"c\.csv and .*a\.csv differ in their columns \('m', 'n'\)"):
        open_source("*.csv", tmp_path, blobs)
    write(tmp_path / "d.jsonl", '{"t":1}\n')
    with pytest.raises(UsageError, match="different formats"):
        open_source(("a.csv", "d.jsonl"), tmp_path, blobs)


def test_the_locator_is_the_real_path_from_any_directory(tmp_path: Path, blobs: Any) -> None:
    write(tmp_path / "a.csv", "a\n1\n")
    (tmp_path / "link.csv").symlink_to("a.csv")
    with (
        open_source("link.csv", tmp_path, blobs) as one,
        open_source(str(tmp_path / "a.csv"), Path("/"), blobs) as two,
    ):
        assert one.locator == two.locator == str(tmp_path / "a.csv")


def files_of_each_format(tmp_path: Path) -> list[Path]:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"k": str(n), "t": "word " * (n % 4)} for n in range(10)]
    lines = "".join(json.dumps(row) + "\n" for row in rows) + "\n\n"
    table = "k,t\n" + "".join(f'{row["k"]},"{row["t"]}"\n' for row in rows) + "\n"
    made = [write(tmp_path / "a.jsonl", lines), write(tmp_path / "a.csv", table)]
    made += [write(tmp_path / f"{path.name}.gz", gzip.compress(path.read_bytes())) for path in list(made)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=4)
    return [*made, tmp_path / "a.parquet"]


def test_segments_read_again_verify_and_go_on(tmp_path: Path, blobs: Any) -> None:
    for path in files_of_each_format(tmp_path):
        with opened(path, blobs, SMALL) as source:
            segments, found = consume(source)
            assert [(r.values or {})["k"] for r in found] == [str(n) for n in range(10)], path
            assert [s.rows for s in segments] == [3, 3, 3, 1]
            for known in segments:
                source.verify(known)
                later, rest = consume(source, known)
                assert later == segments[known.index + 1 :], path
                assert rest == found[known.first_ordinal + known.rows :]
        for segment in (segments[2], segments[0], segments[3]):
            with opened(path, blobs) as source:
                again = list(source.read(segment))
                assert again == found[segment.first_ordinal : segment.first_ordinal + segment.rows], path
        assert 1 <= source.rows <= 20


def test_lines_are_counted_on_behind_records_of_several_lines(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.csv", "a\n" + '"x\ny"\n' * 5)
    with opened(path, blobs, SMALL) as source:
        segments, found = consume(source)
        assert [record.line for record in found] == [2, 4, 6, 8, 10]
        assert consume(source, segments[0]) == (segments[1:], found[3:])


def test_a_changed_source_is_told_with_its_rows(tmp_path: Path, blobs: Any) -> None:
    path = write(tmp_path / "a.csv", "a,b\n" + "".join(f"{n},x\n" for n in range(7)))
    with opened(path, blobs, SMALL) as source:
        segments, _ = consume(source)
    before = path.read_text()
    for changed in (
        before.replace("4,x", "4,y"),
        before.replace("a,b", "b,a"),
        before[:20],
        before.replace("4,x", '4,"'),
    ):
        write(path, changed)
        with opened(path, blobs, SMALL) as source:
            with pytest.raises(SourceChanged, match=r"a\.csv changed .*in rows 4 to 6.*--new"):
                source.verify(segments[1])
            with pytest.raises(SourceChanged):
                list(source.read(segments[1]))
    write(path, before + "new,row\n")
    with opened(path, blobs, SMALL) as source:
        for segment in segments:
            source.verify(segment)
        with pytest.raises(SourceChanged, match=r"has grown .*line 9 is new"):
            consume(source, segments[-1])


def test_a_changed_parquet_is_told(tmp_path: Path, blobs: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": list(range(10))}), path)
    with opened(path, blobs, SMALL) as source:
        segments, _ = consume(source)
    parquet.write_table(pa.table({"a": [*range(9), 99]}), path)
    with opened(path, blobs, SMALL) as source, pytest.raises(SourceChanged):
        source.verify(segments[0])
    parquet.write_table(pa.table({"b": list(range(10))}), path)
    with opened(path, blobs, SMALL) as source, pytest.raises(SourceChanged):
        list(source.read(segments[0]))


def test_parquet_values(tmp_path: Path, blobs: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    odd = pa.array([1, None, 1_000], pa.timestamp("ns"))
    parquet.write_table(pa.table({"code": ["007", None, "é"], "l": [[1], None, [2, 3]], "when": odd}), path)
    with opened(path, blobs) as source:
        [run] = source.segments()
        found = list(run)
        assert source.rows == 3
        [run] = source.segments(wanted=frozenset({"l"}))
        assert [r.values for r in run] == [{"l": [1]}, {"l": None}, {"l": [2, 3]}]
    assert found[0].problem == f"{path}, row 1: the value of 'when' cannot be read"
    assert found[1].values == {"code": None, "l": None, "when": None}
    assert (found[2].values or {})["code"] == "é"


# -------------------------------------------------------------------------------------------- spool


def test_rows_from_python_are_spooled_under_their_content(tmp_path: Path, blobs: Any) -> None:
    import pyarrow as pa

    rows = [{"a": "007", "when": dt.date(2026, 1, 2)}, {"a": None, "when": None}]
    locator = spool_rows(iter(rows), blobs)
    assert spool_rows(rows, blobs) == locator == spool_rows(pa.Table.from_pylist(rows), blobs)
    assert locator.startswith("spool:")
    assert [name.endswith(".jsonl") for name in blobs.list("spool/")] == [True]
    with open_source(locator, tmp_path, blobs) as source:
        assert source.locator == locator
        segments, found = consume(source)
        assert [r.values for r in found] == [{"a": "007", "when": "2026-01-02"}, {"a": None, "when": None}]
        assert list(source.read(segments[0])) == found
    with pytest.raises(UsageError, match="no longer kept"):
        open_source("spool:abc", tmp_path, blobs)


def test_python_values_are_never_silently_changed(tmp_path: Path, blobs: Any) -> None:
    odd: list[dict[str, Any]] = [{"a": float("nan")}, {"a": 2**70}, {"a": "\ud800"}, {"a": 1}]
    with open_source(spool_rows(odd, blobs), tmp_path, blobs) as source:
        _, found = consume(source)
    assert [r.problem is None for r in found] == [False, False, False, True]
    with pytest.raises(UsageError, match=r"row 2, column 'b' \(bytes\): the value has no JSON form"):
        spool_rows([{"a": 1}, {"a": 1, "b": b"x"}], blobs)
    with pytest.raises(UsageError, match="row 1 is no mapping"):
        spool_rows([("a", 1)], blobs)
    assert list(blobs.list("spool/")) == [
        open_source(spool_rows(odd, blobs), tmp_path, blobs).locator.replace("spool:", "spool/") + ".jsonl"
    ]
