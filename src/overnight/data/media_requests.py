"""Requests with images or documents: each body is made by itself, for what a picture looks like on the wire depends on
what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orjson import dumps

from overnight.data.estimates import estimate
from overnight.data.media import media_of, tokens_of
from overnight.data.records import Unreadable, filled
from overnight.data.requests import Request, RequestShape, Values, fixed_tokens, shared_tokens, turns_of
from overnight.errors import UsageError
from overnight.spec import Prompt
from overnight.types import Endpoint
from overnight.wire.conversation import MediaKind, Text, Turn, Unsayable
from overnight.wire.custom_ids import custom_id

if TYPE_CHECKING:
    from overnight.data.templates import Template

_SEEING = frozenset(
    {
        *(Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.GENERATE),
        *(Endpoint.MODERATIONS, Endpoint.IMAGE_EDITS),
    }
)


class Rendered(NamedTuple):
    """A body, and the input tokens of its request: estimated, and not exceeded in practice."""

    body: bytes
    tokens: float
    ceiling: float


class MediaRequests:
    """As `requests.PromptRequests`, where `prompt.images` or `prompt.documents` stand in the last user turn, before its
    text. Relative paths start from `folder`."""

    def __init__(self, prompt: Prompt, shape: RequestShape, columns: Sequence[str], tag: str, folder: Path) -> None:
        from overnight.data.templates import compile_template

        if shape.endpoint not in _SEEING:
            raise UsageError(f"`prompt.images`, `prompt.documents`: {shape.endpoint.value} takes none; leave them out")
        if not prompt.user.strip():
            raise UsageError("prompt.user is empty: say what is asked about the images or documents")
        self._shape, self._tag, self._folder = shape, tag, folder
        self._turns = turns_of(prompt, shape.endpoint, columns)
        self._media: list[tuple[MediaKind, Template]] = []
        fields: tuple[tuple[MediaKind, str, tuple[str, ...]], ...] = (
            ("image", "prompt.images", prompt.images),
            ("document", "prompt.documents", prompt.documents),
        )
        for kind, field, given in fields:
            self._media += [(kind, compile_template(text, columns, field)) for text in given]
        templates = [text for _, text in self._turns if not isinstance(text, str)]
        templates += [template for _, template in self._media]
        self._names = sorted({name for template in templates for name in template.columns})
        if not self._names:
            raise UsageError(
                "prompt: no column of the source is named, so every row would ask the same: use {{ column }}"
            )
        self.columns: frozenset[str] | None = frozenset(self._names)
        self._fixed = fixed_tokens(self._turns, shape)
        self.shared = shared_tokens(self._turns, shape)
        self._shared = next((at for at, (_, text) in enumerate(self._turns) if not isinstance(text, str)), 0)

    def is_empty(self, values: Values) -> bool:
        """As `Requests.is_empty`."""
        return not any(filled(values.get(name)) for name in self._names)

    def render(self, values: Values) -> Rendered:
        """The body, for only when it is made is it known that the dialect can say it. Raises `Unreadable`."""
        tokens, ceiling = self._fixed
        turns: list[Turn] = []
        for role, text in self._turns:
            said = text if isinstance(text, str) else text.render(values)
            turns.append(Turn(role, (Text(said),)))
            if said is not text:
                more, most = estimate(said)
                tokens, ceiling = tokens + more, ceiling + most
        media = [one for kind, template in self._media for one in media_of(template.render(values), kind, self._folder)]
        for more, most in map(tokens_of, media):
            tokens, ceiling = tokens + more, ceiling + most
        turns[-1] = Turn("user", (*media, *turns[-1].parts))
        shape = self._shape
        try:
            body = shape.spoken.request_body(shape.endpoint, shape.asked(turns, self._shared))
        except Unsayable as error:
            raise Unreadable(str(error)) from None
        return Rendered(dumps(body), tokens, ceiling)

    def request(self, ordinal: int, generation: int, rendered: Rendered) -> Request:
        """As `Requests.request`."""
        shape, (body, tokens, ceiling) = self._shape, rendered
        line = shape.spoken.request_line(custom_id(self._tag, ordinal, generation), shape.endpoint, body)
        return Request(shape.model, str(shape.endpoint), line, tokens, ceiling, shape.max_output, 1)

    def request_all(self, first: int, generation: int, rows: Sequence[Values | None]) -> None:
        """As `Requests.request_all`: every body is made by itself."""
