"""Bodies into what they ask and say, for whoever plays the server or sends a shard elsewhere; and the answers that are
made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

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
from overnight.wire.gemini.answers import REFUSALS, calls_of, field, parts_of, tokens_of, words_of
from overnight.wire.gemini.requests import BUDGETS, CHOICES, DIALECT, PLAIN

_NEUTRAL = {camel: name for name, camel in PLAIN.items()}
_FINISHES: Mapping[Finish, str] = {
    Finish.STOP: "STOP",
    Finish.TOOLS: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.FILTER: "SAFETY",
    Finish.REFUSAL: "SAFETY",
}
_SILENT = frozenset({"model", "safetySettings", "labels", "serviceTier"})
"""What is no part of the question, or has no counterpart that could change the answer."""


def asked_of(endpoint: str, body: Mapping[str, Any]) -> Asked:
    """What a body asks; the model is the body's where it names one, else empty: it stands in the address. Raises
    `Unsayable` for what has no neutral word, and ValueError (with the field's path) for what is no body."""
    model = body.get("model")
    model = model.removeprefix("models/") if isinstance(model, str) else ""
    if endpoint == Endpoint.EMBED:
        return _embedding(model, body)
    known = {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", *_SILENT}
    for name, value in body.items():
        if _camel(name) not in known and value not in (None, [], {}):
            raise Unsayable(name, DIALECT, "has a field there that cannot be said otherwise")
    turns: list[Turn] = []
    system = field(body, "systemInstruction")
    if system is not None:
        turns.append(Turn("system", _parts(system, "systemInstruction")))
    contents = body.get("contents")
    if isinstance(contents, Mapping):
        contents = [contents]
    if not isinstance(contents, list) or not contents:
        raise ValueError("contents: is required and must not be empty")
    for at, content in enumerate(contents):
        role = content.get("role") if isinstance(content, Mapping) else None
        if role not in (None, "user", "model", "function"):
            raise ValueError(f"contents[{at}].role: must be user or model")
        turns.append(Turn("assistant" if role == "model" else "user", _parts(content, f"contents[{at}]")))
    parameters, limit, answer = _config(field(body, "generationConfig") or {})
    _tools(body, parameters)
    return Asked(model=model, turns=tuple(turns), limit=limit, parameters=parameters, answer=answer)


def answer_body(answered: Answered) -> dict[str, Any]:
    """The response that says it. What the model refused with is its text."""
    said = answered.text if answered.text is not None else answered.refusal
    parts: list[dict[str, Any]] = [] if said is None else [{"text": said}]
    parts += [{"functionCall": {"name": call.name, "args": _object(call.arguments)}} for call in answered.tool_calls]
    return {
        "candidates": [
            {
                "content": {"parts": parts, "role": "model"},
                "finishReason": _FINISHES[answered.finish],
                "index": 0,
            }
        ],
        "usageMetadata": usage(answered.tokens),
        "modelVersion": answered.model,
        "responseId": answered.id,
    }


def usage(tokens: Tokens) -> dict[str, Any]:
    """The usage object; counts that are 0 are left out, but for the two that always stand."""
    counted = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": tokens.output - tokens.reasoning,
        "totalTokenCount": tokens.input + tokens.output,
    }
    if tokens.cached:
        counted["cachedContentTokenCount"] = tokens.cached
    if tokens.reasoning:
        counted["thoughtsTokenCount"] = tokens.reasoning
    return counted


def answered_of(body: Mapping[str, Any]) -> Answered:
    """What a response says. Raises ValueError for what is none."""
    candidates = field(body, "candidates")
    feedback = field(field(body, "promptFeedback"), "blockReason")
    if not isinstance(candidates, list) or not candidates:
        if feedback is None:
            raise ValueError("not a response")
        candidates = [{"finishReason": "SAFETY"}]
    parts = parts_of(candidates[0])
    calls = tuple(
        ToolCall(str(call.get("id") or f"call_{at}"), str(call.get("name")), orjson.dumps(call.get("args")).decode())
        for at, call in enumerate(calls_of(parts))
    )
    finish = _finish(field(candidates[0], "finishReason"), calls)
    said = words_of(parts) or None
    return Answered(
        id=str(field(body, "responseId") or ""),
        model=str(field(body, "modelVersion") or ""),
        text=said,
        finish=finish,
        tokens=tokens_of(body) or Tokens(),
        tool_calls=calls,
        refusal=(said or "blocked by a filter") if finish is Finish.FILTER else None,
    )


def embedding_body(embedded: Embedded) -> dict[str, Any]:
    """The response of embedContent: the first vector."""
    values = list(embedded.vectors[0])
    return {"embedding": {"values": values}, "tokenCount": str(embedded.input_tokens)}


# ------------------------------------------------------------------------------------------ what is asked


def _finish(reason: object, calls: Sequence[ToolCall]) -> Finish:
    if reason == "MAX_TOKENS":
        return Finish.LENGTH
    if reason in REFUSALS:
        return Finish.FILTER
    return Finish.TOOLS if calls else Finish.STOP


def _embedding(model: str, body: Mapping[str, Any]) -> Asked:
    content = body.get("content")
    parts = _parts(content, "content")
    if not parts:
        raise ValueError("content: is required")
    dimensions = field(body, "outputDimensionality")
    parameters = {} if dimensions is None else {"dimensions": dimensions}
    return Asked(model=model, turns=(Turn("user", parts),), parameters=parameters)


def _config(config: object) -> tuple[dict[str, Any], int | None, AnswerFormat | None]:
    if not isinstance(config, Mapping):
        raise ValueError("generationConfig: must be an object")
    parameters: dict[str, Any] = {}
    limit, schema, as_json = None, None, False
    for written, value in config.items():
        if value is None:
            continue
        name = _camel(written)
        match name:
            case "maxOutputTokens":
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise ValueError("generationConfig.maxOutputTokens: must be 1 or more")
                limit = value
            case "stopSequences":
                if value:
                    parameters["stop"] = value
            case "responseMimeType":
                as_json = value == "application/json"
            case "responseJsonSchema":
                schema = value
            case "responseSchema":
                schema = _plain_schema(value)
            case "thinkingConfig":
                _thinking(value, parameters)
            case "candidateCount" if value == 1:
                continue
            case _ if name in _NEUTRAL:
                parameters[_NEUTRAL[name]] = value
            case _:
                where = f"generationConfig.{written}"
                raise Unsayable(where, DIALECT, "has a field there that cannot be said otherwise")
    answer = None if schema is None and not as_json else AnswerFormat("answer", schema or {}, strict=False)
    return parameters, limit, answer


def _plain_schema(schema: Any) -> Any:
    """Google's own schema (types in capitals, `nullable`) as a JSON Schema."""
    if isinstance(schema, list):
        return [_plain_schema(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        match name:
            case "type" if isinstance(value, str):
                made["type"] = value.lower()
            case "properties" if isinstance(value, Mapping):
                made["properties"] = {key: _plain_schema(each) for key, each in value.items()}
            case "items" | "anyOf" | "any_of":
                made["anyOf" if name == "any_of" else name] = _plain_schema(value)
            case "nullable" | "propertyOrdering" | "property_ordering":
                continue
            case "minItems" | "maxItems" | "minLength" | "maxLength" if isinstance(value, str):
                made[name] = int(value)  # 64-bit integers are texts
            case _:
                made[name] = value
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def _thinking(value: Any, parameters: dict[str, Any]) -> None:
    level, budget = field(value, "thinkingLevel"), field(value, "thinkingBudget")
    if isinstance(level, str):
        parameters["reasoning_effort"] = level.lower()
    elif isinstance(budget, int) and budget >= 0:
        efforts = (effort for effort, most in BUDGETS.items() if budget <= most)
        parameters["reasoning_effort"] = next(efforts, "high")


def _tools(body: Mapping[str, Any], parameters: dict[str, Any]) -> None:
    tools = []
    given = body.get("tools") or ()
    if not isinstance(given, list | tuple):
        raise ValueError("tools: must be a list")
    for at, tool in enumerate(given):
        declared = field(tool, "functionDeclarations")
        if not isinstance(declared, list):
            raise Unsayable(f"tools[{at}]", DIALECT, "has a tool of its own there")
        tools += [{"type": "function", "function": _function(each)} for each in declared if isinstance(each, Mapping)]
    if tools:
        parameters["tools"] = tools
    config = field(field(body, "toolConfig"), "functionCallingConfig")
    mode, names = field(config, "mode"), field(config, "allowedFunctionNames")
    if isinstance(names, list) and len(names) == 1:
        parameters["tool_choice"] = {"type": "function", "function": {"name": names[0]}}
    elif mode is not None:
        parameters["tool_choice"] = next((word for word, told in CHOICES.items() if told == mode), "auto")


def _function(declared: Mapping[str, Any]) -> dict[str, Any]:
    schema = field(declared, "parametersJsonSchema")
    if schema is None and declared.get("parameters") is not None:
        schema = _plain_schema(declared["parameters"])
    function = {"name": declared.get("name"), "description": declared.get("description"), "parameters": schema}
    return {name: value for name, value in function.items() if value is not None}


def _parts(content: object, where: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    parts = content.get("parts") if isinstance(content, Mapping) else None
    if isinstance(parts, Mapping):
        parts = [parts]
    if not isinstance(parts, list):
        raise ValueError(f"{where}.parts: is required")
    return tuple(_part(part, f"{where}.parts[{at}]") for at, part in enumerate(parts))


def _part(part: Any, where: str) -> Part:
    if not isinstance(part, Mapping):
        raise ValueError(f"{where}: must be an object")
    if isinstance(part.get("text"), str):
        return Text(part["text"])
    if (inline := field(part, "inlineData")) is not None:
        media_type = str(field(inline, "mimeType"))
        return Media(_kind(media_type), media_type, data=str(field(inline, "data")))
    if (file := field(part, "fileData")) is not None:
        media_type = str(field(file, "mimeType") or "image/jpeg")
        return Media(_kind(media_type), media_type, url=str(field(file, "fileUri")))
    if (call := field(part, "functionCall")) is not None:
        name = str(field(call, "name"))
        return ToolCall(str(field(call, "id") or name), name, orjson.dumps(field(call, "args") or {}).decode())
    if (given := field(part, "functionResponse")) is not None:
        name = str(field(given, "name"))
        told = orjson.dumps(field(given, "response") or {}).decode()
        return ToolResult(str(field(given, "id") or name), told, name)
    raise Unsayable(where, DIALECT, "has a part there that cannot be said otherwise")


def _kind(media_type: str) -> Any:
    return "image" if media_type.startswith("image/") else "document"


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _object(text: str) -> Any:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"arguments": text}
