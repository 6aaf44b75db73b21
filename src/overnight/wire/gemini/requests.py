"""What is sent: bodies of generateContent and embedContent, lines of a batch file.

A line is `{"key": id, "request": body}`. Source: the API's types as of the SDK's 3.4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import msgspec
import orjson

from overnight.types import Endpoint
from overnight.wire.conversation import Asked, Media, Part, Text, ToolCall, ToolResult, Turn, Unsayable

DIALECT = "Gemini"
PLAIN: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
"""Parameters that are fields of generationConfig, by their neutral names."""
LEVELS: Mapping[str, str] = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high"}
"""Efforts that are thinking levels (Gemini 3 and later)."""
BUDGETS: Mapping[str, int] = {"none": 0, "minimal": 512, "low": 1_024, "medium": 8_192, "high": 24_576}
"""Tokens of thinking by effort, for models that are told a number (Gemini 2.5)."""
CHOICES: Mapping[str, str] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}

_HEAD = b'{"key":"'


def request_body(endpoint: str, asked: Asked) -> dict[str, Any]:
    """The body of one request; the model stands in the batch's address. Raises `Unsayable`."""
    if endpoint == Endpoint.EMBED:
        return _embedding(asked)
    body: dict[str, Any] = {}
    system = [part for turn in asked.turns if turn.role == "system" for part in turn.parts]
    if system:
        body["systemInstruction"] = {"parts": [_part(part) for part in system]}
    body["contents"] = [_content(turn) for turn in asked.turns if turn.role != "system"]
    config = _config(asked)
    if config:
        body["generationConfig"] = config
    _tools(body, asked.parameters)
    extra = dict(asked.extra)
    if "generationConfig" in extra:
        body["generationConfig"] = {**config, **extra.pop("generationConfig")}
    return {**body, **extra}


def request_line(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """One line of an input file, with its `\\n`; it starts exactly with `{"key":"<id>",`."""
    return b'%s%s","request":%s}\n' % (_HEAD, custom_id.encode(), body)


def with_custom_id(line: bytes, custom_id: str) -> bytes:
    """The same request under another id. Raises ValueError for a line that `request_line` did not make."""
    if not line.startswith(_HEAD):
        raise ValueError("not a request line of ours")
    return b"%s%s%s" % (_HEAD, custom_id.encode(), line[line.index(b'"', len(_HEAD)) :])


class _Line(msgspec.Struct):
    key: str
    request: msgspec.Raw


_lines = msgspec.json.Decoder(_Line)


def split_line(line: bytes) -> tuple[str, bytes]:
    """`(custom id, body)` of a line. Raises ValueError."""
    found = _lines.decode(line)
    return found.key, bytes(found.request)


# ------------------------------------------------------------------------------------------ parts of a body


def _embedding(asked: Asked) -> dict[str, Any]:
    turns = [turn for turn in asked.turns if turn.role == "user"]
    words = "".join(part.text for part in turns[-1].parts if isinstance(part, Text)) if turns else ""
    body: dict[str, Any] = {"content": {"parts": [{"text": words}]}}
    for name, value in asked.parameters.items():
        if name != "dimensions":
            raise Unsayable(f"parameters.{name}", DIALECT, "embeddings do not take it")
        body["outputDimensionality"] = value
    return {**body, **asked.extra}


def _config(asked: Asked) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if asked.limit is not None:
        config["maxOutputTokens"] = asked.limit
    for name, value in asked.parameters.items():
        if name in PLAIN:
            config[PLAIN[name]] = value
        elif name == "stop":
            config["stopSequences"] = [value] if isinstance(value, str) else list(value)
        elif name == "reasoning_effort":
            config["thinkingConfig"] = _thinking(asked.model, value)
        elif name not in {"tools", "tool_choice"}:
            raise Unsayable(f"parameters.{name}", DIALECT, "does not take it")
    if "logprobs" in config:
        config["responseLogprobs"] = True
    if asked.answer is not None:
        config["responseMimeType"] = "application/json"
        if asked.answer.schema:
            config["responseJsonSchema"] = asked.answer.schema
    return config


def _thinking(model: str, effort: str) -> dict[str, Any]:
    """A budget up to Gemini 2.5, a level after it, which has no word for not thinking at all."""
    if model.rpartition("/")[2].startswith(("gemini-1", "gemini-2")):
        if effort not in BUDGETS:
            raise Unsayable("parameters.reasoning_effort", DIALECT, f"takes {', '.join(BUDGETS)} for this model")
        return {"thinkingBudget": BUDGETS[effort]}
    if effort not in LEVELS:
        raise Unsayable("parameters.reasoning_effort", DIALECT, f"takes {', '.join(LEVELS)} for this model")
    return {"thinkingLevel": LEVELS[effort]}


def _tools(body: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    tools: Sequence[Any] = parameters.get("tools") or ()
    functions = [_function(tool["function"]) for tool in tools if _is_function(tool)]
    own = [tool for tool in tools if not _is_function(tool)]
    if functions or own:
        body["tools"] = [*([{"functionDeclarations": functions}] if functions else []), *own]
    choice = parameters.get("tool_choice")
    if isinstance(choice, Mapping):
        name = choice.get("function", {}).get("name")
        body["toolConfig"] = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}
    elif choice is not None:
        if choice not in CHOICES:
            raise Unsayable("parameters.tool_choice", DIALECT, f"takes {', '.join(CHOICES)} or a function")
        body["toolConfig"] = {"functionCallingConfig": {"mode": CHOICES[choice]}}


def _is_function(tool: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": function.get("name")}
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("parameters"):
        made["parametersJsonSchema"] = function["parameters"]
    return made


def _content(turn: Turn) -> dict[str, Any]:
    return {"role": "model" if turn.role == "assistant" else "user", "parts": [_part(part) for part in turn.parts]}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"text": text}
        case Media(data=str(data), media_type=media_type):
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case Media(url=url, kind=kind, media_type=media_type):
            return {"fileData": {"mimeType": media_type or _guessed(str(url), kind), "fileUri": url}}
        case ToolCall(name=name, arguments=arguments):
            return {"functionCall": {"name": name, "args": _object(arguments)}}
        case ToolResult(id, text, name):
            return {"functionResponse": {"name": name or id, "response": {"result": text}}}


def _object(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


def _guessed(url: str, kind: str) -> str:
    """The type that the address ends with: a file by address is taken with its type only."""
    end = url.partition("?")[0].rpartition(".")[2].lower()
    known = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}
    return "application/pdf" if kind == "document" else known.get(end, "image/jpeg")
