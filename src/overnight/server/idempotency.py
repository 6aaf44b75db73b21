"""`Idempotency-Key`, an extension: the same key with the same body gets the first answer again."""

from __future__ import annotations

import hashlib

import msgspec
from starlette.requests import Request

from overnight.errors import Conflict
from overnight.ports import Clock, ObjectStore
from overnight.server.replies import ApiError

KIND = "idempotency"
MOST_KEY = 255


class Promise(msgspec.Struct, frozen=True):
    """What a key stands for: the digest of the body it came with, and the document that its first request made."""

    digest: str
    doc: msgspec.Raw


class Idempotency:
    """The keys of all tenants."""

    def __init__(self, objects: ObjectStore, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    async def first(self, request: Request, digest: str, doc: bytes | None = None) -> bytes | None:
        """The document of the first request with this key, or None: there is no key, or this is the first. With
        `doc` the first request leaves it as its promise. Raises 409 for a key that came with another body."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        if not 1 <= len(key) <= MOST_KEY:
            raise ApiError(400, f"The Idempotency-Key must have 1 to {MOST_KEY} characters.", code="invalid_value")
        tenant = request.scope["tenant"]
        name = hashlib.sha256(f"{request.url.path}\0{key}".encode()).hexdigest()
        if doc is not None:
            promise = msgspec.json.encode(Promise(digest, msgspec.Raw(doc)))
            try:
                await self._objects.insert(KIND, tenant, name, "", self._clock.now(), promise)
            except Conflict:
                pass
            else:
                return None
        stored = await self._objects.get(KIND, tenant, name)
        if stored is None:
            return None
        promised = msgspec.json.decode(stored.doc, type=Promise)
        if promised.digest != digest:
            message = "This Idempotency-Key was used with another request body."
            raise ApiError(409, message, code="idempotency_key_reused")
        return bytes(promised.doc)
