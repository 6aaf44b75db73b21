"""Real-time chat completions, responses and embeddings: the same upstream, before any row of a batch."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from overnight.engine.executor import Executor
from overnight.errors import ProviderError
from overnight.server.models import Models
from overnight.server.replies import ApiError, json_bytes, json_object, read_body
from overnight.types import Endpoint

ENDPOINTS = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.EMBEDDINGS)
"""What is answered, in real time and in batches."""

MOST_BODY = 10 * 1024 * 1024  # bytes


class Realtime:
    """The three endpoints."""

    def __init__(self, executor: Executor, models: Models) -> None:
        self._executor = executor
        self._models = models

    def routes(self) -> list[Route]:
        """The resource."""
        return [Route(endpoint.value, self._answer, methods=["POST"]) for endpoint in ENDPOINTS]

    async def _answer(self, request: Request) -> Response:
        body = await read_body(request, MOST_BODY)
        asked = json_object(body)
        if asked.get("stream"):
            raise ApiError(400, "This server does not stream.", param="stream", code="unsupported_value")
        await self._models.check(asked.get("model"))
        try:
            reply = await self._executor.ask(request.url.path, body)
        except ProviderError as error:
            code = error.failure.code or "upstream_unreachable"
            raise ApiError(502, "The upstream gave no answer.", code=code, type="server_error") from error
        response = json_bytes(reply.body, reply.status)
        if reply.retry_after is not None:
            response.headers["retry-after"] = f"{reply.retry_after:g}"
        return response
