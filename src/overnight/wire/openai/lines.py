"""Input lines as APIs made after OpenAI's want them: a shard's lines all begin in the same way."""

from __future__ import annotations

URL = b'","method":"POST","url":"'
"""What stands between the id and the URL of a line (`requests.request_line`)."""


def without_url(line: bytes) -> bytes:
    """`{"custom_id":"..","body":{..}}`: the line of an API whose batch alone names the endpoint."""
    head, there, rest = line.partition(URL)
    return head + b'"' + rest.partition(b'"')[2] if there else line
