"""Jobs from Python: `overnight.run`, results, a loop that runs already, the async client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow
import pydantic
import pytest

import overnight
from overnight.errors import HoldError, UsageError
from overnight.spec import Prompt

ROWS = [{"id": f"r{number}", "text": f"text {number}"} for number in range(7)]
PROMPT = {"user": "Say it again: {{ text }}"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OVERNIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OVERNIGHT_POLL", "0.1")
    return tmp_path


def test_rows_in_rows_out_in_order_and_the_second_run_answers_at_once() -> None:
    for _ in range(2):
        results = overnight.run(model="fake/echo", prompt=PROMPT, key="id", rows=ROWS)
        assert [(row["id"], row["status"], row["answer"]) for row in results] == [
            (row["id"], "succeeded", f"Say it again: {row['text']}") for row in ROWS
        ]
        assert results.failed == []


def test_an_arrow_table_in_and_out(home: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    results = overnight.run(
        model="fake/echo", prompt=PROMPT, key="id", rows=table, keep="all", output=str(home / "o.csv")
    )
    out = results.to_arrow()
    assert out.num_rows == len(ROWS)
    assert out.column("text").to_pylist() == [row["text"] for row in ROWS]
    assert (home / "o.csv").read_text().count("\n") == len(ROWS) + 1


def test_a_pydantic_model_as_answer() -> None:
    class Mood(pydantic.BaseModel):
        mood: Literal["good", "bad"]

    results = overnight.run(model="fake/echo", prompt=PROMPT, key="id", rows=ROWS, answer=Mood)
    assert {row["mood"] for row in results} <= {"good", "bad"}
    assert len(list(results)) == len(ROWS)


def test_where_a_loop_already_runs() -> None:
    async def notebook() -> list[str]:
        return [row["status"] for row in overnight.run(model="fake/echo", prompt=PROMPT, rows=ROWS)]

    assert asyncio.run(notebook()) == ["succeeded"] * len(ROWS)


def test_a_limit_stops_before_anything_is_sent() -> None:
    with pytest.raises(HoldError, match="--max-requests"):
        overnight.run(model="fake/echo", prompt=PROMPT, rows=ROWS, max_requests=3)


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(UsageError, match="promt"):
        overnight.run(model="fake/echo", promt=PROMPT, rows=ROWS)


def test_the_async_client(home: Path) -> None:
    async def main() -> tuple[list[str], int]:
        async with overnight.Client() as client:
            source = await client.spool(ROWS)
            spec = overnight.Spec(model="fake/echo", source=source, prompt=Prompt(user="{{ text }}"), key="id")
            preview = await client.prepare(spec, overnight.Selection(limit=3))
            job = await client.approve(preview)
            await client.run(job.id)
            first = [row["id"] async for row in client.rows(job.id)]
            preview = await client.prepare(spec)
            assert preview.summary.requests == 4  # the three are not paid again
            job = await client.approve(preview)
            await client.run(job.id)
            status = await client.status(job.id)
            return first, status.totals.sent

    first, sent = asyncio.run(main())
    assert first == ["r0", "r1", "r2"]
    assert sent == len(ROWS)


def test_rows_are_kept_as_long_as_a_job_is_made_of_them(home: Path) -> None:
    jobs = [
        overnight.run(model="fake/echo", prompt=prompt, key="id", rows=ROWS, output=str(home / f"{number}.csv"))
        for number, prompt in enumerate((PROMPT, {"user": "{{ text }}"}))
    ]
    rows = home / "home" / "blobs" / "spool"

    async def clean(job_id: str) -> int:
        async with overnight.Client() as client:
            return await client.clean(job_id)

    asyncio.run(clean(jobs[0].job_id))
    (kept,) = rows.iterdir()
    size = kept.stat().st_size
    assert next(iter(jobs[1]))["answer"] == "text 0"
    assert asyncio.run(clean(jobs[1].job_id)) > size
    assert list(rows.iterdir()) == []


def test_whoever_stops_at_a_row_leaves_nothing_behind() -> None:
    results = overnight.run(model="fake/echo", prompt=PROMPT, key="id", rows=ROWS)
    for row in results:
        assert row["id"] == "r0"
        break
    assert len(list(results)) == len(ROWS)
