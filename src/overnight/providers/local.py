"""Our own batch server as a child of this process: for models that run on this machine, and for the fake one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from overnight.errors import LocalError, UsageError
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.openai import LIMITS, OpenAIProvider
from overnight.types import Account, FileId, Limits, Proof, RemoteBatch, RemoteId

READY = 900.0
"""Seconds that the server may take to listen; the first time it fetches its model."""
STOP = 15.0
"""Seconds that it has to end by itself."""


class LocalProvider:
    """`ports.Provider` over a batch server that this object starts when it is first needed, starts again when it died,
    and ends with `close`. Its home is its account: it outlives the process, with files, batches and answers."""

    dialect = "openai"
    proof: Proof = "tag"
    short_polling = True

    def __init__(self, backend: str, home: Path, *, name: str = "local", limits: Limits = LIMITS) -> None:
        """`backend`: as of `overnight serve`; `home`: the server's own, made where it is missing."""
        self.name = name
        self.limits = limits
        self._backend = backend
        self._home = home
        self._child: asyncio.subprocess.Process | None = None
        self._inner: OpenAIProvider | None = None
        self._starting = asyncio.Lock()

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`."""
        return await (await self._live()).identify(known_batch, known_file, known)

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """See `ports.Provider`."""
        return await (await self._live()).upload(content, size, filename)

    async def create(self, submission: Submission) -> RemoteBatch:
        """See `ports.Provider`."""
        return await (await self._live()).create(submission)

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """See `ports.Provider`."""
        return await (await self._live()).find(search)

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """See `ports.Provider`: the tag has proved it."""
        return None

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """See `ports.Provider`: there is no such call, the record stays."""

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """See `ports.Provider`."""
        return await (await self._live()).find_files(filename)

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """See `ports.Provider`."""
        return await (await self._live()).status(ids)

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """See `ports.Provider`."""
        await (await self._live()).download(file_id, into)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """See `ports.Provider`."""
        return await (await self._live()).cancel(remote_id)

    async def delete_file(self, file_id: FileId) -> None:
        """See `ports.Provider`."""
        await (await self._live()).delete_file(file_id)

    async def close(self) -> None:
        """End the server: its standard input closes, it finishes what it is writing."""
        if self._inner is not None:
            await self._inner.close()
            self._inner = None
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), STOP)
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _live(self) -> OpenAIProvider:
        async with self._starting:
            if self._inner is None or self._child is None or self._child.returncode is not None:
                await self.close()
                url = await self._start()
                self._inner = OpenAIProvider("local", url, name=self.name, limits=self.limits)
            return self._inner

    async def _start(self) -> str:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self._home / "server.log"
        command = ("-m", "overnight", "--home", str(self._home), "serve", "--backend", self._backend)
        with log.open("ab") as errors:
            began = errors.tell()
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                "--port",
                "0",
                "--parent",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the command, which ends its server in the end
            )
        assert self._child.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(self._child.stdout.readline(), READY)
        if line:
            return str(json.loads(line)["url"])
        code = await self._ended()
        said = log.read_bytes()[began:].decode(errors="replace").strip().splitlines()
        reason = said[-1].removeprefix("error: ") if said else f"it ended with exit code {code}"
        told = f"the local server did not start: {reason}"
        raise UsageError(told) if code == 2 else LocalError(f"{told} (see {log})")

    async def _ended(self) -> int | None:
        assert self._child is not None
        try:
            return await asyncio.wait_for(self._child.wait(), STOP)
        except TimeoutError:  # it neither listens nor ends
            self._child.kill()
            return await self._child.wait()
