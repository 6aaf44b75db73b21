"""How a server says no: an HTTP status and the error envelope."""

from __future__ import annotations

import orjson

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


class Refusal(Exception):
    """A request that is answered with an error. The message never holds prompt or output."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> bytes:
        """The envelope `{"error": {"message", "type", "param", "code"}}` as JSON."""
        kind = SERVER_ERROR if self.status >= 500 else INVALID_REQUEST
        return orjson.dumps({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
