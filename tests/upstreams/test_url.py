from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from overnight.errors import ProviderError, UsageError
from overnight.upstreams.url import UrlUpstream

CHAT = "/v1/chat/completions"
MODELS = {"object": "list", "data": [{"id": "m-1", "object": "model"}, {"id": "m-2", "object": "model"}]}


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def against(
    answer: Callable[[web.Request], Awaitable[web.Response]],
    use: Callable[[UrlUpstream], Awaitable[Any]],
    path: str = "/v1",
) -> Any:
    async def run() -> Any:
        async with serving(answer) as url:
            upstream = UrlUpstream(url + path, "sk-test")
            try:
                return await use(upstream)
            finally:
                await upstream.close()

    return asyncio.run(run())


async def models_under_v1(request: web.Request) -> web.Response:
    return web.json_response(MODELS) if request.path == "/v1/models" else web.json_response({}, status=404)


def test_a_request_is_sent_once_with_key_and_body_under_the_base_url() -> None:
    seen: list[tuple[str, str | None, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("authorization"), await request.read()))
        return web.json_response({"id": "x"}, headers={"x-request-id": "req_9"})

    reply = against(answer, lambda upstream: upstream.answer(CHAT, b'{"model":"m"}'), "/deep/v1/")
    assert seen == [("/deep/v1/chat/completions", "Bearer sk-test", b'{"model":"m"}')]
    assert (reply.status, reply.body, reply.request_id, reply.retry_after) == (200, b'{"id": "x"}', "req_9", None)


def test_errors_are_passed_on_with_their_wait_and_never_repeated() -> None:
    calls = 0

    async def busy(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "7"})

    reply = against(busy, lambda upstream: upstream.answer(CHAT, b"{}"))
    assert (reply.status, reply.retry_after, calls) == (429, 7.0, 1)


def test_no_answer_is_a_provider_error() -> None:
    async def gone(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with pytest.raises(ProviderError):
        against(gone, lambda upstream: upstream.answer(CHAT, b"{}"))


def test_models_and_start() -> None:
    async def use(upstream: UrlUpstream) -> Any:
        await upstream.start()
        return await upstream.models()

    assert against(models_under_v1, use) == ("m-1", "m-2")


def test_a_base_url_without_v1_is_pointed_out() -> None:
    with pytest.raises(UsageError, match=r"no API at http://127\.0\.0\.1:\d+, but one at http://127\.0\.0\.1:\d+/v1"):
        against(models_under_v1, lambda upstream: upstream.start(), "")


def test_a_refused_key_is_the_callers() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no"}}, status=401)

    with pytest.raises(UsageError, match="refuses the key") as caught:
        against(refuse, lambda upstream: upstream.start())
    assert "sk-test" not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>", "[]", '{"data": 3}', "\xff"])
def test_an_api_without_a_list_of_models_still_starts(body: str) -> None:
    async def odd(request: web.Request) -> web.Response:
        return web.Response(body=body.encode("latin-1"))

    async def use(upstream: UrlUpstream) -> None:
        await upstream.start()
        with pytest.raises(ProviderError):
            await upstream.models()

    against(odd, use)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError):
        UrlUpstream("localhost:8000/v1")
