"""The responses endpoint told in the words of chat completions, for models that speak only chat.

`responses_to_chat` turns a request body into the chat request that asks the same, `chat_to_response` the completion
into the response. What chat cannot say (stored conversations, hosted tools, background work) is a `Refusal`, never
dropped silently; fields that change no answer (`metadata`, `store`, `user`) are echoed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from overnight.wire.openai.refusal import Refusal

_SAME: Final = (
    "model",
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "stream",
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
)
_DROPPED: Final = frozenset({"include", "truncation"})
_TRANSLATED: Final = frozenset(
    {"input", "instructions", "max_output_tokens", "text", "tools", "tool_choice", "reasoning"}
)
_LOGPROBS: Final = "message.output_text.logprobs"
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text"})
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def responses_to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks what this responses request asks. Raises `Refusal` (400) naming the field."""
    for name, value in body.items():
        if name not in _TRANSLATED and name not in _SAME and name not in _DROPPED and value not in (None, False):
            raise Refusal(f"Unsupported parameter: '{name}'.", param=name, code="unsupported_parameter")
    chat: dict[str, Any] = {name: body[name] for name in _SAME if body.get(name) is not None}
    chat["messages"] = [*_instructions(body.get("instructions")), *_messages(body.get("input"))]
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if chat.get("top_logprobs") is not None or _LOGPROBS in _list(body, "include"):
        chat["logprobs"] = True
    if effort := _object(body, "reasoning").get("effort"):
        chat["reasoning_effort"] = effort
    text = _object(body, "text")
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    if text.get("format") is not None:
        chat["response_format"] = _chat_format(text["format"])
    if tools := _list(body, "tools"):
        chat["tools"] = [_chat_tool(tool) for tool in tools]
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = _chat_tool_choice(body["tool_choice"])
    return chat


def chat_to_response(completion: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The `response` object for a chat completion that answers the (translated) request `body`."""
    choice = completion["choices"][0]
    serial = str(completion["id"]).removeprefix("chatcmpl-")
    reason = _INCOMPLETE.get(choice["finish_reason"])
    status = "completed" if reason is None else "incomplete"
    text = body.get("text") or {}
    return {
        "id": f"resp_{serial}",
        "object": "response",
        "created_at": completion["created"],
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": completion["model"],
        "output": _output(choice, serial, status),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": (body.get("reasoning") or {}).get("effort"), "summary": None},
        "service_tier": "default",
        "store": bool(body.get("store")),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": _usage(completion.get("usage") or {}),
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


# ------------------------------------------------------------------------------------------ the request


def _instructions(instructions: object) -> list[dict[str, Any]]:
    if instructions is None:
        return []
    if not isinstance(instructions, str):
        raise Refusal("Invalid type for 'instructions': expected a string.", param="instructions")
    return [{"role": "system", "content": instructions}]


def _messages(given: object) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise Refusal("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    messages: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise Refusal(f"Invalid type for '{where}': expected an object.", param=where)
        match item.get("type", "message"):
            case "message":
                messages.append({"role": item.get("role"), "content": _content(item.get("content"), where)})
            case "function_call":
                _add_tool_call(messages, item)
            case "function_call_output":
                output = _content(item.get("output"), where)
                messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
            case "reasoning":
                pass  # a model's earlier thoughts: chat has no place for them
            case other:
                raise Refusal(f"Unsupported item of type '{other}'.", param=where, code="unsupported_value")
    return messages


def _add_tool_call(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    if messages and "tool_calls" in messages[-1]:
        messages[-1]["tool_calls"].append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _content(content: object, where: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refusal(f"Invalid type for '{where}.content'.", param=where)
    parts: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "refusal":
            parts.append({"type": "refusal", "refusal": part.get("refusal")})
        elif kind == "input_image" and part.get("image_url"):
            image = {"url": part["image_url"], "detail": part.get("detail") or "auto"}
            parts.append({"type": "image_url", "image_url": image})
        elif kind == "input_file" and part.get("file_data"):
            file = {name: part[name] for name in ("filename", "file_data") if part.get(name)}
            parts.append({"type": "file", "file": file})
        else:
            raise Refusal(f"Unsupported content of type '{kind}'.", param=where, code="unsupported_value")
    return parts


def _chat_format(given: object) -> dict[str, Any]:
    match given:
        case {"type": "json_schema", **rest}:
            inner = {name: rest[name] for name in ("name", "description", "schema", "strict") if name in rest}
            return {"type": "json_schema", "json_schema": inner}
        case {"type": "text" | "json_object" as kind}:
            return {"type": kind}
        case _:
            raise Refusal("Unsupported 'text.format'.", param="text.format", code="unsupported_value")


def _chat_tool(tool: object) -> dict[str, Any]:
    match tool:
        case {"type": "function", **rest}:
            names = ("name", "description", "parameters", "strict")
            return {"type": "function", "function": {name: rest[name] for name in names if name in rest}}
        case _:
            raise Refusal("Only tools of type 'function' are supported.", param="tools", code="unsupported_value")


def _chat_tool_choice(choice: object) -> object:
    match choice:
        case {"type": "function", "name": name}:
            return {"type": "function", "function": {"name": name}}
        case str():
            return choice
        case _:
            raise Refusal("Unsupported 'tool_choice'.", param="tool_choice", code="unsupported_value")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(f"Invalid type for '{name}': expected an object.", param=name)
    return value


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refusal(f"Invalid type for '{name}': expected an array.", param=name)
    return value


# ----------------------------------------------------------------------------------------- the response


def _output(choice: Mapping[str, Any], serial: str, status: str) -> list[dict[str, Any]]:
    message = choice["message"]
    content: list[dict[str, Any]] = []
    if message.get("refusal"):
        content.append({"type": "refusal", "refusal": message["refusal"]})
    elif message.get("content"):
        logprobs = (choice.get("logprobs") or {}).get("content") or []
        content.append({"type": "output_text", "text": message["content"], "annotations": [], "logprobs": logprobs})
    calls = message.get("tool_calls") or ()
    items: list[dict[str, Any]] = []
    if content or not calls:
        items.append(
            {"id": f"msg_{serial}", "type": "message", "status": status, "role": "assistant", "content": content}
        )
    items += [
        {
            "id": f"fc_{serial}_{index}",
            "type": "function_call",
            "status": status,
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }
        for index, call in enumerate(calls)
    ]
    return items


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }
