"""Plain answers are what the careful reader says they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Endpoint, Outcome, Tokens
from overnight.wire.openai import plain_reader, read_line

absent = st.just("absent")
counts = st.integers(-1, 500)
details = absent | st.none() | st.fixed_dictionaries({}, optional={"cached_tokens": counts, "reasoning_tokens": counts})


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object whose fields may be absent."""
    return st.fixed_dictionaries(fields).map(lambda made: {k: v for k, v in made.items() if v != "absent"})


messages = some(
    content=st.sampled_from(["fine", "é “quoted”\n", "{}", "", " ", None, 7]),
    refusal=st.sampled_from(["absent", None, None, "no", ""]),
    tool_calls=st.sampled_from(["absent", "absent", None, [], [{"id": "x"}]]),
)
choices = some(message=messages | st.none(), finish_reason=st.sampled_from(["stop", "stop", "stop", "length", None]))
usages = some(
    prompt_tokens=counts | st.none(),
    completion_tokens=counts | absent,
    prompt_tokens_details=details,
    completion_tokens_details=details,
)
bodies = some(
    model=st.sampled_from(["m-1", None, "absent", 3]),
    choices=st.lists(choices, max_size=2) | st.none(),
    usage=usages | st.none() | absent,
)
answers = some(
    status_code=st.sampled_from([200, 200, 200, 201, 400, 0]),
    request_id=st.sampled_from(["req_1", "", None, "absent"]),
    body=bodies | st.none(),
)
lines = some(
    custom_id=st.sampled_from(["abcdefgh-000000007-00", "other", None]),
    response=answers | st.none(),
    error=st.sampled_from([None, None, "absent", {}, {"code": "batch_expired", "message": "x"}, {"code": None}]),
)


@given(lines)
def test_a_plain_answer_is_the_success_that_the_careful_reader_finds(line: dict[str, Any]) -> None:
    read = plain_reader(Endpoint.CHAT)
    assert read is not None
    raw = json.dumps(line).encode()
    told = read(raw)
    if told is None:
        return
    name, text, model, request, *tokens = told
    reply = read_line(raw, Endpoint.CHAT)
    assert (reply.outcome, reply.kind, reply.ran, reply.finish_reason) == (Outcome.SUCCEEDED, None, True, "stop")
    assert (reply.custom_id, reply.text, reply.model, reply.request_id) == (name, text, model, request)
    assert (reply.tokens, reply.tool_calls, reply.vector) == (Tokens(*tokens), None, None)


def test_what_providers_write_is_plain() -> None:
    read = plain_reader(Endpoint.CHAT)
    assert read is not None
    message = {"role": "assistant", "content": "fine", "refusal": None, "annotations": []}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    body = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    answer = {"status_code": 200, "request_id": "req_1", "body": body}
    raw = json.dumps({"id": "b", "custom_id": "c", "response": answer, "error": None}).encode()
    assert read(raw) == ("c", "fine", "m", "req_1", 20, 0, 5, 0)
    assert read(b"not json") is None
    assert plain_reader(Endpoint.RESPONSES) is None
