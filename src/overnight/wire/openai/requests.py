"""What is sent: request bodies, lines of a batch input file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import msgspec
import orjson

from overnight.types import Endpoint
from overnight.wire.conversation import AnswerFormat, Asked, Media, Part, Text, ToolCall, ToolResult, Turn, Unsayable

_HEAD = b'{"custom_id":"'
_DIALECT = "OpenAI"


def request_body(endpoint: str, asked: Asked) -> dict[str, Any]:
    """The body of one request. Embeddings and moderations take the last user turn, images its text as `prompt`; edits
    the images before it as references, for the body is JSON. Embeddings ask for base64, a third of the bytes of decimal
    digits. Raises `Unsayable`."""
    match endpoint:
        case Endpoint.CHAT:
            return _chat(asked)
        case Endpoint.RESPONSES:
            return _response(asked)
        case Endpoint.EMBEDDINGS:
            given: dict[str, Any] = {"input": _last_words(asked), "encoding_format": "base64"}
        case Endpoint.MODERATIONS:
            given = {"input": _moderated(asked)}
        case Endpoint.IMAGE_EDITS:
            given = {"prompt": _last_words(asked), "images": _references(asked)}
        case _:
            given = {"prompt": _last_words(asked)}
    body = {"model": asked.model, **given, **asked.parameters, **asked.extra}
    if asked.limit is not None and endpoint == Endpoint.COMPLETIONS:
        body["max_tokens"] = asked.limit
    return body


def _chat(asked: Asked) -> dict[str, Any]:
    messages = [message for turn in asked.turns for message in _messages(turn)]
    body: dict[str, Any] = {"model": asked.model, "messages": messages, **asked.parameters}
    if "top_logprobs" in asked.parameters:
        body["logprobs"] = True
    if asked.limit is not None:
        body[asked.limit_field] = asked.limit
    if asked.answer is not None:
        body["response_format"] = (
            {"type": "json_schema", "json_schema": _format(asked.answer)}
            if asked.answer.schema
            else {"type": "json_object"}
        )
    return {**body, **asked.extra}


def _response(asked: Asked) -> dict[str, Any]:
    body: dict[str, Any] = {"model": asked.model}
    instructions = [part.text for turn in asked.turns if turn.role == "system" for part in turn.parts if _is_text(part)]
    if instructions:
        body["instructions"] = "\n\n".join(instructions)
    body["input"] = [item for turn in asked.turns if turn.role != "system" for item in _items(turn)]
    text: dict[str, Any] = {}
    for name, value in asked.parameters.items():
        match name:
            case "reasoning_effort":
                body["reasoning"] = {"effort": value}
            case "verbosity":
                text["verbosity"] = value
            case "logprobs":
                pass
            case "tools":
                body["tools"] = [_flat_tool(tool) for tool in value]
            case "tool_choice":
                body["tool_choice"] = _flat_choice(value)
            case _:
                body[name] = value
    if asked.parameters.get("logprobs") or "top_logprobs" in asked.parameters:
        body["include"] = ["message.output_text.logprobs"]
    if asked.limit is not None:
        body["max_output_tokens"] = asked.limit
    extra = dict(asked.extra)
    if asked.answer is not None:
        format = {"type": "json_schema", **_format(asked.answer)} if asked.answer.schema else {"type": "json_object"}
        text = {**text, **extra.pop("text", {}), "format": format}
    if text:
        body["text"] = text
    return {**body, **extra}


def request_line(custom_id: str, url: str, body: bytes) -> bytes:
    """One line of an input file, with its `\\n`. It starts exactly with `{"custom_id":"<id>",` so that `with_custom_id`
    can change the id without parsing; `body` is JSON without newlines."""
    return b'%s%s","method":"POST","url":%s,"body":%s}\n' % (_HEAD, custom_id.encode(), orjson.dumps(url), body)


def with_custom_id(line: bytes, custom_id: str) -> bytes:
    """The same request under another id. Raises ValueError for a line that `request_line` did not make."""
    if not line.startswith(_HEAD):
        raise ValueError("not a request line of ours")
    return b"%s%s%s" % (_HEAD, custom_id.encode(), line[line.index(b'"', len(_HEAD)) :])


def split_line(line: bytes) -> tuple[str, bytes]:
    """`(custom id, body)` of a line. Raises ValueError."""
    found = _lines.decode(line)
    return found.custom_id, bytes(found.body)


class _Line(msgspec.Struct):
    custom_id: str
    body: msgspec.Raw


_lines = msgspec.json.Decoder(_Line)


# ------------------------------------------------------------------------------------------ turns


def _messages(turn: Turn) -> list[dict[str, Any]]:
    """The messages of chat completions that say the turn: one, and one for each result of a tool."""
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    calls = [part for part in turn.parts if isinstance(part, ToolCall)]
    rest = [part for part in turn.parts if not isinstance(part, ToolResult | ToolCall)]
    messages: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": result.id, "content": result.text} for result in results
    ]
    if rest or calls:
        message: dict[str, Any] = {"role": turn.role, "content": _content(rest) if rest else None}
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        messages.append(message)
    return messages


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Media("image"):
            return {"type": "image_url", "image_url": {"url": part.url or _data_url(part)}}
        case Media("document", data=str()):
            return {"type": "file", "file": {"filename": part.name or "document.pdf", "file_data": _data_url(part)}}
        case Media():
            raise Unsayable("prompt.documents", _DIALECT, "chat completions take no document by URL: give its file")
        case _:
            raise Unsayable("prompt", _DIALECT, "has no place for a tool call there")


def _items(turn: Turn) -> list[dict[str, Any]]:
    """The input items of the responses endpoint that say the turn."""
    items: list[dict[str, Any]] = []
    rest = [part for part in turn.parts if not isinstance(part, ToolResult | ToolCall)]
    if rest:
        content: str | list[dict[str, Any]] = (
            rest[0].text if len(rest) == 1 and isinstance(rest[0], Text) else [_item_part(part, turn) for part in rest]
        )
        items.append({"role": turn.role, "content": content})
    for part in turn.parts:
        match part:
            case ToolCall(id, name, arguments):
                items.append({"type": "function_call", "call_id": id, "name": name, "arguments": arguments})
            case ToolResult(id, text):
                items.append({"type": "function_call_output", "call_id": id, "output": text})
            case _:
                pass
    return items


def _item_part(part: Part, turn: Turn) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "output_text" if turn.role == "assistant" else "input_text", "text": text}
        case Media("image"):
            return {"type": "input_image", "image_url": part.url or _data_url(part)}
        case Media("document", url=str(url)):
            return {"type": "input_file", "file_url": url}
        case Media():
            return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": _data_url(part)}
        case _:
            raise Unsayable("prompt", _DIALECT, "has no place for a tool call there")


def _data_url(media: Media) -> str:
    return f"data:{media.media_type};base64,{media.data}"


def _is_text(part: Part) -> TypeGuard[Text]:
    return isinstance(part, Text)


def _last_words(asked: Asked) -> str:
    """The text of the last user turn."""
    return "".join(part.text for part in _last_turn(asked) if _is_text(part))


def _moderated(asked: Asked) -> str | list[dict[str, Any]]:
    return _content([_seen(part, "moderations") for part in _last_turn(asked)])


def _references(asked: Asked) -> list[dict[str, str]]:
    """The images that are to be edited."""
    images = [_seen(part, "edits") for part in _last_turn(asked) if not _is_text(part)]
    if not images:
        raise Unsayable("prompt.images", _DIALECT, "edits images: give at least one")
    return [{"image_url": part.url or _data_url(part)} for part in images if isinstance(part, Media)]


def _seen(part: Part, what: str) -> Part:
    if isinstance(part, Media) and part.kind == "document":
        raise Unsayable("prompt.documents", _DIALECT, f"{what} take images and no documents")
    return part


def _last_turn(asked: Asked) -> Sequence[Part]:
    turns = [turn for turn in asked.turns if turn.role == "user"]
    return turns[-1].parts if turns else ()


def _flat_tool(tool: Any) -> Any:
    """A function as the responses endpoint writes it; other tools are its own already."""
    if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping):
        return {"type": "function", **tool["function"]}
    return tool


def _flat_choice(choice: Any) -> Any:
    if isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        return {"type": "function", "name": choice["function"].get("name")}
    return choice


def _format(answer_format: AnswerFormat) -> dict[str, Any]:
    return {"name": answer_format.name, "schema": answer_format.schema, "strict": answer_format.strict}
