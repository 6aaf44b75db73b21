"""Rows into request lines: everything that is the same for all rows is serialised once, around the holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orjson import dumps

from overnight.data.estimates import ANSWER_TOKENS, MESSAGE_TOKENS, estimate
from overnight.data.records import Unreadable, filled, filled_texts
from overnight.errors import UsageError
from overnight.spec import Prompt
from overnight.types import Endpoint
from overnight.wire.conversation import AnswerFormat, Asked, Role, Text, Turn, Unsayable
from overnight.wire.custom_ids import custom_id, custom_id_form
from overnight.wire.dialect import Dialect, dialect

if TYPE_CHECKING:
    from overnight.data.templates import Template

Values = Mapping[str, Any]

_WITHOUT_TURNS = frozenset(Endpoint) - {Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.GENERATE}
"""Endpoints that take one text and no conversation."""


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What the requests of a job have in common."""

    dialect: str
    endpoint: Endpoint
    model: str
    parameters: Mapping[str, Any]
    answer_format: AnswerFormat | None
    max_output: int | None
    """Output tokens that one answer cannot exceed; None where there is no such limit. Sent where it is not 0."""
    limit_field: str = "max_completion_tokens"
    extra: Mapping[str, Any] = field(default_factory=dict)
    cache: bool = False
    """Whether what all rows share is to be kept in the provider's prompt cache."""

    @property
    def spoken(self) -> Dialect:
        """The dialect's functions."""
        return dialect(self.dialect)

    def asked(self, turns: Sequence[Turn], shared: int = 0) -> Asked:
        """The request with these turns, of which the first `shared` are the same in every row."""
        return Asked(
            model=self.model,
            turns=tuple(turns),
            limit=self.max_output or None,
            parameters=self.parameters,
            answer=self.answer_format,
            shared=shared if self.cache else 0,
            extra=self.extra,
            limit_field=self.limit_field,
        )


class Request(NamedTuple):
    """One request, ready to be written."""

    model: str
    endpoint: str
    line: bytes
    tokens: float
    """Input tokens, estimated."""
    ceiling: float
    """Input tokens that are not exceeded in practice."""
    max_output: int | None
    inputs: int
    """What counts against the provider's limit of requests in a batch: for embeddings, the texts."""


class Requested(NamedTuple):
    """Several requests of one model and endpoint: the lines of each, and the sums of the rest."""

    model: str
    endpoint: str
    lines: list[bytes]
    tokens: float
    ceiling: float
    max_output: int | None
    inputs: int


class Requests(Protocol):
    """How the rows of a job become requests."""

    columns: frozenset[str] | None
    """The columns that are read; None: all."""
    shared: float
    """Tokens of a row that all rows share, and that are to be kept in the provider's prompt cache."""

    def is_empty(self, values: Values) -> bool:
        """True where every column of the prompt is empty."""

    def render(self, values: Values) -> Any:
        """What differs from row to row. Raises `Unreadable`."""

    def request(self, ordinal: int, generation: int, rendered: Any) -> Request:
        """The request of a rendered row."""

    def request_all(self, first: int, generation: int, rows: Sequence[Values | None]) -> Requested | None:
        """The requests of rows whose ordinals count on from `first`; None where one of them is empty, cannot be
        rendered, or needs a look of its own for any other reason."""


class PromptRequests:
    """Requests made of the spec's prompt. Raises `UsageError` for a template that cannot be compiled, names no column
    of the source, or names one that it does not have."""

    def __init__(self, prompt: Prompt, shape: RequestShape, columns: Sequence[str], tag: str) -> None:
        if not prompt.user.strip():
            raise UsageError("prompt.user is empty: say what is asked about a row, with its columns as {{ column }}")
        self._model, self._endpoint, self._tag = shape.model, str(shape.endpoint), tag
        turns = turns_of(prompt, shape.endpoint, columns)
        templates = [text for _, text in turns if not isinstance(text, str)]
        self._names = sorted({name for template in templates for name in template.columns})
        if not self._names:
            raise UsageError(
                "prompt: no column of the source is named, so every row would ask the same: use {{ column }}"
            )
        self.columns: frozenset[str] | None = frozenset(self._names)
        self._open, (self._first, *self._pieces), order = _around_holes(turns, shape)
        self._holes = [templates[at] for at in order]
        self._fixed = fixed_tokens(turns, shape)
        self.shared = shared_tokens(turns, shape)
        copies = shape.extra.get("n") or 1
        self._max_output = None if shape.max_output is None else shape.max_output * copies

    def is_empty(self, values: Values) -> bool:
        """As `Requests.is_empty`."""
        for name in self._names:  # noqa: SIM110 - a generator would cost more than all of it
            if filled(values.get(name)):
                return False
        return True

    def _any_empty(self, rows: Sequence[Values]) -> bool:
        # As a rule there is a column with a text in every row.
        for name in self._names:
            if filled_texts([values.get(name) for values in rows]):
                return False
        return any(map(self.is_empty, rows))

    def render(self, values: Values) -> list[str]:
        """The texts of the holes, in their order in the line."""
        return [template.render(values) for template in self._holes]

    def request(self, ordinal: int, generation: int, rendered: list[str]) -> Request:
        """As `Requests.request`."""
        parts = [self._open, custom_id(self._tag, ordinal, generation).encode(), self._first]
        tokens, ceiling = self._fixed
        for text, piece in zip(rendered, self._pieces, strict=True):
            parts += (dumps(text), piece)
            more, most = estimate(text)
            tokens += more
            ceiling += most
        return Request(self._model, self._endpoint, b"".join(parts), tokens, ceiling, self._max_output, 1)

    def request_all(self, first: int, generation: int, rows: Sequence[Values | None]) -> Requested | None:
        """As `Requests.request_all`."""
        present, count = [values for values in rows if values is not None], len(rows)
        if len(present) < count or self._any_empty(present):
            return None
        try:
            rendered = [template.render_all(present) for template in self._holes]
        except Unreadable:
            return None
        form = b"%b".join(piece.replace(b"%", b"%%") for piece in (self._first, *self._pieces))
        form = self._open.replace(b"%", b"%%") + custom_id_form(self._tag, generation).encode() + form
        holes = [map(dumps, texts) for texts in rendered]
        lines = list(map(form.__mod__, zip(range(first, first + count), *holes, strict=True)))
        tokens, ceiling = estimate(*chain.from_iterable(rendered))
        tokens, ceiling = count * self._fixed[0] + tokens, count * self._fixed[1] + ceiling
        most = None if self._max_output is None else self._max_output * count
        return Requested(self._model, self._endpoint, lines, tokens, ceiling, most, count)


_Turn = tuple[Role, "str | Template"]


def turns_of(prompt: Prompt, endpoint: Endpoint, columns: Sequence[str]) -> list[_Turn]:
    """Turns with literal text where no column is named, else with the template."""
    from overnight.data.templates import compile_template  # what only reads answers needs no Jinja2

    def text(given: str, field: str) -> str | Template:
        template = compile_template(given, columns, field)
        return template if template.columns else template.render({})

    user: _Turn = ("user", text(prompt.user, "prompt.user"))
    if endpoint in _WITHOUT_TURNS:
        return [user]
    system: list[_Turn] = [] if prompt.system is None else [("system", text(prompt.system, "prompt.system"))]
    earlier: list[_Turn] = []
    for example in prompt.examples:
        earlier += [("user", example.user), ("assistant", example.assistant)]
    return [*system, *earlier, user]


def _around_holes(turns: Sequence[_Turn], shape: RequestShape) -> tuple[bytes, list[bytes], list[int]]:
    """What stands before the custom id, the constant pieces behind it, and which template fills each hole: found by
    sending marks through the dialect, so that only the dialect knows the form of a line."""
    stem = token_hex(16)
    marks = [f"{stem}-{at}" for at in range(sum(not isinstance(text, str) for _, text in turns))]
    fill = iter(marks)
    filled_in = [Turn(role, (Text(text if isinstance(text, str) else next(fill)),)) for role, text in turns]
    shared = next((at for at, (_, text) in enumerate(turns) if not isinstance(text, str)), 0)
    try:
        body = shape.spoken.request_body(shape.endpoint, shape.asked(filled_in, shared))
    except Unsayable as error:
        raise UsageError(str(error)) from None
    start, rest = shape.spoken.request_line(stem, shape.endpoint, dumps(body)).split(stem.encode(), 1)
    order = sorted(range(len(marks)), key=lambda at: rest.index(marks[at].encode()))
    pieces = []
    for at in order:
        piece, rest = rest.split(dumps(marks[at]), 1)
        pieces.append(piece)
    return start, [*pieces, rest], order


def fixed_tokens(turns: Sequence[_Turn], shape: RequestShape) -> tuple[float, float]:
    """The tokens that every row has: literal turns, the frame of each, the schema and the tools."""
    literal = [text for _, text in turns if isinstance(text, str)]
    extras = [shape.parameters, shape.extra, None if shape.answer_format is None else shape.answer_format.schema]
    literal += [dumps(extra).decode() for extra in extras if extra]
    found = [estimate(text) for text in literal]
    frame = 0 if shape.endpoint in _WITHOUT_TURNS else MESSAGE_TOKENS * len(turns) + ANSWER_TOKENS
    return frame + sum(tokens for tokens, _ in found), frame + sum(ceiling for _, ceiling in found)


def shared_tokens(turns: Sequence[_Turn], shape: RequestShape) -> float:
    """The tokens of the literal turns before the first that differs, where they are to be cached. Raises `UsageError`
    where there is none."""
    if not shape.cache:
        return 0.0
    literal = list(takewhile(lambda text: isinstance(text, str), (text for _, text in turns)))
    if not literal:
        raise UsageError("prompt.cache: no system message or example is the same in every row: leave it out")
    return sum(estimate(text)[0] for text in literal if isinstance(text, str))
