"""The gate every request passes: its family, identity, request id, the server's name, and errors in the envelope."""

from __future__ import annotations

import asyncio
import logging
import secrets
from urllib.parse import parse_qs

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
        family_of(scope)

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [
                    *message["headers"],
                    (b"overnight-server", self._name),
                    (b"x-request-id", request_id.encode()),
                ]
                if scope["family"] == "anthropic":
                    account = scope.get("tenant") or "local"
                    message["headers"] += [
                        (b"request-id", request_id.encode()),
                        (b"anthropic-organization-id", account.encode("utf-8", "replace")),
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
                await stopping.response(scope)(scope, receive, send_named)
        except Exception as error:
            if started:
                raise
            await refusal(error, scope).response(scope)(scope, receive, send_named)

    def _admit(self, scope: Scope) -> None:
        """Raises 401 for a key that is not known."""
        given = _given_key(scope)
        tenant = self._keys.tenant(given)
        # The address of an upload that was begun is its own permission: its chunks carry no key.
        going_on = scope["path"].startswith("/upload/") and b"upload_id=" in scope["query_string"]
        is_open = scope["path"] in OPEN_PATHS or going_on
        if tenant is None and not is_open:
            message = "Incorrect API key provided." if given else "You did not provide an API key."
            raise ApiError(401, message, code="invalid_api_key")
        scope["tenant"] = tenant or ""


def family_of(scope: Scope) -> None:
    """Set `scope["family"]` and `scope["mounted"]`, and take the family's mount prefix (`/openai`, `/anthropic`,
    `/gemini`) off the path. What two families share, as `/v1/files`, is told apart by the headers of their SDKs."""
    path = scope["path"]
    scope["mounted"] = True
    for name in ("openai", "anthropic", "gemini"):
        if path.startswith(f"/{name}/"):
            scope["family"], scope["path"] = name, path[len(name) + 1 :]
            return
    scope["mounted"] = False
    headers = {name for name, _ in scope["headers"]}
    google = bool(headers & {b"x-goog-api-key", b"x-goog-api-client", b"x-goog-upload-command"})
    google = google or b"&key=" in b"&" + scope["query_string"]
    google = google or path.startswith(("/v1beta/", "/v1alpha/", "/upload/", "/download/"))
    if google or (path.startswith("/v1/models/") and ":" in path):
        scope["family"] = "gemini"
    elif path.startswith("/v1/messages") or b"anthropic-version" in headers:
        scope["family"] = "anthropic"
    else:
        scope["family"] = "openai"


def _given_key(scope: Scope) -> bytes | None:
    """The key as any family sends it: `Authorization: Bearer`, `x-api-key` (Anthropic), `x-goog-api-key` or `key=` in
    the address (Google)."""
    headers = dict(scope["headers"])
    if (bearer := headers.get(b"authorization")) is not None:
        scheme, _, key = bearer.partition(b" ")
        return bytes(key.strip()) if scheme.lower() == b"bearer" else b""
    for name in (b"x-api-key", b"x-goog-api-key"):
        if name in headers:
            return bytes(headers[name].strip())
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query["key"][0].encode() if "key" in query else None


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
