"""The requests of a create call of Anthropic's family: checked, and written as lines, while they come.

Checked is what concerns ids; everything inside `params` is found out when the row's turn comes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from overnight.ports import BlobWriter
from overnight.server.replies import ApiError
from overnight.types import Endpoint
from overnight.wire import anthropic
from overnight.wire.anthropic.entries import NOT_JSON, Entries

MOST_ROWS: Final = 100_000
MOST_ENTRY: Final = 32 * 1024 * 1024  # bytes, as of a real-time request
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class _Entry(msgspec.Struct):
    custom_id: Any = None
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Entry).decode


class MessageRows:
    """Takes the body piece by piece. Blocks: call from a thread, one at a time. What cannot be raises `ApiError`."""

    def __init__(self, writer: BlobWriter, hashed: bool) -> None:
        """`hashed`: the digest of the body is wanted."""
        self._writer = writer
        self._entries = Entries(MOST_ENTRY)
        self._seen: set[str] = set()
        self._hash = hashlib.sha256() if hashed else None

    def take(self, data: bytes) -> None:
        """The next piece."""
        if self._hash is not None:
            self._hash.update(data)
        try:
            entries = self._entries.feed(data)
        except ValueError as error:
            raise ApiError(400, str(error)) from None
        self._writer.write(b"".join(map(self._line, entries)))

    def finish(self) -> int:
        """The body has ended: the lines are published. How many there are."""
        try:
            self._entries.end()
        except ValueError as error:
            raise ApiError(400, str(error)) from None
        self._writer.commit()
        return len(self._seen)

    @property
    def digest(self) -> str:
        """sha256 of the body; empty where it was not wanted."""
        return "" if self._hash is None else self._hash.hexdigest()

    def _line(self, entry: bytes) -> bytes:
        where = f"requests.{len(self._seen)}"
        try:
            entry.decode()
            read = _decode(entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(400, f"{NOT_JSON}: {where}: {error}") from None
        id = self._checked(read.custom_id, where)
        if isinstance(read.params, msgspec.UnsetType):
            raise ApiError(400, f"{where}.params: Field required")
        self._seen.add(id)
        if len(self._seen) > MOST_ROWS:
            raise ApiError(400, f"requests: List should have at most {MOST_ROWS} items after validation")
        params = bytes(read.params)
        if b"\n" in params:
            params = msgspec.json.format(params, indent=-1)
        return anthropic.request_line(id, Endpoint.MESSAGES, params)

    def _checked(self, id: object, where: str) -> str:
        if id is None:
            raise ApiError(400, f"{where}.custom_id: Field required")
        if not isinstance(id, str):
            raise ApiError(400, f"{where}.custom_id: Input should be a valid string")
        if len(id) > 64:
            raise ApiError(400, f"{where}.custom_id: String should have at most 64 characters")
        if not _ID.fullmatch(id):
            raise ApiError(400, f"{where}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if id in self._seen:
            message = f"requests: custom_id's must be unique within a batch. Duplicate custom_id found: {id}"
            raise ApiError(400, message)
        return id
