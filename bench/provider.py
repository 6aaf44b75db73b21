"""Batch APIs on loopback that answer as fast as they can, so that what is measured is the client: rows that come are
remembered by their ids alone, and an answer is one of some thousand made beforehand with the id put in.

Batches stay in progress until `POST /release`. Answers come in another order than the requests, as OpenAI's do.
`POST /v1/chat/completions` is a model that answers at once. Run as a process it prints its address, and
ends with its standard input; with `DIALECT RESULTS.jsonl ROWS` as arguments it writes so many answers into a file
instead.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from answers import Output
from anthropic_api import Anthropic
from google_apis import Gemini, Vertex
from openai_api import OpenAI


def application() -> web.Application:
    """All APIs behind one address: none has a path of another's."""
    app = web.Application(client_max_size=1 << 30)
    apis = (Anthropic(), OpenAI(), Gemini(), Vertex())

    async def release(request: web.Request) -> web.Response:
        """All batches are over, those to come at once; `?hold=1`: those to come stay in progress again."""
        for api in apis:
            api.batches.release(hold="hold" in request.query)
        return web.json_response({})

    app.router.add_post("/release", release)
    for api in apis:
        api.add_to(app)
    return app


async def _serve() -> None:
    runner = web.AppRunner(application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # the parent closes it
    await runner.cleanup()


def _write_results(dialect: str, path: Path, rows: int) -> None:
    """A file of answers, for the floor."""
    letter = b"k" if dialect == "vertex" else b""
    output = Output(dialect, [letter + b"benchmrk-%09d-00" % number for number in range(rows)])
    with path.open("wb") as file:
        file.writelines(output.blocks())
    print(rows)


if __name__ == "__main__":
    if sys.argv[1:]:
        _write_results(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        asyncio.run(_serve())
