"""A blob store in a directory, small enough to be read at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest


class DirWriter:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.part = path, path.with_name(path.name + ".part")
        self.file = self.part.open("wb")

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()

    def commit(self) -> None:
        self.file.close()
        self.part.rename(self.path)

    def __enter__(self) -> DirWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()
        self.part.unlink(missing_ok=True)


class DirReader:
    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")

    def read_at(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(length)

    def close(self) -> None:
        self.file.close()


class DirBlobs:
    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str) -> DirWriter:
        return DirWriter(self.root / name)

    def open(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")

    def reader(self, name: str) -> DirReader:
        return DirReader(self.root / name)

    def size(self, name: str) -> int | None:
        path = self.root / name
        return path.stat().st_size if path.exists() else None

    def list(self, prefix: str) -> Iterator[str]:
        names = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())
        return iter([name for name in names if name.startswith(prefix)])

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def free(self) -> int | None:
        return None


@pytest.fixture
def blobs(tmp_path: Path) -> DirBlobs:
    return DirBlobs(tmp_path / "blobs")
