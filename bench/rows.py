"""Rows answered in real time, each way in a process of its own, against the model of `provider.py`:

    rows.py floor URL FOLDER       bare asyncio and aiohttp: 64 in flight, classify, deadline, journal, result file
    rows.py executor URL FOLDER    our executor, our adapter
    rows.py server URL FOLDER      upload, create and download at our server (the client is not measured)

The folder holds `requests.jsonl`. Prints rows that succeeded, CPU seconds, and peak memory in MB, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage, struct_rusage
from typing import Any
from urllib.request import Request, urlopen

import orjson

from jobs import SYSTEM

IN_FLIGHT = 64
_DAY = 86_400.0


def write_requests(path: Path, rows: int) -> None:
    """Request lines of about 1 KB."""
    turns = [{"role": "system", "content": SYSTEM[:500]}, {"role": "user", "content": "The delivery was late. " * 14}]
    body = {"model": "bench", "messages": turns, "max_completion_tokens": 100}
    with path.open("wb") as file:
        for number in range(rows):
            line = {"custom_id": f"row-{number:09d}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(orjson.dumps(line) + b"\n")


# ---------------------------------------------------------------------------------------------------- the floor


class _Journal:
    """Lines are written and synced in a thread, those that come meanwhile with the next write."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, line: bytes) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            await asyncio.to_thread(self._sync, b"".join(line for line, _ in group))
            for _, done in group:
                done.set_result(None)
        self._writing = None

    def _sync(self, data: bytes) -> None:
        os.write(self._fd, data)
        os.fdatasync(self._fd)


async def floor(url: str, folder: Path) -> int:
    """Bare: a loop of workers over the lines."""
    import aiohttp

    journal, tokens, answered = _Journal(folder / "journal"), 0, 0
    with (folder / "requests.jsonl").open("rb", buffering=1 << 18) as requests:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

            async def work() -> None:
                nonlocal tokens, answered
                for line in requests:
                    row = orjson.loads(line)
                    async with (
                        asyncio.timeout(60),
                        session.post(
                            f"{url}/v1/chat/completions",
                            data=orjson.dumps(row["body"]),
                            headers={"content-type": "application/json"},
                        ) as response,
                    ):
                        body = orjson.loads(await response.read())
                    if response.status == 200 and body["choices"][0]["message"]["content"]:
                        tokens += body["usage"]["total_tokens"]
                        answered += 1
                    result = {"custom_id": row["custom_id"], "response": {"status_code": response.status, "body": body}}
                    await journal.append(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    with (folder / "journal").open("rb") as journaled, (folder / "output").open("wb") as output:
        output.writelines(journaled)
        output.flush()
        os.fsync(output.fileno())
    return answered


# ----------------------------------------------------------------------------------------------------- our own


async def executor(url: str, folder: Path) -> int:
    """Our executor over the same rows."""
    from overnight.blobs.files import FileBlobs
    from overnight.blobs.journal import FileJournal
    from overnight.clock import SystemClock
    from overnight.engine.executor import Executor
    from overnight.engine.intake import Requests
    from overnight.upstreams.url import UrlUpstream

    blobs = FileBlobs(folder)
    upstream = UrlUpstream(f"{url}/v1", concurrency=IN_FLIGHT)
    running = Executor(upstream, blobs, lambda name: FileJournal(folder / name), SystemClock())
    names = ("requests.jsonl", "journal", "output", "errors")
    done = await running.run(Requests("batch_bench", "/v1/chat/completions", *names, time.time() + _DAY))
    await running.close(1.0)
    await upstream.close()
    return done.counts.succeeded


def server(url: str, folder: Path) -> tuple[int, struct_rusage]:
    """Our server as a process: what it answered, and its resources."""
    command = [Path(sys.executable).with_name("overnight"), "--home", folder / "home", "serve", "--port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command), "--backend", f"{url}/v1"], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
        )
    assert process.stdout is not None
    try:
        with process.stdout:
            succeeded = _whole_batch(json.loads(process.stdout.readline())["url"], folder / "requests.jsonl")
    finally:
        process.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return succeeded, used


def _whole_batch(base: str, requests: Path) -> int:
    content = requests.read_bytes()
    form = (
        b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--edge\r\nContent-Disposition: '
        b'form-data; name="file"; filename="rows.jsonl"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    file = _call(f"{base}/files", form + content + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge")
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = _call(f"{base}/batches", orjson.dumps(asked), "application/json")
    while batch["status"] not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(0.2)
        batch = _call(f"{base}/batches/{batch['id']}")
    if batch["status"] != "completed":
        raise SystemExit(f"the server's batch is {batch['status']}: {batch['errors']}")
    with urlopen(f"{base}/files/{batch['output_file_id']}/content") as answer:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: answer.read(1 << 18), b""))


def _call(url: str, data: bytes | None = None, kind: str = "") -> Any:
    with urlopen(Request(url, data=data, headers={"content-type": kind} if data else {})) as answer:
        return json.loads(answer.read())


def main(way: str, url: str, folder: Path) -> None:
    """Run one of the ways."""
    if way == "server":
        succeeded, used = server(url, folder)
    else:
        succeeded = asyncio.run({"floor": floor, "executor": executor}[way](url, folder))
        used = getrusage(RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"succeeded": succeeded, "cpu": cpu, "peak": used.ru_maxrss * 1024 / 1e6}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
