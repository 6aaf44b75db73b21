"""What is sent: bodies of the Messages API, lines of a shard.

A shard's line is one entry of the create call's `requests` list. Source: the API's types as of SDK 2.11.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from overnight.wire.anthropic.formats import ANSWER_TOOL, enforceable
from overnight.wire.conversation import AnswerFormat, Asked, Media, Part, Text, ToolCall, ToolResult, Turn, Unsayable

DIALECT = "Anthropic"
IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF = "application/pdf"
BUDGETS: Mapping[str, int] = {"low": 4_096, "medium": 16_384, "high": 32_768, "xhigh": 65_536, "max": 65_536}
"""Tokens of thinking by effort, for models that are told a number."""
LEAST_BUDGET = 1_024
ANSWER_ROOM = 1_024
"""Tokens of the output limit that are left for the answer, or half of them."""

_HEAD = b'{"custom_id":"'
_BUDGETED = re.compile(r"claude-(?:\d|[a-z]+-4(?:-[0-5])?(?:-\d{8})?$)")
"""Models up to 4.5 are told how many tokens they may think; later ones decide by effort, and refuse a number."""
_SILENT = re.compile(r"claude-(?:\d|[a-z]+-4(?:-|$))")
"""Models up to 4.8 think only when they are asked to; "do not" is said by saying nothing, some refuse the word."""
_PLAIN = frozenset({"temperature", "top_p", "top_k"})
_CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "required": "any"}
_CACHED = {"type": "ephemeral", "ttl": "1h"}  # a batch outlives the five minutes of the other kind


def request_body(endpoint: str, asked: Asked) -> dict[str, Any]:
    """The body of one request. A schema that can be enforced is the output format; any other is the input of the one
    tool that must be used (`formats`). Raises `Unsayable`."""
    if asked.limit is None:
        raise Unsayable("parameters.max_output_tokens", DIALECT, "must be told how long an answer may get")
    lead = next((at for at, turn in enumerate(asked.turns) if turn.role != "system"), len(asked.turns))
    system = [_system_block(part) for turn in asked.turns[:lead] for part in turn.parts]
    messages = [_message(turn) for turn in asked.turns[lead:]]
    if asked.shared:
        _mark(asked.shared, lead, system, messages)
    body: dict[str, Any] = {"model": asked.model, "max_tokens": asked.limit}
    if system:
        body["system"] = system
    body["messages"] = [_shortened(message) for message in messages]
    for name, value in asked.parameters.items():
        _set(body, name, value, asked)
    if asked.answer is not None:
        _demand(body, asked.answer, asked.model)
    extra = dict(asked.extra)
    if isinstance(given := extra.get("output_config"), Mapping):
        extra["output_config"] = {**body.get("output_config", {}), **given}
    return {**body, **extra}


def request_line(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """One line of a shard, with its `\\n`; it starts exactly with `{"custom_id":"<id>",`. `body` is JSON without
    newlines."""
    return b'%s%s","params":%s}\n' % (_HEAD, custom_id.encode(), body)


def with_custom_id(line: bytes, custom_id: str) -> bytes:
    """The same request under another id. Raises ValueError for a line that `request_line` did not make."""
    if not line.startswith(_HEAD):
        raise ValueError("not a request line of ours")
    return b"%s%s%s" % (_HEAD, custom_id.encode(), line[line.index(b'"', len(_HEAD)) :])


def split_line(line: bytes) -> tuple[str, bytes]:
    """`(custom id, body)` of a line, or of an entry of the `requests` list. Raises ValueError."""
    found = _lines.decode(line)
    return found.custom_id, bytes(found.params)


class _Line(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


_lines = msgspec.json.Decoder(_Line)


# ------------------------------------------------------------------------------------------ parameters


def _set(body: dict[str, Any], name: str, value: Any, asked: Asked) -> None:
    match name:
        case "temperature" if value > 1:
            raise Unsayable("parameters.temperature", DIALECT, "takes 0 to 1")
        case _ if name in _PLAIN:
            body[name] = value
        case "stop":
            body["stop_sequences"] = [value] if isinstance(value, str) else list(value)
        case "user" | "safety_identifier":
            body["metadata"] = {"user_id": value}
        case "reasoning_effort":
            _think(body, value, asked)
        case "tools":
            body["tools"] = [_tool(tool) for tool in value]
        case "tool_choice":
            body["tool_choice"] = {**body.get("tool_choice", {}), **_choice(value)}
        case "parallel_tool_calls":
            if not value:
                body["tool_choice"] = {"type": "auto", **body.get("tool_choice", {}), "disable_parallel_tool_use": True}
        case _:
            raise Unsayable(f"parameters.{name}", DIALECT, "has no word for it: leave it out")


def _think(body: dict[str, Any], effort: str, asked: Asked) -> None:
    if effort == "none":
        if not _SILENT.match(asked.model):
            body["thinking"] = {"type": "disabled"}
    elif effort not in BUDGETS:
        raise Unsayable("parameters.reasoning_effort", DIALECT, f"knows none, {', '.join(BUDGETS)}")
    elif not _BUDGETED.match(asked.model):
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": effort}
    else:
        limit: int = body["max_tokens"]
        budget = min(BUDGETS[effort], max(limit - ANSWER_ROOM, limit // 2))
        if budget < LEAST_BUDGET:
            needed = f"needs max_output_tokens of {2 * LEAST_BUDGET:,} or more to think"
            raise Unsayable("parameters.reasoning_effort", DIALECT, needed)
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _tool(tool: Any) -> Any:
    """A function in the API's own words; other tools are its own already."""
    if not isinstance(tool, Mapping) or not isinstance(function := tool.get("function"), Mapping):
        return tool
    given = {"name": function.get("name"), "description": function.get("description")}
    given["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict"):
        given["strict"] = True
    return {name: value for name, value in given.items() if value is not None}


def _choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise Unsayable("parameters.tool_choice", DIALECT, f"knows {', '.join(_CHOICES)} and a tool's name")
        return {"type": _CHOICES[choice]}
    if isinstance(choice, Mapping) and isinstance(function := choice.get("function"), Mapping):
        return {"type": "tool", "name": function.get("name")}
    if isinstance(choice, Mapping):
        return dict(choice)
    raise Unsayable("parameters.tool_choice", DIALECT, "knows a word or a mapping")


def _demand(body: dict[str, Any], answer: AnswerFormat, model: str) -> None:
    schema = enforceable(answer.schema) if answer.strict and answer.schema else None
    if schema is not None:
        body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}
        return
    if body.get("tools"):
        raise Unsayable("answer.schema", DIALECT, "enforces no such schema beside tools: leave out one of them")
    thinking = body.get("thinking", {}).get("type")
    # A tool cannot be forced upon a model that thinks: then it is only told to use it.
    forced = thinking == "disabled" or (thinking is None and bool(_SILENT.match(model)))
    body["tools"] = [
        {
            "name": ANSWER_TOOL,
            "description": "Gives the answer. Always use it, once, and say nothing beside it.",
            "input_schema": answer.schema or {"type": "object"},
        }
    ]
    body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL} if forced else {"type": "auto"}


# ------------------------------------------------------------------------------------------ turns


def _system_block(part: Part) -> dict[str, Any]:
    if not isinstance(part, Text):
        raise Unsayable("prompt.system", DIALECT, "takes words only")
    return {"type": "text", "text": part.text}


def _message(turn: Turn) -> dict[str, Any]:
    if turn.role == "system":
        raise Unsayable("prompt.system", DIALECT, "takes it before all other turns only")
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    rest = [part for part in turn.parts if not isinstance(part, ToolResult)]
    return {"role": turn.role, "content": [_block(part) for part in (*results, *rest)]}


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case ToolCall(id, name, arguments):
            try:
                given = orjson.loads(arguments or "{}")
            except orjson.JSONDecodeError:
                raise Unsayable("prompt", DIALECT, "takes tool calls whose arguments are JSON only") from None
            return {"type": "tool_use", "id": id, "name": name, "input": given}
        case ToolResult(id, text):
            return {"type": "tool_result", "tool_use_id": id, "content": text}
        case Media():
            return _media(part)


def _media(media: Media) -> dict[str, Any]:
    if media.url is not None:
        source: dict[str, Any] = {"type": "url", "url": media.url}
    else:
        if media.kind == "image" and media.media_type not in IMAGE_TYPES:
            raise Unsayable("prompt.images", DIALECT, "takes JPEG, PNG, GIF and WebP")
        if media.kind == "document" and media.media_type != PDF:
            raise Unsayable("prompt.documents", DIALECT, "takes PDF")
        source = {"type": "base64", "media_type": media.media_type, "data": media.data}
    block: dict[str, Any] = {"type": media.kind, "source": source}
    if media.kind == "document" and media.name:
        block["title"] = media.name
    return block


def _mark(shared: int, lead: int, system: list[dict[str, Any]], messages: Sequence[dict[str, Any]]) -> None:
    """The last block of what all rows share ends the cached prefix."""
    blocks = system if shared <= lead else messages[shared - lead - 1]["content"]
    if blocks:
        blocks[-1]["cache_control"] = _CACHED


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    """A single unmarked text is written as such: a third of the bytes of a short row's message."""
    match message["content"]:
        case [{"type": "text", "text": text, **others}] if not others:
            return {**message, "content": text}
    return message
