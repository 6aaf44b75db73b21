"""A real server as a process: `python -m tests.server.process HOME BACKEND [serve settings as JSON]`.

BACKEND is `fake` or the base URL of a loopback backend.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from overnight.app import open_server
from overnight.errors import OvernightError
from overnight.ports import Upstream
from overnight.server.run import ServeSettings, serve
from overnight.upstreams.fake import FakeUpstream
from overnight.upstreams.url import UrlUpstream


def main(home: str, backend: str, settings: str = "{}") -> int:
    upstream: Upstream = FakeUpstream() if backend == "fake" else UrlUpstream(backend, concurrency=4)
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
