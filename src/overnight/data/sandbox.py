"""Jinja2 for prompts: sandboxed, and bounded in memory, loops and output, whatever a row holds.

The sandbox of Jinja2 keeps a template from reaching the program. What it does not keep it from is asking for a
billion characters, so everything that can make a text longer than its parts is bounded here or left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST = 8 << 20
"""Characters, or items, of any one value and of the whole output."""

MOST_TURNS = 1_000_000
"""Turns of all `range` loops of one rendering."""

_MOST_NUMBER = 1_000_000
_MOST_BITS = 10_000
_LEFT_OUT_FILTERS = ("center", "lipsum", "pprint", "random", "xmlattr", "urlize")
_LEFT_OUT_METHODS = frozenset(
    {"center", "ljust", "rjust", "zfill", "expandtabs", "translate", "format_map", "to_bytes"}
)
_NUMBERED = frozenset({"batch", "indent", "round", "slice", "tojson", "truncate", "wordwrap"})
_WIDE_FORMAT = re.compile(r"%(\([^)]*\))?[^A-Za-z%]*(\d{5}|\*)|\{[^{}]*:[^{}]*\d{5}")


def _join(parts: Iterable[str]) -> str:
    found, size = [], 0
    for part in parts:
        size += len(part) + 1  # a billion empty parts are too many as well
        if size > MOST:
            raise SecurityError(f"more than {MOST} characters")
        found.append(part)
    return "".join(found)


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one template set; `finalize` turns values into text, `names` are never taken for globals."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, finalize: Callable[[Any], Any], names: Collection[str]) -> None:
        super().__init__(undefined=StrictUndefined, finalize=finalize, autoescape=False, auto_reload=False)
        self.turns = 0
        own = {"range": self.range, "namespace": self.globals["namespace"]}
        self.globals = {name: value for name, value in own.items() if name not in names}
        self.filters = {
            name: _bounded(name, function) for name, function in self.filters.items() if name not in _LEFT_OUT_FILTERS
        }
        self.filters["string"] = lambda value: str(finalize(value))

    concat = staticmethod(_join)
    """Jinja2 joins the parts of the output, and of every block and macro, with this."""

    def range(self, *numbers: int) -> range:
        """`range`, whose turns are counted over the whole rendering."""
        turns = range(*numbers)
        self.turns += len(turns)
        if self.turns > MOST_TURNS:
            raise SecurityError(f"more than {MOST_TURNS} turns in loops")
        return turns

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`*`, `**`, `+` and `%` within bounds."""
        _check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Calls with numbers and results within bounds."""
        method, target = getattr(__obj, "__name__", ""), getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(target, str | bytes):
            _check_widening(method, target, args, kwargs)
            _check_numbers(args, kwargs)
        return _sized(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """False also for methods that widen text."""
        return attr not in _LEFT_OUT_METHODS and super().is_safe_attribute(obj, attr, value)


class BoundedConcat(NodeTransformer):
    """Rewrites `a ~ b` as `a|string + b|string`, which is intercepted: texts as they are in the output."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802 - Jinja2 calls it by the node's name
        """One sum of texts."""
        self.generic_visit(node)
        parts: list[nodes.Expr] = [
            nodes.Filter(part, "string", [], [], None, None, lineno=node.lineno) for part in node.nodes
        ]
        total = parts[0]
        for part in parts[1:]:
            total = nodes.Add(total, part, lineno=node.lineno)
        return total


def _sized(value: Any) -> Any:
    if isinstance(value, str | bytes | list | tuple | dict) and len(value) > MOST:
        raise SecurityError(f"more than {MOST} characters or items")
    return value


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    # A filter that wants its context, environment or evaluation context gets it before the value.
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value, rest = args[at], args[at + 1 :]
        _check_widening(name, value, rest, kwargs)
        if name in _NUMBERED:
            _check_numbers(rest, kwargs)
        return _sized(function(*args, **kwargs))

    return bounded


def _check_numbers(args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int | float) and not -_MOST_NUMBER <= value <= _MOST_NUMBER:
            raise SecurityError(f"an argument is over {_MOST_NUMBER}")


def _check_widening(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raises where a filter or a method of strings would make more than `MOST` characters."""
    given = (*args, *kwargs.values())
    size = 0
    match name:
        case "replace":
            old, new = (*map(str, given[:2]), "", "")[:2]
            size = len(str(value)) + str(value).count(old) * len(new)
        case "indent" | "wordwrap" | "tojson":
            width = max((len(part) if isinstance(part, str) else part for part in given if part), default=0)
            lines = len(str(value)) if name != "indent" else str(value).count("\n") + 1
            size = lines * width if width > 100 else 0
        case "batch" | "slice":
            size = max((part for part in given if isinstance(part, int)), default=0) * 8
        case "join":
            # A filter has the items as its value, a method has them as its argument.
            items, glue = (given[0] if given else (), value) if isinstance(value, str) and given else (value, given)
            separator = glue if isinstance(glue, str) else next((part for part in glue if isinstance(part, str)), "")
            size = len(separator) * (len(items) if hasattr(items, "__len__") else 0)
        case "format":
            if _WIDE_FORMAT.search(str(value)):
                raise SecurityError("a width in the format is over 9999 or is not fixed")
        case _:
            return
    if size > MOST:
        raise SecurityError(f"more than {MOST} characters")


def _check_operation(operator: str, left: Any, right: Any) -> None:
    texts = (str, bytes, list, tuple)
    match operator:
        case "*":
            for one, times in ((left, right), (right, left)):
                if isinstance(one, texts) and isinstance(times, int) and len(one) * times > MOST:
                    raise SecurityError(f"more than {MOST} characters or items")
            if _bits(left) + _bits(right) > _MOST_BITS:
                raise SecurityError("a number is too large")
        case "**":
            if isinstance(left, int) and isinstance(right, int) and _bits(left) * abs(right) > _MOST_BITS:
                raise SecurityError("a number is too large")
        case "+":
            if isinstance(left, texts) and isinstance(right, texts) and len(left) + len(right) > MOST:
                raise SecurityError(f"more than {MOST} characters or items")
        case _:
            if isinstance(left, str) and _WIDE_FORMAT.search(left):
                raise SecurityError("a width in the format is over 9999 or is not fixed")


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0
