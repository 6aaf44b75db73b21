"""What is sent: custom ids, request bodies, lines of a batch input file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import orjson

from overnight.types import Endpoint

_CUSTOM_ID = re.compile(r"([a-z0-9]{8})-([0-9]{9,19})-([0-9]{2,6})")
_HEAD = b'{"custom_id":"'


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """Structured output: the answer is JSON that holds to `schema`; `strict` asks the provider to enforce it."""

    name: str
    schema: Mapping[str, Any]
    strict: bool = True


def custom_id(tag: str, ordinal: int, generation: int, digits: int = 9) -> str:
    """`TTTTTTTT-NNNNNNNNN-GG`: run tag, zero-based ordinal, generation of the shard."""
    return f"{tag}-{ordinal:0{digits}d}-{generation:02d}"


def custom_id_form(tag: str, generation: int) -> str:
    """What `custom_id` makes an id with, as a form for `%` that lacks the ordinal only."""
    return f"{tag}-%09d-{generation:02d}"


def split_custom_id(text: str) -> tuple[str, int, int] | None:
    """`(tag, ordinal, generation)`, or None where the id is not of our form."""
    match = _CUSTOM_ID.fullmatch(text)
    return None if match is None else (match[1], int(match[2]), int(match[3]))


def request_body(
    endpoint: Endpoint,
    model: str,
    turns: Sequence[tuple[str, str]],
    parameters: Mapping[str, Any],
    answer_format: AnswerFormat | None,
) -> dict[str, Any]:
    """The body of one request. `turns` are `(role, text)`, roles `system`, `user`, `assistant`; embeddings take the
    last user turn and ask for base64, a third of the bytes of decimal digits."""
    match endpoint:
        case Endpoint.CHAT:
            body: dict[str, Any] = {"model": model, "messages": _messages(turns), **parameters}
            if answer_format is not None:
                body["response_format"] = {"type": "json_schema", "json_schema": _format(answer_format)}
            return body
        case Endpoint.RESPONSES:
            body = {"model": model}
            instructions = [text for role, text in turns if role == "system"]
            if instructions:
                body["instructions"] = "\n\n".join(instructions)
            body["input"] = _messages([turn for turn in turns if turn[0] != "system"])
            body.update(parameters)
            if answer_format is not None:
                body["text"] = {**body.get("text", {}), "format": {"type": "json_schema", **_format(answer_format)}}
            return body
        case Endpoint.EMBEDDINGS:
            text = next((text for role, text in reversed(turns) if role == "user"), "")
            return {"model": model, "input": text, "encoding_format": "base64", **parameters}
        case _:
            assert_never(endpoint)


def request_line(custom_id: str, url: str, body: bytes) -> bytes:
    """One line of an input file, with its `\\n`. It starts exactly with `{"custom_id":"<id>",` so that `with_custom_id`
    can change the id without parsing; `body` is JSON without newlines."""
    return b'%s%s","method":"POST","url":%s,"body":%s}\n' % (_HEAD, custom_id.encode(), orjson.dumps(url), body)


def with_custom_id(line: bytes, custom_id: str) -> bytes:
    """The same request under another id. Raises ValueError for a line that `request_line` did not make."""
    if not line.startswith(_HEAD):
        raise ValueError("not a request line of ours")
    return b"%s%s%s" % (_HEAD, custom_id.encode(), line[line.index(b'"', len(_HEAD)) :])


def _messages(turns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def _format(answer_format: AnswerFormat) -> dict[str, Any]:
    return {"name": answer_format.name, "schema": answer_format.schema, "strict": answer_format.strict}
