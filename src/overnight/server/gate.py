"""The gate every request passes: identity, request id, the server's name, and errors in the envelope."""

from __future__ import annotations

import asyncio
import logging
import secrets

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overnight.server.keys import Keys
from overnight.server.replies import ApiError

log = logging.getLogger("overnight.server")

OPEN_PATHS = frozenset({"/healthz"})


class Gate:
    """ASGI middleware. A request goes on with `scope["tenant"]` and `scope["request_id"]`; every answer carries
    `overnight-server` and `x-request-id`."""

    def __init__(self, app: ASGIApp, keys: Keys, server_name: str) -> None:
        self._app = app
        self._keys = keys
        self._name = server_name.encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(16)}"
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [
                    *message["headers"],
                    (b"overnight-server", self._name),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        scope["request_id"] = request_id
        try:
            self._admit(scope)
            await self._app(scope, receive, send_named)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # The server is stopping and has waited long enough; let nobody hang.
            if not started:
                stopping = ApiError(503, "The server is stopping.", type="server_error")
                await stopping.response()(scope, receive, send_named)
        except Exception as error:
            if started:
                raise
            await refusal(error, scope).response()(scope, receive, send_named)

    def _admit(self, scope: Scope) -> None:
        """Raises 401 for a key that is not known."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        tenant = self._keys.tenant(given)
        if tenant is None and scope["path"] not in OPEN_PATHS:
            message = "Incorrect API key provided." if given else "You did not provide an API key."
            raise ApiError(401, message, code="invalid_api_key")
        scope["tenant"] = tenant or ""


def refusal(error: Exception, scope: Scope) -> ApiError:
    """What the client is told of an error. One that nobody expected is logged, without content, and told as a 500."""
    match error:
        case ApiError():
            return error
        case HTTPException(status_code=404):
            return ApiError(404, f"Invalid URL ({scope['method']} {scope['path']})")
        case HTTPException(status_code=405):
            return ApiError(405, f"Not allowed to {scope['method']} on {scope['path']}.", code="method_not_supported")
        case HTTPException():
            return ApiError(error.status_code, str(error.detail))
        case _:
            log.error("request %s failed", scope["request_id"], exc_info=error)
            return ApiError(500, "The server had an error while processing your request.", type="server_error")
