"""Azure OpenAI, where it is not as OpenAI: the words of its dated API, whose paths have no version."""

from __future__ import annotations

from overnight.wire.openai.lines import URL


def endpoint(name: str) -> str:
    """`/chat/completions` of `/v1/chat/completions`: as the dated API calls it (contracts: 6)."""
    return name.removeprefix("/v1")


def input_line(line: bytes) -> bytes:
    """A line of an input file, as the dated API wants it: its URL must be the batch's endpoint."""
    head, url, rest = line.partition(URL)
    return head + url + rest.removeprefix(b"/v1")
