"""The server as a process: how it starts, how it ends, and what a SIGKILL leaves to the next one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from overnight.server.run import listen
from tests.server.running import chat_line, create, ended, rows, until

ROOT = Path(__file__).parents[2]


class Process:
    """A server process that listens."""

    def __init__(self, home: Path, backend: str = "fake", **settings: Any) -> None:
        command = [sys.executable, "-m", "tests.server.process", str(home), backend, json.dumps(settings)]
        self.child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(api_key="any", base_url=self.ready["url"], max_retries=0, timeout=30)

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Exit code, and what was written to standard error; `number`: the signal to send first."""
        if number is not None:
            self.child.send_signal(number)
        assert self.child.stderr is not None
        told = self.child.stderr.read().decode()
        code = self.child.wait(30)
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            assert stream is not None
            stream.close()
        return code, told


class Backend(ThreadingHTTPServer):
    """Chat completions on loopback; counts what it executes. From `hold_from` requests on, nobody is answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.ran: Counter[str] = Counter()
        self.hold_from = 1 << 30
        self.lock = threading.Lock()
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The server was killed in the middle of an answer."""


class Answering(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][0]["content"]
        with self.server.lock:
            self.server.ran[content] += 1
            held = self.server.ran.total() >= self.server.hold_from
        if held:
            self.server.released.wait(30)
        self.send({"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 1}})

    def do_GET(self) -> None:
        self.send({"object": "list", "data": [{"id": "m-1"}]})

    def send(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def test_sigkill_repeats_only_rows_in_flight(tmp_path: Path, backend: Backend) -> None:
    lines = [chat_line(f"id-{i}", f"text-{i}") for i in range(300)]
    batch_id = None
    homes = set()
    for kill_at in (1, 90, 91, 200):
        backend.hold_from = kill_at + 4 * len(homes)
        process = Process(tmp_path / "home", backend.url)
        homes.add((process.ready["home"], process.ready["port"]))
        if batch_id is None:
            batch_id = create(process.client(), lines).id
        until(lambda: backend.ran.total(), lambda ran: ran >= backend.hold_from)
        assert process.end(signal.SIGKILL)[0] == -signal.SIGKILL
        backend.released.set()
        backend.released = threading.Event()
    assert len({home for home, _ in homes}) == 1
    assert batch_id is not None
    backend.hold_from = 1 << 30
    process = Process(tmp_path / "home", backend.url)
    done = ended(process.client(), batch_id)
    assert done.request_counts.to_dict() == {"total": 300, "completed": 300, "failed": 0}
    assert done.usage.input_tokens == 300
    assert set(rows(process.client(), done.output_file_id)) == {line["custom_id"] for line in lines}
    assert set(backend.ran) == {f"text-{i}" for i in range(300)}
    assert backend.ran.total() <= 300 + 4 * 4
    assert process.end(signal.SIGTERM) == (0, "")


def test_sigkill_right_after_the_create_call(tmp_path: Path) -> None:
    process = Process(tmp_path / "home")
    batch_id = create(process.client(), [chat_line("a")]).id
    process.end(signal.SIGKILL)
    process = Process(tmp_path / "home")
    assert ended(process.client(), batch_id).request_counts.completed == 1
    assert process.end(signal.SIGINT) == (0, "")


def test_it_ends_with_its_parent_and_leaves_everything_durable(tmp_path: Path, backend: Backend) -> None:
    backend.hold_from = 50
    process = Process(tmp_path / "home", backend.url, parent=True)
    batch_id = create(process.client(), [chat_line(f"{i}", f"{i}") for i in range(600)]).id
    until(lambda: backend.ran.total(), lambda ran: ran >= 50)
    assert process.child.stdin is not None
    process.child.stdin.close()
    until(lambda: refuses(process.ready["port"]), bool)
    backend.released.set()
    assert process.end() == (0, "")
    assert backend.ran.total() < 600
    process = Process(tmp_path / "home", backend.url)
    assert ended(process.client(), batch_id).request_counts.completed == 600
    assert backend.ran.total() == 600  # what was in flight was answered and kept
    process.end(signal.SIGTERM)


def refuses(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def test_answers_on_a_kept_connection_are_sent_at_once() -> None:
    """An accepted socket must be one on which asyncio turns Nagle's delay off: it looks at the protocol."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


def test_without_keys_it_listens_on_loopback_only(tmp_path: Path) -> None:
    process = Process(tmp_path / "home", host="0.0.0.0")
    code, told = process.end()
    assert (code, process.ready) == (2, {})
    assert "without keys everybody who reaches 0.0.0.0" in told
    assert not (tmp_path / "home").exists()
    keys = tmp_path / "keys.toml"
    keys.write_text('ada = "sk-ada-0001"')
    process = Process(tmp_path / "home", host="0.0.0.0", keys=str(keys))
    assert process.ready["port"] > 0
    assert process.end(signal.SIGTERM) == (0, "")


def test_what_cannot_be_had_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = Process(tmp_path / "home", port=taken.getsockname()[1])
        code, told = process.end()
        assert code == 2
        assert told.startswith("cannot listen on 127.0.0.1 port")
        assert told.count("\n") == 1
    first = Process(tmp_path / "home")
    code, told = Process(tmp_path / "home").end()
    assert code == 2
    assert told.startswith("another server is running on this home")
    os.kill(first.ready["pid"], signal.SIGTERM)
    assert first.end() == (0, "")
