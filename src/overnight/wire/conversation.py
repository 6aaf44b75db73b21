"""What is asked of a model and what it answers, in no provider's words: every dialect turns this into its own and back.

The names of parameters are those of `core.parameters`. Tools and the choice among them are written as OpenAI's chat
completions write them; a tool of another form is a dialect's own and is passed on as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from overnight.types import Tokens

Role = Literal["system", "user", "assistant"]
MediaKind = Literal["image", "document"]


class Unsayable(ValueError):
    """The dialect has no words for it. `field` is the neutral name (`top_k`, `prompt.images`) or the path in the body
    that was read; the message says the rest, free of content."""

    def __init__(self, field: str, dialect: str, why: str) -> None:
        super().__init__(f"`{field}`: {dialect} {why}")
        self.field = field
        self.dialect = dialect
        self.why = why


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """Structured output: the answer is JSON that holds to `schema`; `strict` asks the provider to enforce it. An empty
    schema asks for any JSON object."""

    name: str
    schema: Mapping[str, Any]
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a PDF: base64 `data` with its `media_type` (`image/png`, `application/pdf`), or a `url`."""

    kind: MediaKind
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool to be run; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the tool of an earlier call gave; part of a user turn."""

    id: str
    text: str
    name: str | None = None


Part = Text | Media | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `limit` is the most output tokens; `shared` how many leading turns are the same in every row and are
    to be kept in the provider's prompt cache (0: none); `extra` fields of the body that are the dialect's own.
    `limit_field` is what OpenAI's chat completions call the limit for this model."""

    model: str
    turns: tuple[Turn, ...]
    limit: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    answer: AnswerFormat | None = None
    shared: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    limit_field: str = "max_completion_tokens"


class Finish(StrEnum):
    """Why the model stopped."""

    STOP = "stop"  # it was done, or met a stop sequence (`Answered.stop_sequence`)
    LENGTH = "length"  # the output limit
    TOOLS = "tools"  # it waits for tools
    FILTER = "filter"  # a filter of the provider cut it
    REFUSAL = "refusal"  # the model would not


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer; `created` in unix seconds. `text` None: no text, as with a bare tool call."""

    id: str
    model: str
    text: str | None
    finish: Finish
    tokens: Tokens
    created: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    stop_sequence: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors, in the order of the texts."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    input_tokens: int
