"""The HTTP transport: the only file that knows the HTTP library.

What must hold because money hangs on it: a POST leaves at most once, on whatever connection, and never after its
deadline; redirects are never followed; nothing of the environment (netrc, proxy variables) changes where a request goes
or what it carries. Only requests that are harmless when they arrive twice are tried again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import urlsplit

import aiohttp

from overnight import __version__
from overnight.errors import ProviderError, UsageError
from overnight.types import Failure, FailureKind

CHUNK = 1 << 19
UPLOADS = 4  # at the same time; each holds a few chunks, and more of them are not faster
TRIES = 4
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
MOST_PATIENCE = 30.0  # seconds; an answer that asks for more is given to the caller, who knows what else there is to do
KEEPALIVE = 4.0  # seconds; common servers close an idle connection after 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer of any status; `headers` are looked up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait (`retry-after-ms`, `retry-after` in seconds or as a date), or None."""
        with suppress(ValueError):
            if (milliseconds := self.headers.get("retry-after-ms")) is not None:
                return max(0.0, float(milliseconds) / 1000)
        text = self.headers.get("retry-after")
        if text is None:
            return None
        with suppress(ValueError):
            return max(0.0, float(text))
        with suppress(ValueError):
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._sent_at())
        return None

    def _sent_at(self) -> float:
        """By the server's own clock where it tells it: a date of its own is meant by that clock."""
        with suppress(ValueError):
            return parsedate_to_datetime(self.headers["date"]).timestamp() if "date" in self.headers else time.time()
        return time.time()


def boot_seconds() -> float:
    """Seconds that really passed since some start, sleep of the machine included where the system counts it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Http:
    """One API behind one base URL. Calls return an `Answer` whatever its status, and raise `ProviderError` (transient,
    without a status) where no whole answer came. Paths are relative to the base URL and start with `/`. `authorize` is
    asked before every request for the headers that authorize it, and may raise errors of its own; `query` goes with
    every request."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        proxy: str | None = None,
        connect_timeout: float = 15.0,
        read_timeout: float = 120.0,
        connections: int = 100,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        elapsed: Callable[[], float] = boot_seconds,
        authorize: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
    ) -> None:
        self.base_url = checked_base_url(base_url)
        self.host = urlsplit(self.base_url).netloc
        self._headers = {"user-agent": f"overnight/{__version__}", "accept": "application/json", **checked(headers)}
        self._proxy = None if is_loopback(urlsplit(self.base_url).hostname or "") else proxy
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout, sock_read=read_timeout)
        self._connections = connections
        self._sleep = sleep
        self._jitter = jitter
        self._uploads = asyncio.Semaphore(UPLOADS)
        self._elapsed = elapsed
        self._authorize = authorize
        self._query = query or {}
        self._shared: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, timeout: float = 120.0) -> Answer:
        """GET, tried again where that may help."""
        return await self._patiently(lambda: self._send("GET", path, timeout, query=query))

    async def delete(self, path: str, *, timeout: float = 120.0) -> Answer:
        """DELETE, tried again where that may help: a later try may answer 404 because an earlier one worked."""
        return await self._patiently(lambda: self._send("DELETE", path, timeout))

    async def post(self, path: str, body: bytes, *, timeout: float = 120.0) -> Answer:
        """POST of JSON, exactly once, on a pooled connection."""
        return await self._send("POST", path, timeout, data=body, content_type="application/json")

    async def post_alone(
        self, path: str, body: bytes | Iterator[bytes], *, timeout: float, size: int | None = None
    ) -> Answer:
        """POST of JSON, exactly once, on a connection made for it and closed after it. Nothing of the body leaves later
        than `timeout` seconds of real time after the call, even when this process or machine stood still meanwhile. A
        body in pieces (made in a worker thread, never empty) needs its `size`; where it turns out to be another, the
        body stays unfinished."""
        latest = self._elapsed() + timeout
        pieces = iter((body,)) if isinstance(body, bytes) else body
        length = len(body) if isinstance(body, bytes) else size
        assert length is not None

        async def content() -> AsyncIterator[bytes]:
            left = length
            while left > 0:
                piece = next(pieces, b"") if isinstance(body, bytes) else await asyncio.to_thread(next, pieces, b"")
                if self._elapsed() > latest:
                    raise TimeoutError("too late to send")
                if not piece or len(piece) > left:
                    raise ConnectionError("the body is not as long as it was said to be")
                left -= len(piece)
                yield piece

        return await self._send(
            "POST", path, timeout, data=content(), size=length, content_type="application/json", alone=True
        )

    async def upload(
        self, path: str, fields: Sequence[tuple[str, str]], content: Callable[[], BinaryIO], size: int, filename: str
    ) -> Answer:
        """POST of a multipart form whose last part, `file`, is `content`. Tried again also where its fate is unknown: a
        file stored twice costs nothing. So `content` is called once a try."""
        boundary = secrets.token_hex(16)
        head, tail = _multipart(boundary, fields, filename)
        timeout = 120.0 + size / 100_000

        async def once() -> Answer:
            async with self._uploads:
                file = await asyncio.to_thread(content)
                try:
                    return await self._send(
                        "POST",
                        path,
                        timeout,
                        data=_parts(head, file, size, tail),
                        size=len(head) + size + len(tail),
                        content_type=f"multipart/form-data; boundary={boundary}",
                    )
                finally:
                    file.close()

        return await self._patiently(once)

    async def post_harmless(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST of JSON that may arrive twice without harm, tried again where that may help."""
        return await self._patiently(
            lambda: self._send("POST", path, 120.0, data=body, content_type="application/json", more=headers)
        )

    async def post_part(self, path: str, file: BinaryIO, size: int, headers: Mapping[str, str]) -> Answer:
        """POST of the next `size` bytes of an open file, exactly once: what became of it is for the caller to ask."""
        async with self._uploads:
            return await self._send(
                "POST",
                path,
                120.0 + size / 100_000,
                data=_pieces(file, size),
                size=size,
                content_type="application/octet-stream",
                more=headers,
            )

    async def download(self, path: str, write: Callable[[bytes], object], *, timeout: float = 3600.0) -> Answer:
        """GET once; the body of a 2xx goes to `write` in a worker thread, chunk by chunk, and not into the answer.
        Raises `ProviderError` when the connection ends before the body does."""
        return await self._send("GET", path, timeout, accept="application/binary", write=write)

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._shared, self._single):
            if session is not None:
                await session.close()
        self._shared = self._single = None

    async def _patiently(self, send: Callable[[], Awaitable[Answer]]) -> Answer:
        for number in range(1, TRIES):
            wait = 0.5 * 2**number * (0.5 + self._jitter() / 2)
            try:
                answer = await send()
            except ProviderError as error:
                if error.failure.kind is not FailureKind.TRANSIENT:
                    raise
                await self._sleep(wait)
                continue
            asked = answer.retry_after or 0.0
            if answer.status not in AGAIN or asked > MOST_PATIENCE:
                return answer
            await self._sleep(max(wait, asked))
        return await send()

    async def _send(
        self,
        method: str,
        path: str,
        timeout: float,
        *,
        query: Mapping[str, str] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        size: int | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        alone: bool = False,
        write: Callable[[bytes], object] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = dict(more or {})
        if content_type:
            headers["content-type"] = content_type
        if accept:
            headers["accept"] = accept
        if size is not None:
            headers["content-length"] = str(size)
        if self._authorize is not None:
            headers |= checked(await self._authorize())
        session = self._session(alone)
        try:
            async with (
                asyncio.timeout(timeout),
                session.request(
                    method,
                    self.base_url + path,
                    params={**self._query, **(query or {})} or None,
                    data=data,
                    headers=headers,
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as response,
            ):
                if write is None or not 200 <= response.status < 300:
                    return Answer(response.status, response.headers, await response.read())
                async for chunk in response.content.iter_chunked(CHUNK):
                    await asyncio.to_thread(write, chunk)
                return Answer(response.status, response.headers, b"")
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise ProviderError(self._failure(error, timeout)) from None

    def _session(self, alone: bool) -> aiohttp.ClientSession:
        """Made at the first call: a session belongs to the running loop."""
        if alone:
            if self._single is None:
                self._single = self._new_session(aiohttp.TCPConnector(force_close=True))
            return self._single
        if self._shared is None:
            connector = aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE, limit=self._connections)
            self._shared = self._new_session(connector)
        return self._shared

    def _new_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    def _failure(self, error: Exception, timeout: float) -> Failure:
        """The library's own texts are not used: they may name a proxy with its password."""
        reason, unsent = _reason(error, timeout)
        return Failure(FailureKind.TRANSIENT, f"{self.host}: {reason}", code="no_answer", proves_refusal=unsent)


def checked_base_url(url: str) -> str:
    """The base URL without a slash at its end. Raises `UsageError`."""
    wrong = UsageError("base_url is no http or https address: give it like https://api.openai.com/v1")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or any(c.isspace() for c in url):
        raise wrong
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(f"base_url (of {parts.hostname}) must hold no password, query or fragment: remove it")
    return url.rstrip("/")


def checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, when they can be sent. Raises `UsageError`, without the value: it may be a key."""
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise UsageError(f"the value for the header {name} holds characters that no header can: check the key")
    return headers


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its name or number alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: Exception, timeout: float) -> tuple[str, bool]:
    """What went wrong, for people, and whether the request certainly never left: no connection was made."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host name is not known", True
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"no secure connection ({_tls_reason(error)})", True
        case aiohttp.ClientProxyConnectionError():
            return "the proxy cannot be reached", True
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return f"cannot be reached ({os.strerror(number).lower() if number else 'no connection'})", True
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered HTTP {error.status}", True
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time", False
        case aiohttp.ServerTimeoutError():
            return "no answer in time", False
        case TimeoutError():
            return f"no whole answer within {timeout:.0f} s", False
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | ConnectionError():
            return "the connection ended before the answer did", False
        case _:
            return f"no readable answer ({type(error).__name__})", False


def _tls_reason(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else "TLS failed"


def _multipart(boundary: str, fields: Sequence[tuple[str, str]], filename: str) -> tuple[bytes, bytes]:
    quoted = filename.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()


async def _parts(head: bytes, file: BinaryIO, size: int, tail: bytes) -> AsyncIterator[bytes]:
    """A generator, so that nothing below can send the file twice."""
    yield head
    async for piece in _pieces(file, size):
        yield piece
    if await asyncio.to_thread(file.read, 1):
        raise ConnectionError("the file is longer than it was")
    yield tail


async def _pieces(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    left = size
    while left:
        piece = await asyncio.to_thread(file.read, min(CHUNK, left))
        if not piece:
            raise ConnectionError("the file is not as long as it was")
        left -= len(piece)
        yield piece
