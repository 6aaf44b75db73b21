"""Anthropic's plain answers are what the careful reader says they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.types import Endpoint, Outcome, Tokens
from overnight.wire.anthropic import plain_reader, read_line

ABSENT = object()
COUNTS = (0, 7, -1, None, "7", ABSENT)
RESULT, MESSAGE = ("result",), ("result", "message")
ODDITIES: tuple[tuple[tuple[str | int, ...], tuple[Any, ...]], ...] = (
    (("custom_id",), ("other", None, ABSENT)),
    (RESULT, (None, {}, ABSENT)),
    ((*RESULT, "type"), ("errored", "canceled", "new", None, ABSENT)),
    ((*RESULT, "error"), (None, {"error": {"type": "api_error"}})),
    (MESSAGE, (None, {}, [], ABSENT)),
    ((*MESSAGE, "id"), ("", None, ABSENT, 'r"1', "é", "c", "custom_id", 7)),
    ((*MESSAGE, "model"), (None, 3, ABSENT)),
    ((*MESSAGE, "stop_reason"), ("max_tokens", "refusal", "stop_sequence", "tool_use", None, ABSENT)),
    ((*MESSAGE, "content"), ([], None, ABSENT, "x", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
    ((*MESSAGE, "content", 0, "type"), ("thinking", "tool_use", None, ABSENT)),
    ((*MESSAGE, "content", 0, "text"), ("é “quoted”\n", "{}", "c", "custom_id", "", " ", "\u3000", None, 7, ABSENT)),
    ((*MESSAGE, "usage"), (None, {}, ABSENT)),
    ((*MESSAGE, "usage", "input_tokens"), COUNTS),
    ((*MESSAGE, "usage", "output_tokens"), COUNTS),
    ((*MESSAGE, "usage", "cache_read_input_tokens"), COUNTS),
    ((*MESSAGE, "usage", "cache_creation_input_tokens"), COUNTS),
    ((*MESSAGE, "usage", "output_tokens_details"), (None, {}, {"thinking_tokens": 3}, {"thinking_tokens": "x"})),
)


def plain() -> dict[str, Any]:
    """A line as the provider writes it."""
    usage = {
        "input_tokens": 9,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 8,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3},
        "output_tokens": 5,
        "service_tier": "batch",
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    message |= {"content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn", "usage": usage}
    return {"custom_id": "c", "result": {"type": "succeeded", "message": message}}


@st.composite
def lines(draw: st.DrawFn) -> dict[str, Any]:
    """Such a line with an oddity or two."""
    line = plain()
    for path, values in draw(st.lists(st.sampled_from(ODDITIES), max_size=2)):
        value, at = draw(st.sampled_from(values)), line
        try:
            for step in path[:-1]:
                at = at[step]
            if value is ABSENT:
                at.pop(path[-1], None)
            else:
                at[path[-1]] = value
        except (AttributeError, KeyError, TypeError, IndexError):  # the oddity before took away what this one is about
            continue
    return line


@settings(max_examples=500)
@given(lines())
def test_a_plain_answer_is_the_success_that_the_careful_reader_finds(line: dict[str, Any]) -> None:
    reader = plain_reader(Endpoint.MESSAGES)
    assert reader is not None
    raw = json.dumps(line).encode()
    told = reader.read(raw)
    if told is None:
        return
    name, text, model, text_at, text_length, id_at, id_length, *tokens = told
    request = raw[id_at : id_at + id_length].decode() or None
    assert json.loads(raw[text_at : text_at + text_length]) == text
    reply = read_line(raw, Endpoint.MESSAGES)
    assert (reply.outcome, reply.kind, reply.ran, reply.finish_reason) == (
        Outcome.SUCCEEDED,
        None,
        True,
        reader.finish_reason,
    )
    assert (reply.custom_id, reply.text, reply.model, reply.request_id) == (name, text, model, request)
    assert (reply.tokens, reply.tool_calls, reply.vector) == (Tokens(*tokens), None, None)


def test_what_the_provider_writes_is_plain() -> None:
    reader = plain_reader(Endpoint.MESSAGES)
    assert reader is not None
    raw = json.dumps(plain()).encode()
    places = (raw.index(b'"fine"'), 6, raw.index(b"msg_1"), 5)
    assert reader.read(raw) == ("c", "fine", "m", *places, 20, 8, 5, 0, 3)
    assert reader.read(b"not json") is None
    assert plain_reader(Endpoint.CHAT) is None


def test_bytes_that_are_no_text_are_not_plain() -> None:
    reader = plain_reader(Endpoint.MESSAGES)
    assert reader is not None
    raw = json.dumps(plain()).encode()
    for strange in (b'"fi\xffne"', b'"fi\\ud800ne"', b'"fi\xed\xa0\x80ne"', b'"fi\x01ne"', b"7", b"{}"):
        assert reader.read(raw.replace(b'"fine"', strange)) is None
