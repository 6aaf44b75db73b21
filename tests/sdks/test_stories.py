"""Official SDKs of three generations, and those for Node, unmodified against the real server as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SDKS = Path(sys.prefix, "sdks")
SDK_NAMES = ("openai", "anthropic", "google")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    serve = ("-m", "overnight", "--home", str(home), "serve", "--backend", "fake", "--port", "0", "--parent")
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, *serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        assert line, (home / "log").read_text()
        yield json.loads(line)["url"].removesuffix("/v1")
        process.stdin.close()
        process.wait(15)


def told(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_KEY")}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("generation", ["old", "middle", "new"])
@pytest.mark.parametrize("sdk", SDK_NAMES)
def test_python(sdk: str, generation: str, url: str) -> None:
    story = HERE / "stories" / f"{sdk}_story.py"
    wanted = (HERE / f"{generation}.txt").read_text().split()
    version = next(each for each in wanted if each.startswith(sdk)).replace("==", " ")
    assert told(SDKS / generation / "bin" / "python", "-I", story, url).strip() == version


@pytest.mark.parametrize("sdk", SDK_NAMES)
def test_node(sdk: str, url: str) -> None:
    node = SDKS / "node"
    if not (node / "node_modules").is_dir():
        pytest.skip("the SDKs for Node are not installed: `make test` found no way to npm's registry")
    assert told(node / "bin" / "node", node / f"{sdk}_story.mjs", url).strip() == f"{sdk} for Node"
