"""A dialect: how one family of APIs writes requests, batch lines and answers. Each is a package of functions."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

from overnight.types import Reply
from overnight.wire.conversation import Answered, Asked
from overnight.wire.plain import PlainReader

DIALECTS = ("openai", "anthropic", "gemini", "vertex")


class Dialect(Protocol):
    """What `wire.openai`, `wire.anthropic`, `wire.gemini` and `wire.vertex` offer. `endpoint` is one of
    `types.Endpoint` that the dialect has, by its value."""

    @staticmethod
    def request_body(endpoint: str, asked: Asked) -> dict[str, Any]:
        """The body that asks it. Raises `Unsayable`."""

    @staticmethod
    def asked_of(endpoint: str, body: Mapping[str, Any]) -> Asked:
        """What a body asks. Raises `Unsayable` for what has no neutral word and ValueError for what is no body."""

    @staticmethod
    def answer_body(answered: Answered) -> dict[str, Any]:
        """The body of a real-time answer of the dialect's generating endpoint."""

    @staticmethod
    def answered_of(body: Mapping[str, Any]) -> Answered:
        """What such a body says. Raises ValueError for what is none."""

    @staticmethod
    def request_line(custom_id: str, endpoint: str, body: bytes) -> bytes:
        """One line of a shard, with its `\\n`, starting with the custom id; `body` is JSON without newlines."""

    @staticmethod
    def with_custom_id(line: bytes, custom_id: str) -> bytes:
        """The same request under another id. Raises ValueError for a line that `request_line` did not make."""

    @staticmethod
    def split_line(line: bytes) -> tuple[str, bytes]:
        """`(custom id, body)` of a line of a shard. Raises ValueError."""

    @staticmethod
    def read_line(line: bytes, endpoint: str, text: bool = True) -> Reply:
        """One line of the answers, judged. Raises ValueError where it is no JSON object with an id. `text` False leaves
        out what is long: text, tool calls and vector."""

    @staticmethod
    def plain_reader(endpoint: str) -> PlainReader | None:
        """What reads the endpoint's plain answers, for one file; None where it has no such reader."""

    @staticmethod
    def body_of(line: bytes) -> bytes | None:
        """The answer's body as the provider wrote it, or None where the line has none."""

    @staticmethod
    def logprobs_of(line: bytes, endpoint: str) -> bytes | None:
        """Log probabilities as JSON, None where the answer has none."""


def dialect(name: str) -> Dialect:
    """The dialect of that name. Raises LookupError."""
    if name not in DIALECTS:
        raise LookupError(name)
    return cast(Dialect, importlib.import_module(f"overnight.wire.{name}"))
