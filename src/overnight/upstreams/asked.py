"""What a request body asks, read strictly, for upstreams that answer by themselves.

Every function raises `Refusal` (400) with OpenAI's words where the body cannot be answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from overnight.wire.openai.refusal import Refusal

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MEDIA: Final = frozenset({"image_url", "input_audio", "file"})
MOST_INPUTS: Final = 2048


def request(body: bytes) -> dict[str, Any]:
    """The body as an object that names a model and does not ask for a stream."""
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal("We could not parse the JSON body of your request.") from None
    if not isinstance(read, dict):
        raise Refusal("The body of your request is not a JSON object.")
    if not isinstance(read.get("model"), str) or not read["model"]:
        raise missing("model")
    if read.get("stream"):
        raise Refusal("Streaming is not supported here.", param="stream", code="unsupported_value")
    return read


def missing(name: str) -> Refusal:
    """The refusal of a body without a field."""
    return Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def invalid(name: str, wanted: str) -> Refusal:
    """The refusal of a field with a wrong value."""
    return Refusal(f"Invalid value for '{name}': expected {wanted}.", param=name, code="invalid_value")


def messages(chat: Mapping[str, Any], *, media: bool = False) -> list[dict[str, Any]]:
    """The messages of a chat request, each with `content` as one text (None beside tool calls). Images and files are
    refused, or with `media` taken and left out of the text."""
    given = chat.get("messages")
    if not isinstance(given, list) or not given:
        raise missing("messages")
    read = []
    for index, message in enumerate(given):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise invalid(f"{where}.role", f"one of {', '.join(sorted(ROLES))}")
        if message.get("content") is None and not message.get("tool_calls"):
            raise invalid(f"{where}.content", "a string")
        read.append({**message, "content": _text(message.get("content"), f"{where}.content", media)})
    return read


def _text(content: object, where: str, media: bool) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(where, "a string or an array of parts")
    texts = []
    for part in content:
        if media and isinstance(part, dict) and part.get("type") in MEDIA:
            continue
        if not isinstance(part, dict) or part.get("type") not in {"text", "refusal"}:
            raise Refusal("Only text is supported here.", param=where, code="unsupported_value")
        text = part.get(part["type"])
        if not isinstance(text, str):
            raise invalid(where, "parts with a text")
        texts.append(text)
    return "\n".join(texts)


def last_user_text(read: list[dict[str, Any]]) -> str:
    """The text of the last user message; empty where there is none."""
    return next((message["content"] or "" for message in reversed(read) if message["role"] == "user"), "")


def output_limit(chat: Mapping[str, Any]) -> int | None:
    """Most tokens of the answer: `max_completion_tokens`, or the older `max_tokens`; None where neither is given."""
    for name in ("max_completion_tokens", "max_tokens"):
        limit = chat.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise invalid(name, "an integer of at least 1")
        return limit
    return None


def one_choice(chat: Mapping[str, Any]) -> None:
    """Refuses what would need more than one plain answer: several choices, or a tool call that must come."""
    if chat.get("n") not in (None, 1):
        raise Refusal("Only one choice per request is supported here.", param="n", code="unsupported_value")
    if chat.get("tool_choice") not in (None, "none", "auto"):
        raise Refusal("A tool call cannot be required here.", param="tool_choice", code="unsupported_value")


def answer_format(chat: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """`("text", None)`, `("json_object", None)` or `("json_schema", schema)`."""
    match chat.get("response_format"):
        case None | {"type": "text"}:
            return "text", None
        case {"type": "json_object"}:
            return "json_object", None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return "json_schema", schema
        case {"type": "json_schema"}:
            raise missing("response_format.json_schema.schema")
        case _:
            raise invalid("response_format.type", "text, json_object or json_schema")


def embedding_inputs(embedding: Mapping[str, Any]) -> list[str]:
    """The texts to embed, in order."""
    given = embedding.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_INPUTS:
        raise invalid("input", f"a text, or an array of 1 to {MOST_INPUTS} texts")
    if not all(isinstance(text, str) for text in texts):
        raise invalid("input", "texts (tokens of another model's vocabulary mean nothing here)")
    if not all(texts):
        raise invalid("input", "texts that are not empty")
    return texts


def encoding_format(embedding: Mapping[str, Any]) -> str:
    """`float` or `base64`."""
    asked = embedding.get("encoding_format") or "float"
    if asked not in ("float", "base64"):
        raise invalid("encoding_format", "float or base64")
    return str(asked)
