"""The server as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

import overnight
from overnight.engine.executor import Executor
from overnight.ports import Blobs, Clock, Journal, ObjectStore, Upstream
from overnight.server.batches import Batches
from overnight.server.files import Files
from overnight.server.gate import Gate, refusal
from overnight.server.gemini import Gemini
from overnight.server.gemini_files import GeminiFiles
from overnight.server.keys import Keys
from overnight.server.lives import Lives
from overnight.server.messages import MessageBatches
from overnight.server.models import Models
from overnight.server.opening import Opening
from overnight.server.realtime import Realtime
from overnight.server.replies import document
from overnight.server.sweep import Sweep


def create_app(
    *,
    objects: ObjectStore,
    blobs: Blobs,
    journals: Callable[[str], Journal],
    upstream: Upstream,
    clock: Clock,
    keys: Keys,
    home_id: str,
    any_model: bool = False,
) -> Starlette:
    """The application. Its lifespan starts the upstream and takes up the open batches, and leaves everything durable
    when it ends; the parts are closed by whoever opened them. `any_model`: the upstream serves more names than it
    lists."""
    executor = Executor(upstream, blobs, journals, clock)
    models = Models(upstream, clock, any_model)
    lives = Lives(objects, blobs, executor, models, clock)
    opening = Opening(objects, blobs, lives, clock)
    files = Files(objects, blobs, clock, lives.reads)
    gemini_files = GeminiFiles(objects, blobs, clock, lives.reads)
    sweep = Sweep(objects, blobs, clock, files, gemini_files)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await upstream.start()
        await sweep.orphans()
        await lives.start()
        sweep.start()
        try:
            yield
        finally:
            await sweep.close()
            await lives.close()

    routes = [
        Route("/healthz", _healthz, methods=["GET"]),
        *files.routes(),
        *Batches(objects, lives, opening, clock).routes(),
        *models.routes(),
        *Realtime(executor, models).routes(),
    ]
    families = {
        "anthropic": Router(MessageBatches(objects, blobs, lives, opening, models, executor, clock).routes()),
        "gemini": Router(
            [
                *Gemini(objects, blobs, gemini_files, lives, opening, models, executor, clock).routes(),
                *gemini_files.routes(),
            ]
        ),
    }
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refused})
    app.router.redirect_slashes = False
    app.add_middleware(Families, routers=families)
    app.add_middleware(Gate, keys=keys, server_name=f"{overnight.__version__}; home={home_id}")
    return app


class Families:
    """ASGI middleware: a request of another family than OpenAI's goes to that family's router."""

    def __init__(self, app: ASGIApp, routers: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._routers = routers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        await self._routers.get(scope.get("family", ""), self._app)(scope, receive, send)


async def _healthz(_: Request) -> Response:
    return document({"status": "ok"})


async def _refused(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (404, 405), in the envelope."""
    return refusal(error, request.scope).response(request.scope)
