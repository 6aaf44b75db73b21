"""The embedded models: real ones, small enough to run anywhere, for a pipeline that can be shown without a key."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from overnight.errors import LocalError, UsageError
from overnight.ports import UpstreamReply
from overnight.types import Endpoint
from overnight.upstreams import asked, local_words, model_files
from overnight.upstreams.child import Child
from overnight.wire.openai.refusal import Refusal
from overnight.wire.openai.responses import chat_to_response, responses_to_chat

SLOTS: Final = 4
PER_SLOT: Final = 2
"""Requests per slot that are worth having here: one runs, one waits, so that no slot is ever idle."""


class LocalUpstream:
    """SmolLM2-135M-Instruct (or a GGUF file of the user's) for chat and responses, all-MiniLM-L6-v2 for embeddings,
    each in a child process of its own on loopback; the second is started when the first text is to be embedded.

    Refused with 400, by name: streams, several choices, tools, images, schemas with other keywords than
    `answer_schemas.KEYWORDS`, prompts longer than the context. An answer that does not hold to its schema is an error
    reply, 500 with the code `invalid_answer`."""

    name = "local"
    concurrency = SLOTS * PER_SLOT

    def __init__(self, folder: Path, gguf: Path | None = None) -> None:
        """`folder`: where model files are kept, made where it is missing. `gguf`: a chat model of the user's instead of
        SmolLM2, served under the file's name. Raises `UsageError` where that is no GGUF file."""
        chat = model_files.CHAT if gguf is None else model_files.own(gguf)
        self._children = [Child(chat, folder, SLOTS), Child(model_files.EMBEDDINGS, folder, SLOTS)]

    async def start(self) -> None:
        """Fetch the chat model where this machine has it not, and start it. Raises `UsageError` and `LocalError`."""
        for module in ("xllamacpp", "gguf"):
            if importlib.util.find_spec(module) is None:
                raise UsageError(f"the embedded model needs {module}: pip install 'overnight[local]'")
        await self._children[0].start()

    async def close(self) -> None:
        """Stop the children; requests in flight have ten seconds to end."""
        for child in self._children:
            await child.stop()

    async def models(self) -> Sequence[str]:
        """The names that stand in answers, then the shorter ones that are understood as well."""
        models = [child.model for child in self._children]
        return (*(model.name for model in models), *(alias for model in models for alias in model.aliases))

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        """The reply to one request, errors in OpenAI's envelope. Raises `ProviderError` where the child died over it;
        the next request starts it again."""
        request_id = local_words.request_id()
        try:
            reply = await self._reply(endpoint, asked.request(body))
        except Refusal as refusal:
            return UpstreamReply(refusal.status, refusal.body(), request_id)
        return UpstreamReply(200, orjson.dumps(reply), request_id)

    async def _reply(self, endpoint: str, request: Mapping[str, Any]) -> dict[str, Any]:
        match endpoint:
            case Endpoint.CHAT:
                return await self._chat(request)
            case Endpoint.RESPONSES:
                return chat_to_response(await self._chat(responses_to_chat(request)), request)
            case Endpoint.EMBEDDINGS:
                child = self._child(request["model"], "embeddings")
                order, encoding = local_words.embeddings_asked(request)
                told = await _told(child, "/v1/embeddings", order.body)
                return local_words.embeddings_answered(told, child.model, encoding)
            case _:
                raise Refusal(f"Invalid URL (POST {endpoint})", status=404)

    async def _chat(self, chat: Mapping[str, Any]) -> dict[str, Any]:
        child = self._child(chat["model"], "chat")
        order = local_words.chat_asked(chat)
        told = await _told(child, "/v1/chat/completions", order.body)
        return local_words.chat_answered(told, child.model, order)

    def _child(self, asked_for: str, task: model_files.Task) -> Child:
        for child in self._children:
            if asked_for == child.model.name or asked_for in child.model.aliases:
                if child.model.task != task:
                    raise Refusal(f"The model '{asked_for}' does not do {task}.", param="model")
                return child
        message = f"The model '{asked_for}' does not exist or you do not have access to it."
        raise Refusal(message, status=404, param="model", code="model_not_found")


async def _told(child: Child, path: str, body: bytes) -> bytes:
    try:
        answer = await child.post(path, body)
    except (UsageError, LocalError) as error:  # it does not start, so nothing ran
        raise Refusal(str(error), status=503, code="model_unavailable") from None
    if answer.status != 200:
        raise local_words.refused(answer.status, answer.body)
    return answer.body
