"""A blob store in a directory of the test."""

from pathlib import Path

import pytest

from overnight.blobs.files import FileBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")
