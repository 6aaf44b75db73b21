"""The shapes of answer lines, for typed decoding: only what is judged, counted or shown; everything may be null."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

MOST_TOKENS = 10_000_000
"""No request has more: a usage that says so says nothing."""
Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)] | None
Body = TypeVar("Body")


class ErrorShape(Struct, gc=False):
    """The provider's error object, of a line or of a body."""

    code: str | int | None = None
    type: str | None = None
    param: str | None = None
    message: str | None = None


class CachedDetails(Struct, gc=False):
    """Part of the input tokens."""

    cached_tokens: Count = None


class ReasoningDetails(Struct, gc=False):
    """Part of the output tokens."""

    reasoning_tokens: Count = None


class Usage(Struct, gc=False):
    """Tokens by the names of chat completions and embeddings, and by those of responses."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: CachedDetails | None = None
    completion_tokens_details: ReasoningDetails | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: CachedDetails | None = None
    output_tokens_details: ReasoningDetails | None = None


class Message(Struct, gc=False):
    """What the model said in a chat completion."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Raw | UnsetType = UNSET


class Choice(Struct, gc=False):
    """One of the answers of a chat completion."""

    message: Message | None = None
    finish_reason: str | None = None


class ChatBody(Struct, gc=False):
    """`chat.completion`, or an error envelope."""

    model: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: ErrorShape | None = None


class Part(Struct, gc=False):
    """Part of a message of a response."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class Item(Struct, gc=False):
    """Output item of a response."""

    type: str | None = None
    content: list[Part] | None = None


class Incomplete(Struct, gc=False):
    """Why a response is not complete."""

    reason: str | None = None


class ResponsesBody(Struct, gc=False):
    """`response`, or an error envelope."""

    model: str | None = None
    status: str | None = None
    output: Raw | UnsetType = UNSET  # list[Item]; kept raw because tool calls are passed on as they came
    incomplete_details: Incomplete | None = None
    usage: Usage | None = None
    error: ErrorShape | None = None


class Embedding(Struct, gc=False):
    """One vector: numbers, or base64 of little-endian 32-bit floats."""

    embedding: list[float] | str | None = None


class EmbeddingsBody(Struct, gc=False):
    """List of embeddings, or an error envelope."""

    model: str | None = None
    data: list[Embedding] | None = None
    usage: Usage | None = None
    error: ErrorShape | None = None


class CompletionChoice(Struct, gc=False):
    """One of the answers of a legacy completion."""

    text: str | None = None
    finish_reason: str | None = None


class CompletionBody(Struct, gc=False):
    """`text_completion`, or an error envelope."""

    model: str | None = None
    choices: list[CompletionChoice] | None = None
    usage: Usage | None = None
    error: ErrorShape | None = None


class Moderated(Struct, gc=False):
    """What a moderation says of one input."""

    flagged: bool | None = None
    categories: dict[str, bool] | None = None
    category_scores: dict[str, float] | None = None


class ModerationBody(Struct, gc=False):
    """A moderation, or an error envelope."""

    model: str | None = None
    results: list[Moderated] | None = None
    usage: Usage | None = None
    error: ErrorShape | None = None


class MadeImage(Struct, gc=False):
    """One image: base64, kept raw because it is long, or a URL."""

    b64_json: Raw | UnsetType = UNSET
    url: str | None = None


class ImagesBody(Struct, gc=False):
    """List of images, or an error envelope."""

    model: str | None = None
    data: list[MadeImage] | None = None
    usage: Usage | None = None
    error: ErrorShape | None = None


class Response(Struct, Generic[Body], gc=False):
    """The HTTP answer of a row."""

    status_code: int = 0
    request_id: str | None = None
    body: Body | None = None


class Line(Struct, Generic[Body], gc=False):
    """One line of an output or error file."""

    custom_id: str
    response: Response[Body] | None = None
    error: ErrorShape | None = None
