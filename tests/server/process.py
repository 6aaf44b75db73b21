"""A real server as a process: `python -m tests.server.process HOME BACKEND [serve settings as JSON]`.

BACKEND is `fake` or the port of a loopback backend that answers chat completions.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from pathlib import Path

from overnight.app import open_server
from overnight.errors import OvernightError
from overnight.ports import Upstream, UpstreamReply
from overnight.server.run import ServeSettings, serve
from overnight.upstreams.fake import FakeUpstream


class Forwarding(FakeUpstream):
    """Sends every request to a port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__(concurrency=4)
        self._port = port

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        return await asyncio.to_thread(self._post, endpoint, body)

    def _post(self, endpoint: str, body: bytes) -> UpstreamReply:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", endpoint, body)
            answer = connection.getresponse()
            return UpstreamReply(answer.status, answer.read())
        finally:
            connection.close()


def main(home: str, backend: str, settings: str = "{}") -> int:
    upstream: Upstream = FakeUpstream() if backend == "fake" else Forwarding(int(backend))
    given = json.loads(settings)
    if "keys" in given:
        given["keys"] = Path(given["keys"])
    try:
        return serve(ServeSettings(**{"port": 0, **given}), lambda: open_server(Path(home), upstream, any_model=True))
    except OvernightError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
