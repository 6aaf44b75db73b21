"""Plain answers are what the careful reader says they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.types import Endpoint, Outcome, Tokens
from overnight.wire.openai import plain_reader, read_line

ABSENT = object()
COUNTS = (0, 7, -1, None, "7", ABSENT)
CHOICE = ("response", "body", "choices", 0)
USAGE = ("response", "body", "usage")
ODDITIES: tuple[tuple[tuple[str | int, ...], tuple[Any, ...]], ...] = (
    (("custom_id",), ("other", None, ABSENT)),
    (("error",), (ABSENT, {}, {"code": "batch_expired", "message": "x"}, {"code": None}, {"message": "x"})),
    (("response",), (None, {}, ABSENT)),
    (("response", "status_code"), (201, 400, 0, None, ABSENT)),
    (("response", "request_id"), ("", None, ABSENT, 'r"1', "é", "c", "custom_id")),
    (("response", "body"), (None, {}, ABSENT)),
    (("response", "body", "model"), (None, 3, ABSENT)),
    (("response", "body", "error"), (None, {"code": "x"})),
    (("response", "body", "choices"), ([], None, ABSENT)),
    (CHOICE, (None, {}, {"message": {"content": "x"}, "finish_reason": "stop"})),
    ((*CHOICE, "finish_reason"), ("length", "content_filter", None, "tool_calls", ABSENT)),
    ((*CHOICE, "message"), (None, {}, ABSENT)),
    ((*CHOICE, "message", "content"), ("é “quoted”\n", "{}", "c", "custom_id", "", " ", "\u3000", None, 7, ABSENT)),
    ((*CHOICE, "message", "refusal"), ("no", "", ABSENT)),
    ((*CHOICE, "message", "tool_calls"), (None, [], [{"id": "x"}])),
    (USAGE, (None, {}, ABSENT)),
    ((*USAGE, "prompt_tokens"), COUNTS),
    ((*USAGE, "completion_tokens"), COUNTS),
    ((*USAGE, "prompt_tokens_details"), (None, {}, {"cached_tokens": None}, {"cached_tokens": -1}, ABSENT)),
    ((*USAGE, "completion_tokens_details"), (None, {}, {"reasoning_tokens": None}, ABSENT)),
)


def plain() -> dict[str, Any]:
    """A line as providers write it."""
    message = {"role": "assistant", "content": "fine", "refusal": None, "annotations": []}
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    body = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    answer = {"status_code": 200, "request_id": "req_1", "body": body}
    return {"id": "b", "custom_id": "c", "response": answer, "error": None}


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
    reader = plain_reader(Endpoint.CHAT)
    assert reader is not None
    raw = json.dumps(line).encode()
    told = reader.read(raw)
    if told is None:
        return
    name, text, model, text_at, text_length, id_at, id_length, *tokens = told
    request = raw[id_at : id_at + id_length].decode() or None
    assert json.loads(raw[text_at : text_at + text_length]) == text
    reply = read_line(raw, Endpoint.CHAT)
    assert (reply.outcome, reply.kind, reply.ran, reply.finish_reason) == (
        Outcome.SUCCEEDED,
        None,
        True,
        reader.finish_reason,
    )
    assert (reply.custom_id, reply.text, reply.model, reply.request_id) == (name, text, model, request)
    assert (reply.tokens, reply.tool_calls, reply.vector) == (Tokens(*tokens), None, None)


def test_what_providers_write_is_plain() -> None:
    reader = plain_reader(Endpoint.CHAT)
    assert reader is not None
    raw = json.dumps(plain()).encode()
    places = (raw.index(b'"fine"'), 6, raw.index(b"req_1"), 5)
    assert reader.read(raw) == ("c", "fine", "m", *places, 20, 8, 5, 3, 0)
    assert reader.read(b"not json") is None
    assert plain_reader(Endpoint.RESPONSES) is None


def test_bytes_that_are_no_text_are_not_plain() -> None:
    reader = plain_reader(Endpoint.CHAT)
    assert reader is not None
    raw = json.dumps(plain()).encode()
    for strange in (b'"fi\xffne"', b'"fi\\ud800ne"', b'"fi\xed\xa0\x80ne"', b'"fi\x01ne"', b"7", b"{}"):
        assert reader.read(raw.replace(b'"fine"', strange)) is None
