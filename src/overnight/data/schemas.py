"""What a good answer is: the format that is asked of the provider, and the check of what comes back.

Labels are asked as `{"label": one of them}`; the label itself, alone, is taken as well. Upper and lower case and spaces
count. An answer of a schema is a JSON object; its properties become columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from overnight.core.limits import resolve
from overnight.data.strict import pointer, tighten
from overnight.errors import UsageError
from overnight.spec import Spec
from overnight.types import Reply
from overnight.wire.conversation import AnswerFormat

LABEL: Final = "label"
ANSWER: Final = "answer"
"""The column of text answers, labels, and objects whose schema names no property."""


class AnswerCheck:
    """The job's own judgement of an answer, compiled once. Text answers pass: whether they are empty, cut or refused is
    judged before."""

    columns: tuple[str, ...] = (ANSWER,)
    """Output columns that `fields` fills."""
    judges: bool = False
    """Whether there is any answer that does not pass."""

    def __call__(self, reply: Reply) -> str | None:
        """None where the answer is valid, else why not, in words that hold nothing of the answer."""
        return None

    def fields(self, text: str) -> Mapping[str, Any]:
        """Column -> value of a valid answer; a column may be missing, and what is no column be there."""
        return {ANSWER: text}


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """The answer of a spec: what is asked, what is checked, the user's schema (labels included), notes for the
    preview."""

    format: AnswerFormat | None
    check: AnswerCheck
    schema: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def answer_rules(spec: Spec) -> AnswerRules:
    """What the spec's `answer` means. Raises `UsageError` naming the file or the place in a schema that is broken or
    that no provider takes."""
    if spec.answer.labels is not None:
        schema = _labels_schema(spec.answer.labels)
        return _asked(schema, "label", _LabelCheck(spec.answer.labels))
    if spec.answer.schema is None:
        return AnswerRules(None, AnswerCheck())
    source = spec.answer.schema
    schema = _loaded(Path(source)) if isinstance(source, str) else source
    where = source if isinstance(source, str) else "answer.schema"
    check = _SchemaCheck(schema, where)
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", str(schema.get("title") or ANSWER))[:64]
    return _asked(_object_at_the_top(schema, where), name, check)


def schema_of(model: type) -> dict[str, Any]:
    """The JSON Schema of a pydantic model class, for `answer.schema`. Raises `UsageError` for another class."""
    make = getattr(model, "model_json_schema", None)
    if make is None:
        raise UsageError(
            f"answer.schema: {getattr(model, '__name__', model)} is no pydantic model; give a JSON Schema "
            "or a class made with pydantic 2 (pip install 'overnight[pydantic]')"
        )
    schema: dict[str, Any] = make()
    return schema


def _asked(schema: Mapping[str, Any], name: str, check: AnswerCheck) -> AnswerRules:
    tightened = tighten(schema)
    if tightened.misfit is not None:
        note = f"strict mode is off: {tightened.misfit}; answers are checked on return"
        return AnswerRules(AnswerFormat(name, schema, strict=False), check, schema, (note,))
    unchecked = ", ".join(f"`{one}`" for one in tightened.unchecked)
    notes = (f"checked on return only: {unchecked}",) if unchecked else ()
    return AnswerRules(AnswerFormat(name, tightened.schema), check, schema, notes)


def _labels_schema(labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {LABEL: {"type": "string", "enum": list(labels)}},
        "required": [LABEL],
        "additionalProperties": False,
    }


class _LabelCheck(AnswerCheck):
    judges = True

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = frozenset(labels)
        # What models write in nearly every case, found without parsing.
        self._texts = {label: label for label in labels}
        for label in labels:
            self._texts[json.dumps({LABEL: label}, ensure_ascii=False, separators=(",", ":"))] = label
            self._texts[json.dumps({LABEL: label}, ensure_ascii=False)] = label

    def __call__(self, reply: Reply) -> str | None:
        if reply.text is None:
            return None
        return None if self._label(reply.text) is not None else "the answer is none of the labels"

    def fields(self, text: str) -> Mapping[str, Any]:
        return {ANSWER: self._label(text)}

    def _label(self, text: str) -> str | None:
        known = self._texts.get(text)
        if known is not None:
            return known
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            return None
        if not isinstance(value, dict) or value.keys() != {LABEL}:
            return None
        label = value[LABEL]
        return label if isinstance(label, str) and label in self._labels else None


class _SchemaCheck(AnswerCheck):
    judges = True

    def __init__(self, schema: Mapping[str, Any], where: str) -> None:
        import jsonschema_rs

        try:
            # Offline: a reference to the web is an error of the schema, not a request.
            self._validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True, offline=True)
        except jsonschema_rs.ValidationError as error:
            path = pointer(tuple(map(str, error.instance_path)))
            raise UsageError(f"`{path}` ({where}): no valid JSON Schema: {error.message}") from None
        properties = tuple(_object_at_the_top(schema, where).get("properties") or ())
        self.columns = properties or (ANSWER,)
        self._whole = not properties

    def __call__(self, reply: Reply) -> str | None:
        if reply.text is None:
            return None
        try:
            value = msgspec.json.decode(reply.text)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            return "the answer is not JSON"
        if self._validator.is_valid(value):
            return None
        # The place in the schema, never in the answer, whose own names may be content.
        error = next(self._validator.iter_errors(value))
        return f"the answer breaks the schema at `{pointer(tuple(map(str, error.schema_path)))}`"

    def fields(self, text: str) -> Mapping[str, Any]:
        if self._whole:
            return {ANSWER: text}
        found: dict[str, Any] = msgspec.json.decode(text)
        return found


def _loaded(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"no such schema file: {path} (answer.schema)") from None
    except OSError as error:
        raise UsageError(f"cannot read {path} (answer.schema): {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"no valid JSON ({path}:{error.lineno}): {error.msg}") from None
    except (UnicodeDecodeError, RecursionError):
        raise UsageError(f"no valid JSON ({path}): save the schema as JSON in UTF-8") from None
    if not isinstance(schema, dict):
        raise UsageError(f"no JSON Schema ({path}): it must be a JSON object")
    return schema


def _object_at_the_top(schema: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The schema with a reference at its top written out. Every provider wants an object there."""
    top: Any = schema
    for _ in range(len(schema) + 8):  # more steps than that go in a circle
        if not isinstance(top, Mapping) or not isinstance(top.get("$ref"), str):
            break
        top = resolve(top["$ref"], schema)
    if not isinstance(top, Mapping) or (top.get("type", "object" if "properties" in top else None) != "object"):
        raise UsageError(
            f"`the top` ({where}): must be of type object, the only answer that providers give; "
            "put the value into a property"
        )
    if top is schema:
        return schema
    return {**top, **{word: schema[word] for word in ("$schema", "$defs", "definitions") if word in schema}}
