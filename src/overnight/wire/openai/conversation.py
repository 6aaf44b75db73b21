"""Bodies of chat completions into what they ask and say, and the completion that an answer makes: for whoever plays
another family's server in front of an API like OpenAI's, or sends a shard elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from overnight.types import Endpoint, Tokens
from overnight.wire.conversation import (
    Answered,
    AnswerFormat,
    Asked,
    Embedded,
    Finish,
    Media,
    Part,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    Unsayable,
)
from overnight.wire.openai.answers import vectors_of
from overnight.wire.openai.bodies import chat_completion
from overnight.wire.openai.refusal import Refusal
from overnight.wire.openai.responses import responses_to_chat

DIALECT = "OpenAI"
_SAME = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "verbosity",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "metadata",
        "store",
        "prompt_cache_key",
        "safety_identifier",
        "user",
    }
)
"""Parameters that the neutral request calls the same."""
_SILENT = frozenset({"stream", "stream_options", "service_tier"})
_LIMITS = ("max_completion_tokens", "max_tokens")
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.*)", re.DOTALL | re.ASCII)
_FINISHES: Mapping[str, Finish] = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOLS,
    "function_call": Finish.TOOLS,
    "content_filter": Finish.FILTER,
}
_WORDS: Mapping[Finish, str] = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOLS: "tool_calls",
    Finish.FILTER: "content_filter",
    Finish.REFUSAL: "stop",
}


def asked_of(endpoint: str, body: Mapping[str, Any]) -> Asked:
    """What a body of chat completions, responses or embeddings asks. Raises `Unsayable` for what has no neutral word,
    and ValueError (with the field's path) for what is no body."""
    if endpoint == Endpoint.EMBEDDINGS:
        return _embedding(body)
    if endpoint == Endpoint.RESPONSES:
        try:
            body = responses_to_chat(body)
        except Refusal as refusal:
            raise Unsayable(refusal.param or "body", DIALECT, refusal.message) from None
    elif endpoint != Endpoint.CHAT:
        raise Unsayable("endpoint", DIALECT, f"{endpoint} asks for something that no other API answers")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: is required and must not be empty")
    parameters: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in {"model", "messages", "response_format", *_LIMITS, *_SILENT}:
            continue
        if name == "n" and value == 1:
            continue
        if name not in _SAME:
            raise Unsayable(name, DIALECT, "has a field there that cannot be said otherwise")
        parameters[name] = value
    limits = [body[name] for name in _LIMITS if body.get(name) is not None]
    return Asked(
        model=_model(body),
        turns=tuple(_turn(message, f"messages[{at}]") for at, message in enumerate(messages)),
        limit=max(limits) if limits else None,
        parameters=parameters,
        answer=_format(body.get("response_format")),
    )


def answer_body(answered: Answered) -> dict[str, Any]:
    """The completion that says it."""
    body = chat_completion(
        id=answered.id if answered.id.startswith("chatcmpl-") else f"chatcmpl-{answered.id}",
        created=answered.created,
        model=answered.model,
        content=answered.text,
        finish_reason=_WORDS[answered.finish],
        tokens=answered.tokens,
        tool_calls=[
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answered.tool_calls
        ],
    )
    if answered.refusal is not None:
        message = body["choices"][0]["message"]
        message["refusal"] = answered.refusal
        if message["content"] == answered.refusal:
            message["content"] = None
    return body


def answered_of(body: Mapping[str, Any]) -> Answered:
    """What a completion says. Raises ValueError for what is none."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise ValueError("not a chat completion")
    calls = tuple(_call(call) for call in message.get("tool_calls") or () if isinstance(call, Mapping))
    text, refusal = message.get("content"), message.get("refusal")
    refused = refusal if isinstance(refusal, str) and refusal else None
    finish = _FINISHES.get(str(choice.get("finish_reason")), Finish.STOP)
    if refused is not None:
        finish = Finish.REFUSAL
    elif calls and finish is Finish.STOP:
        finish = Finish.TOOLS
    created = body.get("created")
    return Answered(
        id=str(body.get("id") or "").removeprefix("chatcmpl-"),
        model=str(body.get("model") or ""),
        text=text if isinstance(text, str) else None,
        finish=finish,
        tokens=_tokens(body.get("usage")),
        created=created if isinstance(created, int) else 0,
        tool_calls=calls,
        refusal=refused,
    )


def embedded_of(body: Mapping[str, Any]) -> Embedded:
    """What an embeddings list says. Raises ValueError for what is none."""
    return Embedded(str(body.get("model") or ""), vectors_of(body), _tokens(body.get("usage")).input)


def _embedding(body: Mapping[str, Any]) -> Asked:
    given = body.get("input")
    if not isinstance(given, str):
        raise Unsayable("input", DIALECT, "has an input there that is not one text")
    parameters = {name: body[name] for name in ("dimensions",) if body.get(name) is not None}
    return Asked(model=_model(body), turns=(Turn("user", (Text(given),)),), parameters=parameters)


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ValueError("model: is required")
    return model


def _format(given: object) -> AnswerFormat | None:
    match given:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return AnswerFormat("answer", {}, strict=False)
        case {"type": "json_schema", "json_schema": {"schema": dict(schema), **rest}}:
            return AnswerFormat(str(rest.get("name") or "answer"), schema, bool(rest.get("strict")))
        case _:
            raise ValueError("response_format: must be text, json_object or json_schema")


def _turn(message: Any, where: str) -> Turn:
    match message:
        case {"role": "system" | "developer", "content": content}:
            return Turn("system", _parts(content, where))
        case {"role": "user", "content": content}:
            return Turn("user", _parts(content, where))
        case {"role": "tool", "tool_call_id": str(id), "content": content}:
            return Turn("user", (ToolResult(id, _words(content, where)),))
        case {"role": "assistant"}:
            content = message.get("content")
            said = () if content is None else _parts(content, where)
            calls = (_call(call) for call in message.get("tool_calls") or () if isinstance(call, Mapping))
            return Turn("assistant", (*said, *calls))
        case _:
            raise ValueError(f"{where}: must have a role and its content")


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    return ToolCall(str(call.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or "{}"))


def _parts(content: Any, where: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise ValueError(f"{where}.content: must be a text or a list of parts")
    return tuple(_part(part, f"{where}.content[{at}]") for at, part in enumerate(content))


def _part(part: Any, where: str) -> Part:
    match part:
        case {"type": "text", "text": str(text)}:
            return Text(text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return _media("image", url)
        case {"type": "file", "file": {"file_data": str(data), **rest}}:
            name = rest.get("filename")
            return _media("document", data, name if isinstance(name, str) else None)
        case {"type": "refusal", "refusal": str(text)}:
            return Text(text)
        case {"type": str(kind)}:
            raise Unsayable(where, DIALECT, f"has a part there that cannot be said otherwise: {kind[:64]}")
        case _:
            raise ValueError(f"{where}: must be a part with a type")


def _media(kind: Any, url: str, name: str | None = None) -> Media:
    inline = _DATA_URL.match(url)
    if inline is None:
        return Media(kind, url=url, name=name)
    return Media(kind, inline[1], data=inline[2], name=name)


def _words(content: Any, where: str) -> str:
    parts: Sequence[Part] = _parts(content, where)
    if not all(isinstance(part, Text) for part in parts):
        raise Unsayable(where, DIALECT, "has a tool's result there that is no text")
    return "".join(part.text for part in parts if isinstance(part, Text))


def _tokens(usage: Any) -> Tokens:
    if not isinstance(usage, Mapping):
        return Tokens()

    def count(document: Any, name: str) -> int:
        value = document.get(name) if isinstance(document, Mapping) else None
        return value if isinstance(value, int) and value > 0 else 0

    return Tokens(
        count(usage, "prompt_tokens"),
        count(usage.get("prompt_tokens_details"), "cached_tokens"),
        count(usage, "completion_tokens"),
        count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )
