"""What the types of a spec cannot say: rules between fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from overnight.spec import Spec
from overnight.specfile.faults import fault
from overnight.specfile.marks import Path, Place


def check(spec: Spec, place: Place) -> None:
    """Raises `UsageError` for the first rule that the spec breaks."""
    for path, what in _broken(spec):
        raise fault(path, place, what)


def _broken(spec: Spec) -> Iterator[tuple[Path, str]]:
    if spec.base_url is not None and not spec.base_url.startswith(("http://", "https://")):
        yield ("base_url",), "must begin with http:// or https://"
    yield from _raw(spec) if spec.raw else _prompted(spec)
    if spec.endpoint not in {None, "chat", "responses"}:
        yield from _without_turns(spec)
    yield from _answer(spec)
    yield from _expected(spec)


def _raw(spec: Spec) -> Iterator[tuple[Path, str]]:
    for name, given in (
        ("prompt", spec.prompt.user or spec.prompt.system or spec.prompt.examples),
        ("answer", spec.answer.labels is not None or spec.answer.schema is not None),
        ("parameters", spec.parameters),
    ):
        if given:
            yield (name,), "the lines of a raw source bring their own; leave it out, or `raw`"


def _prompted(spec: Spec) -> Iterator[tuple[Path, str]]:
    if not spec.prompt.user.strip():
        yield ("prompt", "user"), "missing; say what is asked of each row, e.g. 'Sentiment of: {{ text }}'"
    if spec.allow_unlimited:
        yield ("allow_unlimited",), "is for raw sources; leave it out"


def _without_turns(spec: Spec) -> Iterator[tuple[Path, str]]:
    for path, given in (
        (("prompt", "system"), spec.prompt.system is not None),
        (("prompt", "examples"), spec.prompt.examples),
        (("answer",), spec.answer.labels is not None or spec.answer.schema is not None),
        (("with",), "logprobs" in spec.extra),
    ):
        if given:
            yield path, f"{str(spec.endpoint).replace('_', ' ')} have none; leave it out"


def _answer(spec: Spec) -> Iterator[tuple[Path, str]]:
    labels = spec.answer.labels
    if labels is None:
        return
    if spec.answer.schema is not None:
        yield ("answer", "schema"), "`labels` and `schema` exclude each other; keep one"
    if not labels:
        yield ("answer", "labels"), "is empty; name the labels, or leave it out"
    for index, label in enumerate(labels):
        if not label.strip():
            yield ("answer", "labels", index), "must not be empty"
    for label, times in Counter(labels).items():
        if times > 1:
            yield ("answer", "labels", len(labels) - 1 - labels[::-1].index(label)), f"`{label}` is given twice"


def _expected(spec: Spec) -> Iterator[tuple[Path, str]]:
    expect = spec.rows.expect
    if expect is None:
        return
    if expect.rows is not None:
        least, most = (expect.rows, expect.rows) if isinstance(expect.rows, int) else expect.rows
        if not 0 <= least <= most:
            yield ("rows", "expect", "rows"), f"must be a number of rows, or [least, most], not [{least}, {most}]"
    for label, (low, high) in (expect.labels or {}).items():
        if not 0 <= low <= high <= 1:
            yield ("rows", "expect", "labels", label), f"must be [least, most] from 0 to 1, not [{low:g}, {high:g}]"
        if label not in (spec.answer.labels or ()):
            yield ("rows", "expect", "labels", label), "is none of `answer.labels`"
