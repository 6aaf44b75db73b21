"""Between OpenAI's words and the runtime's: what is asked of the child, and what is made of its answers. Pure.

The runtime takes and ignores a good deal that it cannot do, and answers as if it had. So what goes to it is an
allow-list; the rest is refused by name.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from overnight.types import Tokens
from overnight.upstreams import asked
from overnight.upstreams.answer_schemas import Check, answer_check
from overnight.upstreams.model_files import Model
from overnight.wire.openai.bodies import chat_completion, embeddings
from overnight.wire.openai.refusal import Refusal

_PASSED: Final = frozenset(
    {"temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty"}
    | {"logit_bias", "top_k", "min_p", "repeat_penalty"}
)
_READ: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "response_format", "n", "stream", "tool_choice"}
)
_WITHOUT_EFFECT: Final = frozenset(
    {"user", "metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier", "parallel_tool_calls"}
    | {"reasoning_effort", "verbosity", "stream_options"}
)
_EMBEDDINGS_READ: Final = frozenset({"model", "input", "encoding_format", "user", "dimensions"})


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""
    n_ctx: int = 0
    n_prompt_tokens: int = 0


class _Failed(msgspec.Struct):
    error: _Error


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the child gets it, and what its answer must keep to."""

    body: bytes
    check: Check | None = None
    top_logprobs: int = 0


def chat_asked(chat: Mapping[str, Any]) -> Asked:
    """Raises `Refusal` (400) for what the model cannot do."""
    for name, value in chat.items():
        if name not in _PASSED | _READ | _WITHOUT_EFFECT and value not in (None, []):
            raise Refusal(f"Unsupported parameter: '{name}'.", param=name, code="unsupported_parameter")
    asked.one_choice(chat)
    kind, schema = asked.answer_format(chat)
    check = answer_check(schema) if schema is not None else _is_object if kind == "json_object" else None
    sent: dict[str, Any] = {name: chat[name] for name in chat if name in _PASSED and chat[name] is not None}
    sent["messages"] = asked.messages(chat)
    limit = asked.output_limit(chat)
    if limit is not None:
        sent["max_tokens"] = limit
    if kind != "text":
        sent["response_format"] = chat["response_format"]
    top = sent.get("top_logprobs", 0)
    return Asked(orjson.dumps(sent), check, top if isinstance(top, int) else 0)


def chat_answered(body: bytes, model: Model, order: Asked) -> dict[str, Any]:
    """The completion that the child's answer is. Raises `Refusal` (500, `invalid_answer`) where it ended by itself and
    does not hold to the schema: another try may give a better one. An answer that was cut says so by its
    `finish_reason` and is given as it is."""
    told = orjson.loads(body)
    choice = told["choices"][0]
    content = choice["message"].get("content")
    if order.check is not None and choice["finish_reason"] != "length" and not _holds(content, order.check):
        raise Refusal("The model's answer does not hold to the schema.", status=500, code="invalid_answer")
    return chat_completion(
        id=told["id"],
        created=told["created"],
        model=model.name,
        content=content,
        finish_reason=choice["finish_reason"],
        tokens=Tokens(input=told["usage"]["prompt_tokens"], output=told["usage"]["completion_tokens"]),
        logprobs=_logprobs(choice.get("logprobs"), order.top_logprobs),
    )


def embeddings_asked(request: Mapping[str, Any]) -> tuple[Asked, str]:
    """What the child is asked, and the encoding that the caller wants. Raises `Refusal` (400)."""
    for name, value in request.items():
        if value is not None and (name not in _EMBEDDINGS_READ or name == "dimensions"):
            raise Refusal(f"This model does not support '{name}'.", param=name, code="unsupported_parameter")
    encoding = asked.encoding_format(request)
    return Asked(orjson.dumps({"input": asked.embedding_inputs(request), "encoding_format": "float"})), encoding


def embeddings_answered(body: bytes, model: Model, encoding: str) -> dict[str, Any]:
    """The embeddings list that the child's answer is."""
    told = orjson.loads(body)
    return embeddings(
        model=model.name,
        vectors=(item["embedding"] for item in sorted(told["data"], key=lambda item: item["index"])),
        encoding_format=encoding,
        input_tokens=told["usage"]["prompt_tokens"],
    )


def refused(status: int, body: bytes) -> Refusal:
    """What an error of the child is to the caller. Its own texts are passed on only where they hold no prompt."""
    try:
        told = msgspec.json.decode(body, type=_Failed).error
    except msgspec.DecodeError:
        told = _Error()
    if told.type == "exceed_context_size_error":
        return Refusal(
            f"This model's maximum context length is {told.n_ctx} tokens. However, your request has "
            f"{told.n_prompt_tokens} tokens. Please reduce its length.",
            code="context_length_exceeded",
        )
    if status == 400 and told.message.startswith("Field '"):
        return Refusal(told.message)
    if 400 <= status < 500:
        return Refusal("The model's runtime refused the request.", code="invalid_request")
    return Refusal("The model's runtime failed.", status=500, code="runtime_failed")


def request_id() -> str:
    """A new id for one request."""
    return f"req_{secrets.token_hex(16)}"


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _holds(content: object, check: Check) -> bool:
    try:
        return check(orjson.loads(content if isinstance(content, str) else ""))
    except orjson.JSONDecodeError:
        return False


def _logprobs(told: Mapping[str, Any] | None, top: int) -> dict[str, Any] | None:
    """Without the runtime's own token numbers, and without alternatives that nobody asked for."""
    if told is None:
        return None
    content = [{**_token(one), "top_logprobs": list(map(_token, one["top_logprobs"][:top]))} for one in told["content"]]
    return {"content": content, "refusal": None}


def _token(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("token", "logprob", "bytes")}
