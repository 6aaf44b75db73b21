"""The fake OpenAI, and APIs made after it, as HTTP shows them: a request in, an answer out, without a socket.

`openai_server` puts it on loopback; `InProcess` is a transport for the real adapters, so that they run in virtual time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from overnight.errors import ProviderError
from overnight.http import Answer, Http
from overnight.testing.openai_fake import FakeOpenAI, NoAnswer, Refusal
from overnight.types import Failure, FailureKind


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; header names in small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer. `cut`: the connection ends half way through its body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


def show(fake: FakeOpenAI, asked: Asked) -> Shown:
    """The answer to a request. Raises `NoAnswer` where the connection is closed instead."""
    try:
        return _Face(fake, asked).answer()
    except Refusal as refusal:
        return Shown(refusal.status, fake.flavour.error(refusal), {"content-type": "application/json"})


class _Face:
    def __init__(self, fake: FakeOpenAI, asked: Asked) -> None:
        self.fake = fake
        self.flavour = fake.flavour
        self.asked = asked
        self.key = fake.flavour.key(asked.headers)

    def answer(self) -> Shown:
        flavour, asked = self.flavour, self.asked
        flavour.check_query(asked.query, asked.method == "GET")
        path = asked.path.removeprefix(flavour.root)
        if asked.method == "POST" and path == flavour.uploads:
            return self._upload()
        for place, served in (("/files", self._files), (flavour.batches, self._batches)):
            if asked.path.startswith(flavour.root) and (path == place or path.startswith(f"{place}/")):
                return served(*map(unquote, path.removeprefix(place).strip("/").split("/")))
        raise Refusal("Not found", status=404)

    def _upload(self) -> Shown:
        form = form_of(self.asked.headers.get("content-type", ""), self.asked.body)
        filename, data = form.get("file", ("", b""))
        if "file_name" in form:
            filename = form["file_name"][1].decode()
        purpose = form.get("purpose", ("", b""))[1].decode()
        if purpose != self.flavour.purpose:
            raise Refusal("Invalid purpose", param="purpose")
        self.flavour.check_lines(data)
        return self._json(self.flavour.file(self.fake.upload(self.key, filename, data, "batch")))

    def _files(self, id: str, part: str = "") -> Shown:
        match self.asked.method, id, part:
            case "GET", "", "":
                window = self.flavour.window(self.asked.query, 10_000)
                page = self.fake.files(self.key, *window, self.asked.query.get("purpose"))
                return self._json(self.flavour.file_list(page, self.asked.query))
            case "GET", _, "":
                return self._json(self.flavour.file(self.fake.file(self.key, id)))
            case "GET", _, "content":
                data, cut = self.fake.content(self.key, id)
                return Shown(200, data, {"content-type": "application/octet-stream"}, cut)
            case "DELETE", _, "":
                return self._json(self.fake.delete_file(self.key, id))
            case _:
                raise Refusal("Not found", status=404)

    def _batches(self, id: str, part: str = "") -> Shown:
        match self.asked.method, id, part:
            case "POST", "", "":
                body = self.flavour.asked(orjson.loads(self.asked.body))
                status, document = self.flavour.made(self.fake.create(self.key, body))
                return self._json(document, status)
            case "GET", "", "":
                page = self.fake.batches(self.key, *self.flavour.window(self.asked.query, 100))
                return self._json(self.flavour.batch_list(page, self.asked.query))
            case "GET", _, "":
                return self._json(self.flavour.batch(self.fake.batch(self.key, id)))
            case "POST", _, "cancel":
                return self._json(self.flavour.batch(self.fake.cancel(self.key, id)))
            case _:
                raise Refusal("Not found", status=404)

    def _json(self, document: Any, status: int = 200) -> Shown:
        headers = {"content-type": "application/json", "x-request-id": f"req_{len(self.fake.calls):06d}"}
        if self.fake.quirks.names_account and self.flavour.name == "openai":
            headers["openai-organization"] = self.fake.accounts[self.key]
        if self.fake.quirks.home is not None:
            headers["overnight-server"] = f"0; home={self.fake.quirks.home}"
        return Shown(status, orjson.dumps(document), headers)


def form_of(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The parts of a multipart form by name: file name (empty where it has none) and bytes."""
    mark = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    parts: dict[str, tuple[str, bytes]] = {}
    for part in body.split(mark)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        told = dict(word.strip().partition("=")[::2] for word in head.decode().split("\r\n")[1].split(";"))
        parts[told["name"].strip('"')] = told.get("filename", "").strip('"'), data.removesuffix(b"\r\n")
    return parts


class InProcess(Http):
    """The transport of `http` over a fake of this process: with its retries, without connections."""

    def __init__(self, fake: FakeOpenAI, base_url: str, headers: Mapping[str, str], **more: Any) -> None:
        super().__init__(base_url, headers, **more)
        self._fake = fake

    async def _send(
        self,
        method: str,
        path: str,
        timeout: float,
        *,
        query: Mapping[str, str] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        content_type: str | None = None,
        write: Any = None,
        **_: Any,
    ) -> Answer:
        body = data if isinstance(data, bytes) else b"" if data is None else b"".join([piece async for piece in data])
        headers = {**{name.lower(): value for name, value in self._headers.items()}, "content-type": content_type or ""}
        root = "/" + self.base_url.partition("://")[2].partition("/")[2]
        asked = Asked(method, root.rstrip("/") + path, {**self._query, **(query or {})}, headers, body)
        try:
            shown = show(self._fake, asked)
        except NoAnswer:
            raise ProviderError(_LOST) from None
        if shown.status >= 300 or write is None:
            return Answer(shown.status, shown.headers, shown.body)
        write(shown.body[: len(shown.body) // 2] if shown.cut else shown.body)
        if shown.cut and not self._fake.quirks.cut_cleanly:
            raise ProviderError(_LOST)
        return Answer(shown.status, shown.headers, b"")


_LOST = Failure(FailureKind.TRANSIENT, "fake: the connection ended before the answer did", "no_answer")
