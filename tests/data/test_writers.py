"""Tables on disk: what each format holds, spreadsheets kept from running text, and nothing half-written."""

from __future__ import annotations

import csv
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.data.columns import Column, Content
from overnight.data.writers import TableWriter, neutral
from overnight.errors import LocalError, UsageError

COLUMNS = (
    Column("own", Content.OWN),
    Column("text", Content.TEXT),
    Column("integer", Content.INTEGER),
    Column("number", Content.NUMBER),
    Column("boolean", Content.BOOLEAN),
    Column("vector", Content.VECTOR),
    Column("json", Content.JSON),
    Column("raw", Content.RAW),
    Column("cost", Content.DOLLARS),
)
FULL = ("=1+1", "=1+1", 3, 1.5, True, (0.5, -2.0), {"a": [10**25]}, b'{"b":1}', 0.00000125)
BARE = (7, None, None, None, None, None, None, None, None)


def columns_of(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def write(path: Path, rows: list[tuple[Any, ...]], columns: tuple[Column, ...] = COLUMNS) -> None:
    with TableWriter(path, columns) as table:
        table.write(columns_of(rows[:1]))
        table.write(columns_of(rows[1:]))
        table.commit()


def listed(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_jsonl_holds_json(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", [FULL, BARE])
    first, second = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    assert first == {
        "own": "=1+1",
        "text": "=1+1",
        "integer": 3,
        "number": 1.5,
        "boolean": True,
        "vector": [0.5, -2.0],
        "json": {"a": [10**25]},
        "raw": {"b": 1},
        "cost": 0.00000125,
    }
    assert second == {"own": 7} | dict.fromkeys([column.name for column in COLUMNS[1:]])


def test_csv_holds_text(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", [FULL, BARE])
    with (tmp_path / "t.csv").open(newline="") as file:
        header, first, second = csv.reader(file)
    assert header == [column.name for column in COLUMNS]
    assert first == [
        "=1+1",
        "'=1+1",
        "3",
        "1.5",
        "true",
        "[0.5,-2.0]",
        '{"a":[10000000000000000000000000]}',
        '{"b":1}',
        "0.00000125",
    ]
    assert second == ["7"] + [""] * 8


def test_parquet_holds_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "t.parquet", [FULL, BARE])
    table = parquet.read_table(tmp_path / "t.parquet")
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds == {
        "own": "string",
        "text": "string",
        "integer": "int64",
        "number": "double",
        "boolean": "bool",
        "vector": "list<element: float>",
        "json": "string",
        "raw": "string",
        "cost": "double",
    }
    first, second = table.to_pylist()
    assert (first["own"], first["text"], first["vector"], first["cost"]) == ("=1+1", "=1+1", [0.5, -2.0], 0.00000125)
    assert (json.loads(first["json"]), first["raw"]) == ({"a": [10**25]}, '{"b":1}')
    assert second == {"own": "7"} | dict.fromkeys([column.name for column in COLUMNS[1:]])


def test_parquet_names_a_number_that_it_cannot_hold(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(UsageError, match=r"'n' .*\.jsonl or \.csv"):
        write(tmp_path / "t.parquet", [(2**63,)], (Column("n", Content.INTEGER),))
    assert listed(tmp_path) == []
    write(tmp_path / "t.parquet", [(2.0,)], (Column("n", Content.INTEGER),))


def test_parquet_without_its_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'overnight\[parquet\]'"):
        write(tmp_path / "t.parquet", [FULL])
    assert listed(tmp_path) == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_gzip_holds_the_same(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"t.{suffix}", [FULL, BARE])
    write(tmp_path / f"t.{suffix}.gz", [FULL, BARE])
    assert gzip.decompress((tmp_path / f"t.{suffix}.gz").read_bytes()) == (tmp_path / f"t.{suffix}").read_bytes()


names = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5, unique=True)


@settings(max_examples=40, deadline=None)
@given(names, st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20))
def test_every_name_and_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], texts: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("out")
    columns = tuple(Column(name, Content.OWN) for name in names)
    rows = [tuple(text for _ in names) for text in texts]
    for suffix in ("jsonl", "csv"):
        with TableWriter(directory / f"t.{suffix}", columns) as table:
            table.write(columns_of(rows))
            table.commit()
    lines = (directory / "t.jsonl").read_bytes().split(b"\n")[:-1]
    assert [json.loads(line) for line in lines] == [dict(zip(names, row, strict=True)) for row in rows]
    with (directory / "t.csv").open(newline="", encoding="utf-8") as file:
        header, *found = csv.reader(file)
    assert header == names
    assert [cells or [""] for cells in found] == [list(row) for row in rows]


# ----------------------------------------------------------------------------------------------- spreadsheets


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "@SUM(A1)",
        "-1+2",
        "-cmd",
        "\t=1",
        "\r1",
        "\n=1",
        " =1",
        '"=1',
        "' +1",
        "\u00a0=1",
        "\uff1d1",
        "-",
        "- 1",
    ],
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert neutral(text) == "'" + text


@pytest.mark.parametrize(
    "text", ["", "text", "-5", "-0.25", "-.5", "-1e-7", '"quoted"', "  indented", "a=1", "1-1", "'s"]
)
def test_other_text_stays(text: str) -> None:
    assert neutral(text) == text


@given(st.text())
def test_nothing_that_runs_is_left(text: str) -> None:
    shown = neutral(text).lstrip(' \u00a0"')
    assert neutral(text) in (text, "'" + text)
    if shown[:1] in {"=", "+", "@"}:
        pytest.fail(f"{shown!r} runs")


# ------------------------------------------------------------------------------------------- all or nothing


def test_leaving_without_commit_leaves_what_was(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("older")
    with TableWriter(path, COLUMNS) as table:
        table.write(columns_of([FULL]))
    assert (path.read_text(), listed(tmp_path)) == ("older", ["t.csv"])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "csv.gz"])
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    class Stop(Exception):
        pass

    def stopped() -> None:
        with TableWriter(tmp_path / f"t.{suffix}", COLUMNS) as table:
            table.write(columns_of([FULL]))
            raise Stop

    with pytest.raises(Stop):
        stopped()
    assert listed(tmp_path) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write(tmp_path / "link.csv", [BARE])
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("own,")


def test_bad_places_are_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "directory.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name, told in {
        "directory.csv": "is a directory",
        "pipe.csv": "no ordinary file",
        "missing/t.csv": "make its directory first",
        "pipe.csv/t.csv": "Not a directory",
    }.items():
        with pytest.raises(LocalError, match=told) as caught:
            TableWriter(tmp_path / name, COLUMNS)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.json", "t.gz", "t.parquet.gz"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.csv, .*\.parquet"):
        TableWriter(tmp_path / name, COLUMNS)
    assert listed(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that holds 64 KB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode == 0:
        yield place
        subprocess.run(["umount", "-l", place], check=True)
        return
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield place
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, heard)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "jsonl.gz"])
@pytest.mark.parametrize("rows", [200, 20_000])
def test_a_full_disk_is_told_and_leaves_what_was(small_disk: Path, suffix: str, rows: int) -> None:
    path = small_disk / f"t.{suffix}"
    path.write_text("older")
    column = (Column("text", Content.OWN),)
    noise = [(os.urandom(500).hex(),) for _ in range(min(rows, 1_000))]
    with pytest.raises(LocalError, match=f"{path} cannot be written") as caught:
        write(path, noise * (rows // len(noise)), column)
    assert "make room" in str(caught.value)
    assert (path.read_text(), listed(small_disk)) == ("older", [path.name])


def test_the_module_does_not_load_parquet() -> None:
    code = "import sys, overnight.data.merge; print('pyarrow' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
