"""The body of a create call, `{"requests":[...]}`, split into its entries while it comes: never more of it is held than
one entry and what came last."""

from __future__ import annotations

import re
from typing import Final

import msgspec

MOST_AROUND: Final = 64 * 1024
"""Bytes before and after the list together with its brackets."""
NOT_JSON: Final = "The request body is not valid JSON"

_OPEN: Final = re.compile(rb'\s*+\{\s*+"requests"\s*+:\s*+\[')
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_CLOSE: Final = re.compile(rb"\s*+\}\s*+")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[{}\[\]]', re.DOTALL)
_REST_OF_TEXT: Final = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_OPENING: Final = b"{["
_VALUES: Final = b'["-0123456789tfn'

# What may stand between two entries.
_FIRST, _NEXT, _AFTER = b"{]", b"{", b",]"


class Entries:
    """Fed with the body piece by piece. Entries are objects by their brackets; whether they are JSON is for their
    reader to see. Every error is a ValueError in the words of the API."""

    def __init__(self, most: int) -> None:
        """`most`: bytes of the longest entry."""
        self._most = most
        self._rest = b""
        self._place = "before"  # the list, then "in" it, then "after"
        self._awaited = _FIRST
        self._number = 0
        self._depth = 0  # of the entry that has begun; 0: none has
        self._scanned = 0  # bytes of the rest that were looked at
        self._in_text = False

    def feed(self, data: bytes) -> list[bytes]:
        """The entries that are whole now."""
        self._rest += data
        found: list[bytes] = []
        if self._place == "before":
            self._begin()
        if self._place == "in":
            at = self._split(found)
            self._rest = self._rest[at:]
            self._scanned = max(0, self._scanned - at)
            if self._place == "in" and len(self._rest) > self._most:
                raise ValueError(f"requests.{self._number}: a request may have up to {self._most:,} bytes")
        if self._place == "after" and len(self._rest) > MOST_AROUND:
            raise ValueError(f"{NOT_JSON}: too much follows the requests")
        return found

    def end(self) -> None:
        """The body has ended. Raises where it was not whole, or had no requests."""
        if self._place == "before":
            raise ValueError(_what_it_is(self._rest))
        if self._place == "in":
            raise ValueError(f"{NOT_JSON}: it ends before the requests do")
        if not _CLOSE.fullmatch(self._rest):
            raise ValueError(f"{NOT_JSON}: something else than its end follows the requests")
        if not self._number:
            raise ValueError("requests: List should have at least 1 item after validation, not 0")

    def _begin(self) -> None:
        opened = _OPEN.match(self._rest)
        if opened is not None:
            self._place = "in"
            self._rest = self._rest[opened.end() :]
        elif len(self._rest) > MOST_AROUND:
            raise ValueError("requests: Field required, before all others")

    def _split(self, found: list[bytes]) -> int:
        """Gather the whole entries; how many bytes are done with."""
        buffer, at = self._rest, 0
        while True:
            if not self._depth:
                at = self._step(buffer, at)
                if at == len(buffer) or self._place != "in":
                    return at
                if buffer[at] not in _OPENING[:1]:
                    continue
                self._scanned = at
            end = self._end_of_entry(buffer)
            if end is None:
                return at
            found.append(buffer[at:end])
            self._number += 1
            self._awaited = _AFTER
            at = end

    def _step(self, buffer: bytes, at: int) -> int:
        """Go over what stands between entries, up to the next one."""
        spaces = _SPACE.match(buffer, at)
        at = at if spaces is None else spaces.end()
        if at == len(buffer):
            return at
        char = buffer[at]
        if char not in self._awaited:
            if self._awaited is _AFTER or char not in _VALUES:
                raise ValueError(f"{NOT_JSON}: something else than a request stands before requests.{self._number}")
            raise ValueError(f"requests.{self._number}: Input should be an object")
        if char == b"{"[0]:
            return at
        if char == b","[0]:
            self._awaited = _NEXT
        else:
            self._place = "after"
        return at + 1

    def _end_of_entry(self, buffer: bytes) -> int | None:
        """Where the entry ends that has begun, None where it goes on; looks at no byte twice."""
        at = self._scanned
        if self._in_text:
            rest = _REST_OF_TEXT.match(buffer, at)
            at = at if rest is None else rest.end()
            self._scanned = at
            if rest is None or not rest[1]:
                return None
            self._in_text = False
        for token in _TOKEN.finditer(buffer, at):
            first = buffer[token.start()]
            if first == b'"'[0]:
                if not token[1]:
                    self._in_text, self._scanned = True, token.end()
                    return None
            elif first in _OPENING:
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return token.end()
        self._scanned = len(buffer)
        return None


def _what_it_is(body: bytes) -> str:
    """Why a body that holds no list of requests is none."""
    if not body.strip():
        return f"{NOT_JSON}: it is empty"
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"{NOT_JSON}: {error}"
    if not isinstance(document, dict):
        return "Input should be an object"
    if "requests" not in document:
        return "requests: Field required"
    if not isinstance(document["requests"], list):
        return "requests: Input should be a valid list"
    return "requests: must be the first field"
