"""Bodies of the Messages API into what they ask and say, for whoever plays the server or sends a shard elsewhere; and
the message that an answer makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import ValidationError, convert

from overnight.types import Tokens
from overnight.wire.anthropic.answers import TRUNCATED, Usage
from overnight.wire.anthropic.formats import ANSWER_TOOL
from overnight.wire.anthropic.requests import BUDGETS, DIALECT
from overnight.wire.conversation import (
    Answered,
    AnswerFormat,
    Asked,
    Finish,
    Media,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    Unsayable,
)

_STOPS: Mapping[Finish, str] = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOLS: "tool_use",
    Finish.FILTER: "refusal",
    Finish.REFUSAL: "refusal",
}
_CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "any": "required"}
_SILENT = frozenset({"stream", "service_tier", "inference_geo", "cache_control", "diagnostics", "workspace_id"})
"""How an answer is delivered and counted: nothing of what is asked."""


def asked_of(endpoint: str, body: Mapping[str, Any]) -> Asked:
    """What a body asks. Raises `Unsayable` for what has no neutral word, and ValueError (with the field's path) for
    what is no body."""
    model, limit = body.get("model"), body.get("max_tokens")
    if not isinstance(model, str) or not model:
        raise ValueError("model: Field required")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError("max_tokens: Field required" if limit is None else "max_tokens: must be 1 or more")
    turns, marked = _turns(body)
    parameters: dict[str, Any] = {}
    answer = None
    for name, value in body.items():
        match name:
            case "model" | "max_tokens" | "messages" | "system" | "tools" | "tool_choice":
                continue
            case "output_config" | "output_format":
                answer = _output(name, value, parameters) or answer
            case "temperature" | "top_p" | "top_k":
                parameters[name] = value
            case "stop_sequences":
                if value:
                    parameters["stop"] = value
            case "metadata":
                if isinstance(value, Mapping) and isinstance(user := value.get("user_id"), str):
                    parameters["user"] = user
            case "thinking":
                _thinking(value, parameters)
            case _ if name in _SILENT or value is None:
                continue
            case _:
                raise Unsayable(name, DIALECT, "has a field there that cannot be said otherwise")
    answer = _tools(body, parameters) or answer
    return Asked(model=model, turns=turns, limit=limit, parameters=parameters, answer=answer, shared=marked)


def answer_body(answered: Answered) -> dict[str, Any]:
    """The message that says it. What the model refused with is its text."""
    content: list[dict[str, Any]] = []
    said = answered.text if answered.text is not None else answered.refusal
    if said:
        content.append({"type": "text", "text": said})
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call.arguments)}
        for call in answered.tool_calls
    ]
    stopped = "stop_sequence" if answered.stop_sequence is not None else _STOPS[answered.finish]
    tokens = answered.tokens
    return {
        "id": answered.id if answered.id.startswith("msg_") else f"msg_{answered.id}",
        "type": "message",
        "role": "assistant",
        "model": answered.model,
        "content": content,
        "stop_reason": stopped,
        "stop_sequence": answered.stop_sequence,
        "stop_details": {"type": "refusal", "category": None, "explanation": None} if stopped == "refusal" else None,
        "usage": usage(tokens),
    }


def usage(tokens: Tokens, tier: str = "standard") -> dict[str, Any]:
    """The usage object; `tier` is `batch` in a batch's results."""
    counted: dict[str, Any] = {
        "input_tokens": max(0, tokens.input - tokens.cached - tokens.written),
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": tokens.written},
        "output_tokens": tokens.output,
        "service_tier": tier,
    }
    if tokens.reasoning:
        counted["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return counted


def answered_of(body: Mapping[str, Any]) -> Answered:
    """What a message says. Raises ValueError for what is none."""
    content, model = body.get("content"), body.get("model")
    if not isinstance(content, list):
        raise ValueError("not a message")
    blocks = [block for block in content if isinstance(block, Mapping)]
    words = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    called = [block for block in blocks if block.get("type") == "tool_use"]
    words += [orjson.dumps(block.get("input")).decode() for block in called if block.get("name") == ANSWER_TOOL]
    calls = tuple(
        ToolCall(str(block.get("id")), str(block.get("name")), orjson.dumps(block.get("input") or {}).decode())
        for block in called
        if block.get("name") != ANSWER_TOOL
    )
    try:
        tokens = convert(body.get("usage"), Usage).tokens()
    except ValidationError:
        tokens = Tokens()
    finish = _finish(body.get("stop_reason"), calls)
    text = "".join(words) if words else None
    sequence = body.get("stop_sequence")
    return Answered(
        id=str(body.get("id") or ""),
        model=model if isinstance(model, str) else "",
        text=text,
        finish=finish,
        tokens=tokens,
        tool_calls=calls,
        stop_sequence=sequence if isinstance(sequence, str) else None,
        refusal=(text or "the model refused") if finish is Finish.REFUSAL else None,
    )


def _finish(reason: object, calls: tuple[ToolCall, ...]) -> Finish:
    if reason == "refusal":
        return Finish.REFUSAL
    if reason in TRUNCATED:
        return Finish.LENGTH
    return Finish.TOOLS if calls else Finish.STOP


def _arguments(text: str) -> Any:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {"arguments": text}  # the model wrote no JSON: what it wrote is not lost


# ------------------------------------------------------------------------------------------ what is asked


def _output(name: str, value: Any, parameters: dict[str, Any]) -> AnswerFormat | None:
    """Effort and format; `output_format` is the older name of the format."""
    given = {"format": value} if name == "output_format" else value
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: must be an object")
    if given.get("effort") is not None:
        parameters["reasoning_effort"] = given["effort"]
    format = given.get("format")
    if format is None:
        return None
    if not isinstance(format, Mapping) or not isinstance(format.get("schema"), Mapping):
        raise ValueError(f"{name}.format.schema: Field required")
    return AnswerFormat("answer", format["schema"])


def _thinking(value: Any, parameters: dict[str, Any]) -> None:
    kind = value.get("type") if isinstance(value, Mapping) else None
    match kind:
        case "disabled":
            parameters["reasoning_effort"] = "none"
        case "adaptive":
            parameters.setdefault("reasoning_effort", "high")  # what the API takes where no effort is given
        case "enabled":
            budget = value.get("budget_tokens")
            if not isinstance(budget, int):
                raise ValueError("thinking.budget_tokens: Field required")
            effort = next((effort for effort, most in BUDGETS.items() if budget <= most), "max")
            parameters.setdefault("reasoning_effort", effort)
        case _:
            raise Unsayable("thinking", DIALECT, "has a kind of thinking there that cannot be said otherwise")


def _tools(body: Mapping[str, Any], parameters: dict[str, Any]) -> AnswerFormat | None:
    """Tools and the choice among them go to the parameters; our own answer tool is a format."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools and not isinstance(tools, list):
        raise ValueError("tools: must be a list")
    given = [tool for tool in tools or () if isinstance(tool, Mapping)]
    if len(given) == 1 and given[0].get("name") == ANSWER_TOOL:
        schema = given[0].get("input_schema") or {}
        return AnswerFormat("answer", {} if schema == {"type": "object"} else schema, strict=False)
    if given:
        parameters["tools"] = [_tool(tool) for tool in given]
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        if kind == "tool":
            parameters["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
        elif isinstance(kind, str) and kind in _CHOICES:
            parameters["tool_choice"] = _CHOICES[kind]
        else:
            raise ValueError("tool_choice.type: must be auto, any, tool or none")
        if choice.get("disable_parallel_tool_use"):
            parameters["parallel_tool_calls"] = False
    return None


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom") or not isinstance(tool.get("input_schema"), Mapping):
        raise Unsayable("tools", DIALECT, f"has a tool of its own there: {tool.get('type') or tool.get('name')}")
    function = {"name": tool.get("name"), "description": tool.get("description"), "parameters": tool["input_schema"]}
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _turns(body: Mapping[str, Any]) -> tuple[tuple[Turn, ...], int]:
    """The turns, and how many of them end at the last mark for the cache."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: Field required" if messages is None else "messages: must hold at least one message")
    turns: list[Turn] = []
    marked = 0
    blocks = _blocks(body.get("system"), "system")
    if blocks:
        turns.append(Turn("system", tuple(_part(block, "system") for block in blocks)))
        marked = 1 if blocks[-1].get("cache_control") else 0
    for at, message in enumerate(messages):
        where = f"messages.{at}"
        role = _role(message, where)
        blocks = _blocks(message.get("content"), f"{where}.content")
        parts = tuple(
            _part(block, f"{where}.content.{number}")
            for number, block in enumerate(blocks)
            if block.get("type") not in ("thinking", "redacted_thinking")  # earlier thoughts are nobody else's
        )
        turns.append(Turn(role, parts))
        if blocks and blocks[-1].get("cache_control"):
            marked = len(turns)
    return tuple(turns), marked


def _role(message: Any, where: str) -> Role:
    match message:
        case {"role": "user"}:
            return "user"
        case {"role": "assistant"}:
            return "assistant"
        case {"role": "system"}:
            return "system"
        case _:
            raise ValueError(f"{where}.role: must be user or assistant")


def _blocks(content: Any, where: str) -> list[Mapping[str, Any]]:
    if content is None and where == "system":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
        raise ValueError(f"{where}: must be a text or a list of blocks")
    return content


def _part(block: Mapping[str, Any], where: str) -> Part:
    match block.get("type"):
        case "text" if isinstance(block.get("text"), str):
            return Text(block["text"])
        case "image" | "document" as kind:
            return _media(kind, block, where)
        case "tool_use":
            return ToolCall(str(block.get("id")), str(block.get("name")), orjson.dumps(block.get("input")).decode())
        case "tool_result":
            return ToolResult(str(block.get("tool_use_id")), _told(block.get("content"), where))
        case "text" | None:
            raise ValueError(f"{where}: must be a block with a type and its content")
        case other:
            raise Unsayable(where, DIALECT, f"has a block there that cannot be said otherwise: {other}")


def _media(kind: str, block: Mapping[str, Any], where: str) -> Part:
    source = block.get("source")
    source = source if isinstance(source, Mapping) else {}
    name = block.get("title")
    media: Any = {"kind": kind, "name": name if isinstance(name, str) else None}
    match source.get("type"):
        case "base64":
            return Media(**media, media_type=str(source.get("media_type")), data=str(source.get("data")))
        case "url":
            return Media(**media, url=str(source.get("url")))
        case "text" if isinstance(source.get("data"), str):
            return Text(source["data"])
        case other:
            raise Unsayable(where, DIALECT, f"has a source there that cannot be said otherwise: {other}")


def _told(content: Any, where: str) -> str:
    """The result of a tool as text."""
    if content is None:
        return ""
    words = [_part(block, where) for block in _blocks(content, where)]
    if not all(isinstance(part, Text) for part in words):
        raise Unsayable(where, DIALECT, "has a tool's result there that is no text")
    return "".join(part.text for part in words if isinstance(part, Text))
