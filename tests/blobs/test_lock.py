import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overnight.blobs.lock import OwnerLock, flock, owner_is_dead

OWNER = """
import sys
from pathlib import Path
from overnight.blobs.lock import OwnerLock
lock = OwnerLock(Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
sys.stdin.read()
"""


def test_an_owner_is_dead_when_its_process_is_gone_and_not_while_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "job"
    assert owner_is_dead(path) is None
    mine = OwnerLock(path)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert owner_is_dead(path) is False
        assert not mine.try_acquire()
        process.send_signal(signal.SIGSTOP)
        assert owner_is_dead(path) is False
        process.kill()
        process.wait()
        assert owner_is_dead(path) is True
    assert mine.try_acquire()
    assert mine.try_acquire()
    assert owner_is_dead(path) is False
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_that_was_given_back_can_be_taken(tmp_path: Path) -> None:
    one, two = OwnerLock(tmp_path / "job"), OwnerLock(tmp_path / "job")
    one.release()
    assert one.try_acquire()
    assert not two.try_acquire()
    one.release()
    one.release()
    assert owner_is_dead(tmp_path / "job") is True
    assert two.try_acquire()
    assert not one.try_acquire()


def test_asking_whether_the_owner_is_dead_keeps_nobody_from_becoming_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job"
    path.touch()
    asking = os.open(path, os.O_RDWR)
    assert flock(asking, shared=True)
    monkeypatch.setattr(time, "sleep", lambda _seconds: os.close(asking))  # it asks no longer than that
    assert OwnerLock(path).try_acquire()
