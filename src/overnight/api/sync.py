"""The synchronous facade: the same jobs without `await`, also where a loop already runs (notebooks)."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from overnight.api.client import WHOLE, Client
from overnight.engine.runner import End, EndReason
from overnight.errors import HoldError, ProviderError, UsageError
from overnight.spec import Spec
from overnight.types import Failure, FailureKind, JobId, PicoUSD, Selection

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")
BLOCK = 1_000
"""Rows that are handed over at a time."""


def run(
    spec: Spec | Mapping[str, Any] | str | Path | None = None,
    *,
    rows: Any = None,
    limit: int | None = None,
    sample: int | None = None,
    max_requests: int | None = None,
    max_cost: float | None = None,
    new: bool = False,
    **fields: Any,
) -> Results:
    """Run a job to its end and return its results. `spec`: a `Spec`, a mapping, or the path of a spec file; `fields`
    are fields of it (`model=`, `source=`, `prompt={"user": ...}`); `rows`: dicts or an Arrow table in place of a
    source. `max_cost` is in US dollars. There is no question before money is spent: set `max_cost`.

    Rows that fail do not raise: see `Results.failed`. Raises `UsageError`, `ProviderError`, `HoldError` where a rule
    of the job stopped it; calling `run` again goes on."""
    resolved = _spec(spec, fields)
    selection = WHOLE if limit is None and sample is None else Selection(limit, sample)
    cost = None if max_cost is None else PicoUSD(round(max_cost * 1e12))
    return wait_for(_run(resolved, rows, selection, max_requests, cost, new))


async def _run(
    spec: Spec, rows: Any, selection: Selection, max_requests: int | None, max_cost: PicoUSD | None, new: bool
) -> Results:
    async with Client() as client:
        if rows is not None:
            spec = msgspec.structs.replace(spec, source=await client.spool(rows))
        preview = await client.prepare(spec, selection, new=new, max_requests=max_requests, max_cost=max_cost)
        refused = await client.refusal(preview)
        if refused is not None:
            await client.discard(preview)
            raise HoldError(refused.message)
        job = await client.approve(preview)
        _raise_for(await client.run(job.id))
        if job.output is not None:
            await client.export(job.id, Path(job.output))
        return Results(job.id)


def _raise_for(end: End) -> None:
    if end.reason is EndReason.HELD and end.hold is not None:
        if end.hold.exit_code == ProviderError.exit_code:
            raise ProviderError(Failure(FailureKind.ACCOUNT, end.hold.message))
        raise HoldError(end.hold.message)
    if end.reason is EndReason.TROUBLE and end.failure is not None:
        raise ProviderError(end.failure)


def _spec(spec: Spec | Mapping[str, Any] | str | Path | None, fields: Mapping[str, Any]) -> Spec:
    from overnight.specfile import load_spec, spec_from

    if isinstance(spec, str | Path):
        return load_spec(Path(spec), fields)
    known = msgspec.to_builtins(spec) if isinstance(spec, Spec) else dict(spec or {})
    told = {**known, **fields}
    if "answer" in told:
        told["answer"] = _answer(told["answer"])
    return spec_from(told, "run()")


def _answer(given: Any) -> Any:
    """A pydantic model, as the answer itself or as its schema, becomes the JSON Schema it stands for."""
    from overnight.data.schemas import schema_of

    if isinstance(given, type):
        return {"schema": schema_of(given)}
    if isinstance(given, Mapping) and isinstance(given.get("schema"), type):
        return {**given, "schema": schema_of(given["schema"])}
    return given


class Results:
    """A job's answers. Iterate over its rows, or take them as a table."""

    def __init__(self, job_id: JobId) -> None:
        self.job_id = job_id

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries, in the source's order, made a block at a time."""
        blocks: queue.Queue[list[dict[str, Any]] | BaseException | None] = queue.Queue(maxsize=2)
        left = threading.Event()

        async def read() -> None:
            async with Client() as client:
                block: list[dict[str, Any]] = []
                async for row in client.rows(self.job_id):
                    block.append(row)
                    if len(block) == BLOCK:
                        blocks.put(block)
                        block = []
                    if left.is_set():
                        return
                blocks.put(block)

        def produce() -> None:
            try:
                asyncio.run(read())
                blocks.put(None)
            except BaseException as error:  # noqa: BLE001
                blocks.put(error)

        # A thread of its own: the caller may have a loop already, and may stop iterating at any row.
        threading.Thread(target=produce, daemon=True).start()
        try:
            while (block := blocks.get()) is not None:
                if isinstance(block, BaseException):
                    raise block
                yield from block
        finally:
            left.set()
            while not blocks.empty():
                blocks.get()

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Rows that did not succeed, with `error_kind` and `error_message`."""
        return [row for row in self if row["status"] not in {"succeeded", "skipped"}]

    def to_arrow(self) -> pyarrow.Table:
        """The rows as an Arrow table (needs `pip install 'overnight[parquet]'`)."""
        try:
            import pyarrow
        except ImportError:
            raise UsageError("Arrow tables need pyarrow: pip install 'overnight[parquet]'") from None
        return pyarrow.Table.from_pylist(list(self))


def wait_for(task: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; it runs in a loop of its own, in a thread where this one has a loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(task)
    box: list[T | BaseException] = []

    def call() -> None:
        try:
            box.append(asyncio.run(task))
        except BaseException as error:  # noqa: BLE001
            box.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    result = box[0]
    if isinstance(result, BaseException):
        raise result
    return result
