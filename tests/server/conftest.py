"""The fixture that starts servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from overnight.ports import Upstream
from overnight.server.keys import Keys
from overnight.upstreams.fake import FakeUpstream
from tests.server.running import MovableClock, Running, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server on the test's home: `start(upstream, keys={...})`."""
    running: list[Running] = []

    def begin(
        upstream: Upstream | None = None,
        *,
        keys: Mapping[str, str] | None = None,
        any_model: bool = True,
        home: Path | None = None,
        clock: MovableClock | None = None,
    ) -> Running:
        server = Running(
            home or tmp_path / "home", upstream or FakeUpstream(), clock or MovableClock(), Keys(keys), any_model
        )
        running.append(server)
        return server

    yield begin
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for many calls that must leave nothing behind."""
    server = Running(tmp_path_factory.mktemp("idle"), FakeUpstream(), MovableClock(), Keys(), any_model=True)
    yield server
    server.stop()
