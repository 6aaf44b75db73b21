"""A child process that serves one embedded model over loopback: started when needed, never outliving this process."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from overnight.errors import LocalError, OvernightError, ProviderError, UsageError
from overnight.http import Answer, Http
from overnight.types import Failure, FailureKind
from overnight.upstreams.local_child import Order
from overnight.upstreams.model_files import Model, is_here

log = logging.getLogger(__name__)

DRAIN: Final = 10.0  # seconds that requests in flight get to end
GRACE: Final = 2.0  # seconds between SIGTERM and SIGKILL
ANSWER: Final = 900.0  # seconds for one answer: a long one, on a slow machine, behind others


class _Told(msgspec.Struct):
    url: str = ""
    error: str = ""
    code: str = ""


class Child:
    """One model in one process. A process that died is started again by the next request."""

    def __init__(self, model: Model, folder: Path, slots: int) -> None:
        self.model = model
        self._folder = folder
        self._slots = slots
        self._process: asyncio.subprocess.Process | None = None
        self._http: Http | None = None
        self._starting = asyncio.Lock()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._unusable: UsageError | None = None

    async def start(self) -> Http:
        """The way to the model, which answers. Raises `UsageError` and `LocalError` where it cannot be fetched or
        loaded."""
        async with self._starting:
            if self._closed:
                raise ProviderError(Failure(FailureKind.TRANSIENT, "the embedded model was stopped", code="stopped"))
            if self._unusable is not None:  # somebody must act first: no second download for every row
                raise self._unusable
            if self._process is None or self._process.returncode is not None or self._http is None:
                await self._leave_http()
                self._http = await self._launch()
            return self._http

    async def post(self, path: str, body: bytes) -> Answer:
        """The child's answer. Raises `ProviderError` where none came."""
        http = await self.start()
        self._in_flight += 1
        self._idle.clear()
        try:
            return await http.post(path, body, timeout=ANSWER)
        except ProviderError:
            await self._settled()
            raise
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def stop(self) -> None:
        """Let requests in flight end, for a while; then SIGTERM, then SIGKILL. Nothing starts afterwards."""
        self._closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), DRAIN)
        await self._leave_http()
        process = self._process
        if process is not None and process.returncode is None:
            await _end(process)

    async def _launch(self) -> Http:
        if not is_here(self.model, self._folder):
            log.info("fetching the model %s, once", self.model.name)
        key = secrets.token_urlsafe(32)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "overnight.upstreams.local_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends the child when its requests are done
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        order = Order(
            key=key,
            model=str(self.model.path or self.model.name),
            folder=str(self._folder),
            slots=self._slots,
            context=self.model.context,
            threads=_threads(),
        )
        try:
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            with suppress(ConnectionError):
                await process.stdin.drain()
            line = await process.stdout.readline()
            http = _way_to(line, key, self.model.name)
            await _ready(http)
        except BaseException as error:
            await _end(process)
            self._unusable = error if isinstance(error, UsageError) else None
            raise
        return http

    async def _settled(self) -> None:
        """Returns when a process that is dying is known to be dead, so that the next request finds a new one."""
        if self._process is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), GRACE)

    async def _leave_http(self) -> None:
        if self._http is not None:
            await self._http.close()
        self._http = None


def _way_to(line: bytes, key: str, name: str) -> Http:
    if not line:
        raise LocalError(f"{name}: the process of the model ended before it served")
    told = msgspec.json.decode(line, type=_Told)
    if told.error:
        kind: type[OvernightError] = UsageError if told.code == UsageError.code else LocalError
        raise kind(told.error)
    return Http(told.url, {"authorization": f"Bearer {key}"}, read_timeout=ANSWER)


async def _ready(http: Http) -> None:
    """Raises `LocalError` unless the model says that it is up."""
    answer = await http.get("/health", timeout=60.0)
    if answer.status != 200:
        await http.close()
        raise LocalError(f"the embedded model does not answer (status {answer.status})")


async def _end(process: asyncio.subprocess.Process) -> None:
    """With its whole group: it may be in the middle of a download."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), GRACE)
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _threads() -> int:
    """Half of the CPUs that this process may use, at least one. The runtime's threads wait for each other in busy
    loops: where another program takes a CPU from one of them, all burn their time. On two busy CPUs one thread was five
    times faster than two, and on two idle ones it cost less for each answer."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // 2)
