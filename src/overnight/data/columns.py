"""The columns of a table of answers: their names, their order and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec

from overnight.data.schemas import ANSWER, AnswerRules
from overnight.spec import Spec


class Content(Enum):
    """What a column holds; None is always possible. It decides how a format writes it."""

    OWN = auto()  # the user's: any JSON value, written unchanged
    TEXT = auto()  # of the model or the provider; or the JSON of it, as bytes
    INTEGER = auto()
    NUMBER = auto()
    BOOLEAN = auto()
    VECTOR = auto()  # numbers
    JSON = auto()  # any JSON value, by the model
    RAW = auto()  # JSON as bytes, passed on as it came
    DOLLARS = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the output."""

    name: str
    content: Content


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns in order: the key, those of the source (`source` has their names there), the status, as many as `answers`
    says for the answer, then how it went."""

    columns: tuple[Column, ...]
    source: tuple[str, ...]
    answers: int


_texts = msgspec.json.Decoder(list[str])


def texts(values: Sequence[Any]) -> Sequence[str | None]:
    """A TEXT column's values with those decoded that are JSON."""
    coded = [value for value in values if type(value) is bytes]
    if not coded:
        return values
    found = _texts.decode(b"[%b]" % b",".join(coded))
    if len(found) == len(values):
        return found
    left = iter(found)
    return [next(left) if type(value) is bytes else value for value in values]


def is_same(values: Sequence[Any]) -> bool:
    """Whether all of a TEXT column's values are one: it is so for many, and told at once."""
    return bool(values) and values[0] == values[-1] and values.count(values[0]) == len(values)


def shown(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """The column's values as Python has them."""
    match column.content:
        case Content.TEXT:
            return texts(values)
        case Content.RAW:
            return [None if value is None else msgspec.json.decode(value) for value in values]
        case _:
            return values


STATUS = Column("status", Content.TEXT)
REPORT = (
    Column("error_kind", Content.TEXT),
    Column("error_message", Content.TEXT),
    Column("finish_reason", Content.TEXT),
    Column("model", Content.TEXT),
    Column("custom_id", Content.TEXT),
    Column("request_id", Content.TEXT),
    Column("batch_id", Content.TEXT),
    Column("attempts", Content.INTEGER),
    Column("input_tokens", Content.INTEGER),
    Column("cached_tokens", Content.INTEGER),
    Column("output_tokens", Content.INTEGER),
    Column("reasoning_tokens", Content.INTEGER),
    Column("cost", Content.DOLLARS),
)
ROW = "row"
"""Name of the key column where the user named none: the row's number, 1-based."""
KEY = "key"
"""Name of the key column of raw lines: the `custom_id` that the user gave, else the row's number."""

_SIMPLE = {
    "string": Content.TEXT,
    "integer": Content.INTEGER,
    "number": Content.NUMBER,
    "boolean": Content.BOOLEAN,
}


def answers_layout(spec: Spec, rules: AnswerRules, source_columns: Sequence[str]) -> Layout:
    """The columns of the answers. `keep` decides which source columns are among them; one that would have the name of
    another column is called `source.NAME`, and a property of the answer `answer.NAME`. The key comes first."""
    extras = tuple(Column(name, Content.RAW) for name in dict.fromkeys(spec.extra))
    taken = {column.name for column in (STATUS, *REPORT, *extras)}
    key = _free(spec.key or (KEY if spec.raw else ROW), "source", taken)
    answers = tuple(Column(_free(column.name, "answer", taken), column.content) for column in _answers(spec, rules))
    kept = source_columns if spec.keep == "all" else () if spec.keep == "key" else spec.keep
    source = tuple(name for name in dict.fromkeys(kept) if name != spec.key)
    own = tuple(Column(_free(name, "source", taken), Content.OWN) for name in source)
    columns = (Column(key, _key_content(spec)), *own, STATUS, *answers, *REPORT, *extras)
    return Layout(columns, source, len(answers))


def failed_layout(spec: Spec, source_columns: Sequence[str]) -> Layout:
    """The columns of rows that are to go out again: key and source columns under their own names, so that the file is a
    source like the first; then how it went, where a name that is taken becomes `overnight.NAME`."""
    source = tuple(name for name in source_columns if name != spec.key)
    taken = {*source, *([spec.key] if spec.key else [])}
    key = spec.key or _free(KEY if spec.raw else ROW, "overnight", taken)
    own = tuple(Column(name, Content.OWN) for name in source)
    report = tuple(Column(_free(column.name, "overnight", taken), column.content) for column in (STATUS, *REPORT))
    return Layout((Column(key, _key_content(spec)), *own, *report), source, 0)


def _key_content(spec: Spec) -> Content:
    return Content.OWN if is_keyed(spec) else Content.INTEGER


def is_keyed(spec: Spec) -> bool:
    """Whether rows have keys of the user's: a column, or the ids of raw lines."""
    return spec.raw or spec.key is not None


def _free(name: str, prefix: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{prefix}.{name}"
    taken.add(name)
    return name


def _answers(spec: Spec, rules: AnswerRules) -> tuple[Column, ...]:
    if spec.endpoint == "embeddings":
        return (Column(ANSWER, Content.VECTOR),)
    if spec.endpoint == "moderations":
        return (Column("flagged", Content.BOOLEAN), Column("scores", Content.JSON))
    if rules.schema is None or spec.answer.labels is not None:
        return (Column(ANSWER, Content.TEXT),)
    properties = rules.schema.get("properties") or {}
    return tuple(Column(name, _content(properties.get(name))) for name in rules.check.columns)


def _content(schema: Any) -> Content:
    """TEXT and the like where the schema says that the property is that or null, and nothing else."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(kind, list):
        others = [name for name in kind if name != "null"]
        kind = others[0] if len(others) == 1 else None
    return _SIMPLE.get(kind, Content.JSON) if isinstance(kind, str) else Content.JSON
