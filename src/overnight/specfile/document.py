"""Specs as documents: the JSON Schema for editors, the commented example, and the spec that a command stands for."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from overnight.spec import Spec

SCHEMA_ID: Final = "urn:overnight:spec"

EXAMPLE: Final[Mapping[str, Any]] = {
    "model": "openai/gpt-5.4-mini",
    "source": "reviews.csv",
    "key": "id",
    "prompt": {
        "user": "What is the sentiment of this review?\n\n{{ text }}",
        "system": "You judge product reviews.",
    },
    "answer": {"labels": ["positive", "negative", "neutral"]},
    "output": "answers.csv",
}
"""What `overnight init` fills in; everything else stands there as a comment, with its default."""

_HEAD: Final = """\
# A job of overnight: `overnight run THIS-FILE`.
# What is commented out shows the default.
"""


def spec_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of spec files, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **msgspec.json.schema(Spec),
    }


def dump_yaml(spec: Spec) -> str:
    """The spec as YAML, defaults left out. Reading it gives the same spec."""
    return _yaml(msgspec.to_builtins(spec))


def commented_example() -> str:
    """A spec file with every field, described; it loads as it is."""
    root = inspect.type_info(Spec)
    return _HEAD + "".join(f"\n{block}" for block in _blocks(root, EXAMPLE))


def _blocks(kind: inspect.Type, values: Mapping[str, Any]) -> Iterator[str]:
    """One block per field: its description, then the field, commented out where `values` has none."""
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        name, description = field.encode_name, ""
        if isinstance(field.type, inspect.Metadata):
            description = (field.type.extra_json_schema or {}).get("description", "")
        inner = _struct(field.type)
        given = values.get(name)
        if inner is not None:
            body = f"{name}:\n" + textwrap.indent("".join(_blocks(inner, given or {})), "  ")
        else:
            body = _yaml({name: _default(field) if given is None else given})
        yield _comment(description) + (body if given is not None else _comment(body))


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" if line else "#\n" for line in text.splitlines())


def _struct(kind: inspect.Type) -> inspect.StructType | None:
    """The struct that a field holds, if it holds one."""
    if isinstance(kind, inspect.Metadata):
        return _struct(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next((found for choice in kind.types if (found := _struct(choice))), None)
    return kind if isinstance(kind, inspect.StructType) else None


def _default(field: inspect.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else None


def _yaml(value: Any) -> str:
    yaml = YAML(typ="rt")
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.allow_unicode = True
    stream = io.StringIO()
    yaml.dump(_blocked(value), stream)
    return stream.getvalue()


def _blocked(value: Any) -> Any:
    """Lists of scalars are written on one line, texts so that they read back as they are."""
    if isinstance(value, dict):
        return {_text(key): _blocked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = CommentedSeq(_blocked(item) for item in value)
        if not any(isinstance(item, dict | list) for item in items):
            items.fa.set_flow_style()
        return items
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> Any:
    """A text of several lines as a block; in quotes where that reads better or where anything could be lost."""
    lines = text.split("\n")
    plain = text[:1].isalnum() and all(map(str.isprintable, lines))
    if not plain:
        return DoubleQuotedScalarString(text)
    return LiteralScalarString(text) if len(lines) > 1 else text
