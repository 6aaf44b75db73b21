"""Any OpenAI-compatible real-time API: vLLM, SGLang, llama.cpp, Ollama, a proxy, a hosted one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from overnight.errors import ProviderError, UsageError
from overnight.http import Answer, Http
from overnight.ports import UpstreamReply
from overnight.types import Failure, FailureKind

log = logging.getLogger(__name__)

CONCURRENCY: Final = 32
LONGEST: Final = 600.0  # seconds for one answer


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class UrlUpstream:
    """`ports.Upstream` over HTTP. `base_url` is what the SDKs call so: what stands before `/chat/completions`, most
    often ending in `/v1`. Each request is sent once; statuses and bodies are passed on as they come."""

    name = "url"

    def __init__(self, base_url: str, api_key: str | None = None, concurrency: int = CONCURRENCY) -> None:
        """`concurrency`: requests in flight. Raises `UsageError` for what is no http address."""
        self.concurrency = concurrency
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = Http(base_url, self._headers, read_timeout=LONGEST, connections=concurrency)

    async def start(self) -> None:
        """Look whether the API is there. Raises `UsageError` where it refuses the key or lies under `/v1`, and
        `ProviderError` where nothing answers. An API without a list of models is taken as it is."""
        answer = await self._http.get("/models", timeout=30.0)
        if answer.status in (401, 403):
            raise UsageError(f"{self._http.base_url} refuses the key (status {answer.status}): set the right one")
        if _names(answer) is None:
            await self._look_below()
            log.warning("%s lists no models (status %d)", self._http.base_url, answer.status)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def models(self) -> Sequence[str]:
        """Names by `GET /models`. Raises `ProviderError` where the API does not tell."""
        answer = await self._http.get("/models", timeout=30.0)
        names = _names(answer)
        if names is None:
            message = f"{self._http.base_url} lists no models (status {answer.status})"
            raise ProviderError(Failure(FailureKind.PERMANENT, message, status=answer.status))
        return names

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        """See `ports.Upstream`."""
        answer = await self._http.post(endpoint.removeprefix("/v1"), body, timeout=LONGEST)
        return UpstreamReply(answer.status, answer.body, answer.headers.get("x-request-id"), answer.retry_after)

    async def _look_below(self) -> None:
        """Raises `UsageError` where the API is one step further down, the most common slip."""
        below = Http(f"{self._http.base_url}/v1", self._headers)
        try:
            if _names(await below.get("/models", timeout=30.0)) is not None:
                raise UsageError(f"no API at {self._http.base_url}, but one at {below.base_url}: use that address")
        finally:
            await below.close()


def _names(answer: Answer) -> tuple[str, ...] | None:
    """The names in a list of models; None where the answer is none."""
    try:
        listed = msgspec.json.decode(answer.body, type=_Models) if answer.status == 200 else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if listed is None else tuple(model.id for model in listed.data)
