"""Request lines and JSON Lines framing."""

import json

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Endpoint
from overnight.wire.conversation import AnswerFormat, Asked, Text, Turn
from overnight.wire.custom_ids import custom_id, split_custom_id
from overnight.wire.jsonl import LineTooLong, lines
from overnight.wire.openai import request_body as body_that_asks
from overnight.wire.openai import request_line, with_custom_id
from tests.wire.specs import line_schema

TURNS = [("system", "Label."), ("user", "a"), ("assistant", "b"), ("user", "c")]
FORMAT = AnswerFormat("answer", {"type": "object"}, strict=True)
tags = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=8)
KINDS = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.EMBEDDINGS)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def request_body(endpoint, model, turns, parameters, answer, limit=None):
    said = tuple(Turn(role, (Text(text),)) for role, text in turns)
    return body_that_asks(endpoint, Asked(model, said, limit, parameters, answer))


@given(tags, st.integers(0, 10**11), st.integers(0, 999), st.integers(9, 12))
def test_a_custom_id_comes_apart_as_it_was_made(tag, ordinal, generation, digits):
    assert split_custom_id(custom_id(tag, ordinal, generation, digits)) == (tag, ordinal, generation)


def test_the_form_of_a_custom_id():
    assert custom_id("abcd1234", 7, 0) == "abcd1234-000000007-00"
    assert custom_id("abcd1234", 7, 3, 10) == "abcd1234-0000000007-03"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "request-1",
        "abcd1234-7-00",
        "abcd1234-000000007-0",
        "ABCD1234-000000007-00",
        "abcd1234-00000000٧-00",
        "abcd1234-000000007-00\n",
        " abcd1234-000000007-00",
        "abcd1234-000000007-00-00",
    ],
)
def test_another_form_is_no_id_of_ours(text):
    assert split_custom_id(text) is None


def test_chat():
    body = request_body(Endpoint.CHAT, "m", TURNS, {"temperature": 0}, FORMAT)
    assert body == {
        "model": "m",
        "messages": [{"role": role, "content": text} for role, text in TURNS],
        "temperature": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }


def test_responses():
    body = request_body(Endpoint.RESPONSES, "m", TURNS, {"verbosity": "low"}, FORMAT, 9)
    assert body == {
        "model": "m",
        "instructions": "Label.",
        "input": [{"role": role, "content": text} for role, text in TURNS[1:]],
        "max_output_tokens": 9,
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }
    assert "instructions" not in request_body(Endpoint.RESPONSES, "m", TURNS[1:], {}, None)
    assert "text" not in request_body(Endpoint.RESPONSES, "m", TURNS, {}, None)


def test_embeddings():
    assert request_body(Endpoint.EMBEDDINGS, "m", TURNS, {"dimensions": 8}, None) == {
        "model": "m",
        "input": "c",
        "encoding_format": "base64",
        "dimensions": 8,
    }


@given(texts, st.sampled_from(KINDS), tags, st.integers(0, 999_999_999))
def test_a_request_line(text, endpoint, tag, ordinal):
    body = request_body(endpoint, "m", [("user", text)], {}, None)
    line = request_line(custom_id(tag, ordinal, 0), endpoint, orjson.dumps(body))
    assert line.startswith(b'{"custom_id":"%s",' % custom_id(tag, ordinal, 0).encode())
    assert line.count(b"\n") == 1
    document = json.loads(line)
    assert document == {"custom_id": custom_id(tag, ordinal, 0), "method": "POST", "url": endpoint, "body": body}
    jsonschema_rs.validator_for(line_schema("BatchRequestInput")).validate(document)
    again = with_custom_id(line, custom_id(tag, ordinal, 1))
    assert json.loads(again) == document | {"custom_id": custom_id(tag, ordinal, 1)}


def test_only_a_line_of_ours_gets_another_id():
    with pytest.raises(ValueError, match="ours"):
        with_custom_id(b'{"method":"POST","custom_id":"a"}\n', "b")


@given(st.lists(st.text("ab\u2028\r\x85 \t", max_size=6)), st.lists(st.integers(1, 5)), st.booleans())
def test_lines_end_at_newline_and_nowhere_else(texts, cuts, ended):
    data = "\n".join(texts).encode() + (b"\n" if ended else b"")
    chunks, rest = [], data
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    found = list(lines([*chunks, rest]))
    expected = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    assert [(number, line) for number, _, line in found] == [(n, line.removesuffix(b"\r")) for n, line in expected]
    assert all(data[offset : offset + len(line)] == line for _, offset, line in found)


@pytest.mark.parametrize("chunks", [[b"ab\nabcdef\nab\n"], [b"ab\nabc", b"d", b"ef", b"more"], [b"ab\n", b"abcdef"]])
def test_a_line_beyond_the_limit_is_named(chunks):
    with pytest.raises(LineTooLong) as raised:
        list(lines(chunks, limit=5))
    assert (raised.value.number, raised.value.offset) == (2, 3)
    assert len(list(lines([b"abcde\nabcde"], limit=5))) == 2
