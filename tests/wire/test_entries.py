"""The body of a create call, split while it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.wire.anthropic.entries import Entries

texts = st.one_of(st.text(max_size=9), st.sampled_from(['"', "\\", '\\"', "{[", "]}", '\\\\"', "\u2028"]))
values = st.recursive(
    st.one_of(texts, st.none(), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=9,
)
requests = st.lists(st.dictionaries(texts, values, max_size=3), min_size=1, max_size=4)


def split(pieces: list[bytes]) -> list[Any]:
    entries = Entries(1_000_000)
    found = [entry for piece in pieces for entry in entries.feed(piece)]
    entries.end()
    return [json.loads(entry) for entry in found]


@given(requests, st.sampled_from([None, 1]), st.booleans(), st.data())
def test_in_whatever_pieces_a_body_comes_its_entries_are_those_of_the_whole(
    given: list[Any], indent: int | None, plain: bool, data: st.DataObject
) -> None:
    body = json.dumps({"requests": given}, indent=indent, ensure_ascii=plain).encode("utf-8", "replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert split(pieces) == json.loads(body)["requests"]
    assert split([body[at : at + 1] for at in range(len(body))]) == json.loads(body)["requests"]
    with pytest.raises(ValueError, match="JSON"):
        split([body[: data.draw(st.integers(0, len(body) - 1))]])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"  ", "is empty"),
        (b'{"requests": 1', "not valid JSON"),
        (b"[1]", "Input should be an object"),
        (b"{}", "requests: Field required"),
        (b'{"requests": {}}', "requests: Input should be a valid list"),
        (b'{"a": 1, "requests": [{}]}', "requests: must be the first field"),
        (b'{"requests":[]}', "List should have at least 1 item"),
        (b'{"requests":[{},1]}', "requests.1: Input should be an object"),
        (b'{"requests":[{},]}', "not valid JSON"),
        (b'{"requests":[{}{}]}', "not valid JSON"),
        (b'{"requests":[{}],"b":1}', "not valid JSON"),
        (b'{"requests":[{}]} x', "not valid JSON"),
        (b'{"requests":[' + b" " * 70_000 + b'{"a":"' + b"x" * 1_200_000 + b'"}]}', "requests.0: a request may have"),
        (b"x" * 70_000, "requests: Field required"),
        (b'{"requests":[{}]' + b" " * 70_000, "not valid JSON"),
    ],
)
def test_what_is_no_body_is_told(body: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split([body[at : at + 65_536] for at in range(0, len(body), 65_536)] or [b""])
