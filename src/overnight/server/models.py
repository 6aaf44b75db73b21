"""`/v1/models`: what the upstream serves."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from overnight.errors import ProviderError
from overnight.ports import Clock, Upstream
from overnight.server.replies import ApiError, document
from overnight.wire import openai

FRESH = 60.0  # seconds that the upstream's list is believed


class Models:
    """The names that the upstream serves, asked for now and then. `any_name`: it serves others as well."""

    def __init__(self, upstream: Upstream, clock: Clock, any_name: bool) -> None:
        self._upstream = upstream
        self._clock = clock
        self._any_name = any_name
        self._names: tuple[str, ...] = ()
        self._asked_at: float | None = None

    async def names(self) -> tuple[str, ...]:
        """The names; empty where the upstream does not tell."""
        now = self._clock.elapsed()
        if self._asked_at is None or now - self._asked_at > FRESH:
            try:
                self._names = tuple(await self._upstream.models())
            except ProviderError:
                self._names = ()
            self._asked_at = now if self._names else None
        return self._names

    async def checked_names(self) -> tuple[str, ...]:
        """The only names that are right; empty where any may be."""
        return () if self._any_name else await self.names()

    async def check(self, name: object) -> None:
        """Raises 404 for a model that is certainly not served, 400 where none is named."""
        if not isinstance(name, str) or not name:
            raise ApiError(400, "You must provide a model parameter.", param="model")
        names = await self.checked_names()
        if names and name not in names:
            raise ApiError(404, "The model does not exist.", param="model", code="model_not_found")

    def routes(self) -> list[Route]:
        """The resource."""
        return [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{id:path}", self._get, methods=["GET"]),
        ]

    async def _list(self, _: Request) -> Response:
        return document(openai.list_object([_shown(name) for name in await self.names()], has_more=False))

    async def _get(self, request: Request) -> Response:
        name = request.path_params["id"]
        if name not in await self.names():
            raise ApiError(404, "The model does not exist.", param="model", code="model_not_found")
        return document(_shown(name))


def _shown(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "overnight"}
