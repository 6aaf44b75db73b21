"""What a person at a terminal sees and answers."""

from __future__ import annotations

import os
import pty
import signal
import subprocess

import pytest

from tests.cli.calling import call, command
from tests.cli.conftest import Pipeline


def typed(argv: list[str], question: bytes, reply: bytes | signal.Signals) -> tuple[str, int]:
    """Everything that the command showed, and its exit code."""
    terminal, inside = pty.openpty()
    running = subprocess.Popen(argv, stdin=inside, stdout=inside, stderr=inside, env={**os.environ, "TERM": "xterm"})
    os.close(inside)
    seen, answered = b"", False
    while True:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not answered and question in seen:
            answered = True
            if isinstance(reply, bytes):
                os.write(terminal, reply)
            else:
                running.send_signal(reply)
    os.close(terminal)
    return seen.decode(), running.wait()


@pytest.mark.parametrize(
    ("reply", "code", "said"), [(b"n\n", 0, "nothing was sent"), (signal.SIGINT, 130, "interrupted: nothing was sent")]
)
def test_no_is_no(pipeline: Pipeline, reply: bytes | signal.Signals, code: int, said: str) -> None:
    seen, ended = typed(command("run", *pipeline.job()), b"[y/N]", reply)
    assert ended == code
    assert said in seen
    assert call("jobs", "--json").document == []
    assert pipeline.fake.calls == []


def test_yes_sends(pipeline: Pipeline) -> None:
    seen, ended = typed(command("run", *pipeline.job()), b"[y/N]", b"y\n")
    assert ended == 0
    assert "40 succeeded" in seen
    assert "Traceback" not in seen


def test_the_latest_end_is_told(pipeline: Pipeline) -> None:
    pipeline.fake.takes = 3600.0
    call("submit", *pipeline.job(), "--yes")
    assert "at the latest tomorrow" in call("status", "rows").out
