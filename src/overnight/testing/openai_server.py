"""HTTP in front of the fake OpenAI, on loopback, in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from overnight.testing.openai_face import Asked, show
from overnight.testing.openai_fake import FakeOpenAI, NoAnswer
from overnight.testing.serving import cut_short, hang_up, served


@contextmanager
def serving(fake: FakeOpenAI) -> Iterator[str]:
    """The base URL, as long as the `with` lasts. The fake is called from the server's thread only; its log may be read
    whenever no call is under way."""
    with served(lambda: application(fake)) as root:
        yield f"{root}{fake.flavour.root}"


def application(fake: FakeOpenAI) -> web.Application:
    """The API of the fake's flavour."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.method, request.raw_path.partition("?")[0], request.query, headers, await request.read())
        try:
            shown = show(fake, asked)
        except NoAnswer:
            return hang_up(request)
        if shown.cut:
            return await cut_short(request, shown.body, cleanly=fake.quirks.cut_cleanly)
        return web.Response(status=shown.status, body=shown.body, headers=shown.headers)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", answer)
    return app
