import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from overnight.blobs.files import FileBlobs
from overnight.errors import LocalError
from overnight.testing.blob_suite import BlobSuite
from tests.blobs.small_disk import remount, small_disk


class TestFileBlobs(BlobSuite):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.root = tmp_path / "home" / "blobs"

    def open(self) -> FileBlobs:
        return FileBlobs(self.root)

    def stored(self) -> Mapping[str, bytes]:
        return _files(self.root)


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _run(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, check=False)


KILLED = """
import os, signal, sys
from pathlib import Path
from overnight.blobs.files import FileBlobs
blobs = FileBlobs(Path(sys.argv[1]))
with blobs.create("done") as done:
    done.write(b"whole")
    done.commit()
writer = blobs.create("half")
writer.write(b"x" * 1_000_000)
if sys.argv[2] == "renaming":  # killed with all written, before the rename
    Path.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    writer.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_what_a_killed_process_left_unfinished_is_never_seen_and_goes(tmp_path: Path, moment: str) -> None:
    living = FileBlobs(tmp_path)
    with living.create("mine") as mine:
        mine.write(b"mine")
        assert _run(KILLED, tmp_path, moment).returncode == -signal.SIGKILL
        assert list(living.list("")) == ["done"]
        assert living.size("half") is None
        assert len(_files(tmp_path)) == 3  # done, half and mine
        FileBlobs(tmp_path)
        assert len(_files(tmp_path)) == 2  # a living writer keeps its file
        mine.commit()
    assert _files(tmp_path) == {"done": b"whole", "mine": b"mine"}
    assert living.sweep() == 0


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        root = tmp_path / "a" / "blobs"
        root.mkdir(parents=True, mode=0o755)
        with FileBlobs(root).create("x/y/z") as writer:
            writer.commit()
    finally:
        os.umask(old)
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_full_disk_is_told_with_its_path_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        blobs = FileBlobs(disk / "blobs")
        with blobs.create("kept") as writer:
            writer.write(b"kept")
            writer.commit()
        used = set(_files(disk))
        with pytest.raises(LocalError, match=r"cannot write \(.*/blobs/big\): No space left.*free some space"):
            _write(blobs, "big", 10_000_000)
        with pytest.raises(LocalError, match="free some space"):
            _write(blobs, "kept", 261_000)  # only the last flush finds no room
        assert set(_files(disk)) == used
        assert blobs.reader("kept").read_at(0, 9) == b"kept"
        assert (blobs.free() or 0) < 256 * 1024
        _write(blobs, "small", 10_000)
        assert blobs.size("small") == 10_000


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(LocalError, match="free some space"):
            _write(blobs, "big", 300_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _files(tmp_path) == {}


def test_a_read_only_disk_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        blobs = FileBlobs(disk)
        _write(blobs, "a", 10)
        remount(disk, "ro")
        for attempt in (lambda: blobs.create("b"), lambda: blobs.delete("a"), lambda: FileBlobs(disk / "new")):
            with pytest.raises(LocalError, match=f"{disk}.*: Read-only file system: make it writable"):
                attempt()
        assert blobs.reader("a").read_at(0, 99) == b"x" * 10


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(LocalError, match="cannot open the home"):
        FileBlobs(tmp_path / "home")
    blobs = FileBlobs(tmp_path / "blobs")
    _write(blobs, "a", 1)
    with pytest.raises(LocalError, match="cannot write"):
        _write(blobs, "a/b", 1)
    assert blobs.size("a/b") is None
    assert set(_files(blobs.root)) == {"a"}


def _write(blobs: FileBlobs, name: str, size: int) -> None:
    with blobs.create(name) as writer:
        for _ in range(size // 1000):
            writer.write(b"x" * 1000)
        writer.write(b"x" * (size % 1000))
        writer.commit()
