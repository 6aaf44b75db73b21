"""How long an answer may get: no generating request leaves without a limit on its output.

The limit of a schema is the longest JSON text it allows, counted as one token per byte where the text is fixed (names,
labels, punctuation: no tokenizer of a language model makes more), and estimated where it is free (`maxLength`, else
256 tokens a text).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from overnight.core.families import Family, Thinking, family
from overnight.core.parameters import LEAST_RESPONSES_LIMIT, LIMIT, LIMITED, checked, endpoint_of
from overnight.spec import Spec
from overnight.types import Endpoint

FREE_TEXT: Final = 1_024  # tokens of an answer without labels or schema
STRING: Final = 256  # tokens of a text without `maxLength`
NUMBER: Final = 24
ITEMS: Final = 16  # items of a list without `maxItems`
OPEN: Final = 256  # tokens of a part of which the schema says nothing, or which contains itself
SLACK: Final = 1.25  # models may indent
MARGIN: Final = 16
MOST: Final = 16_384  # the longest derived limit, reasoning apart

REASONING: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1_024,
    "low": 4_096,
    "medium": 16_384,
    "high": 32_768,
    "xhigh": 65_536,
    "max": 65_536,
}
"""Tokens added for reasoning, by effort: room enough that answers are rarely cut, not what is usually spent."""


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """The most output tokens of a row, and where the number comes from (for the preview)."""

    tokens: int
    reason: str


def output_limit(
    spec: Spec, provider: str, model: str, base_url: str | None = None, schema: Mapping[str, Any] | None = None
) -> OutputLimit | None:
    """The limit of the spec's rows; None for embeddings and raw sources, whose lines bring their own. `schema` is the
    answer's JSON Schema, labels included (`data.schemas`). Raises `UsageError` for parameters that are refused."""
    endpoint, given = endpoint_of(spec, provider), checked(spec, provider, model, base_url)
    if spec.raw or endpoint not in LIMITED:
        return None
    if LIMIT in given:
        return OutputLimit(given[LIMIT], f"parameters.{LIMIT}")
    kind = family(provider, model, base_url)
    tokens, reason = _of_answer(spec, schema)
    longest = min(MOST, kind.longest)
    if tokens > longest:
        tokens, reason = longest, f"{reason}, cut to {longest:,}"
    effort = _effort(kind, given.get("reasoning_effort"))
    if REASONING[effort]:
        tokens, reason = tokens + REASONING[effort], f"{reason} + {REASONING[effort]:,} for reasoning ({effort})"
    least = LEAST_RESPONSES_LIMIT if endpoint is Endpoint.RESPONSES else 1
    return OutputLimit(min(max(tokens, least), kind.longest), reason)


def _of_answer(spec: Spec, schema: Mapping[str, Any] | None) -> tuple[int, str]:
    if schema is None:
        return FREE_TEXT, "default for text"
    tokens = math.ceil(longest_answer(schema) * SLACK) + MARGIN
    return tokens, "longest label" if spec.answer.labels is not None else "longest answer of the schema"


def _effort(kind: Family, given: str | None) -> str:
    if given is not None:
        return given
    return "none" if kind.thinking in {Thinking.NEVER, Thinking.OFF} else "medium"


def longest_answer(schema: Mapping[str, Any]) -> int:
    """Tokens of the longest compact JSON text that the schema allows; estimated where the schema leaves it open."""
    return _Estimate(schema).longest(schema)


class _Estimate:
    """One walk over a schema; every reference is walked once."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._referenced: dict[str, int] = {}

    def longest(self, node: Any) -> int:
        if not isinstance(node, Mapping):
            return OPEN
        if isinstance(node.get("$ref"), str):
            return self._of_reference(node["$ref"])
        if "const" in node:
            return _written(node["const"])
        if isinstance(node.get("enum"), list):
            return max((_written(value) for value in node["enum"]), default=0)
        branches = [branch for word in ("anyOf", "oneOf") for branch in node.get(word, ())]
        if branches:
            return max(map(self.longest, branches))
        if isinstance(node.get("allOf"), list):
            return sum(map(self.longest, node["allOf"]))
        kinds = node.get("type", "object" if "properties" in node else None)
        return max(self._of_kind(kind, node) for kind in (kinds if isinstance(kinds, list) else [kinds]))

    def _of_reference(self, reference: str) -> int:
        if reference not in self._referenced:
            self._referenced[reference] = OPEN  # what a part that contains itself finds
            self._referenced[reference] = self.longest(resolve(reference, self._root))
        return self._referenced[reference]

    def _of_kind(self, kind: Any, node: Mapping[str, Any]) -> int:
        match kind:
            case "object" if node.get("properties"):
                properties = node["properties"].items()
                return 2 + sum(_written(name) + 2 + self.longest(part) for name, part in properties)
            case "array":
                return 2 + int(node.get("maxItems", ITEMS)) * (1 + self.longest(node.get("items")))
            case "string":
                return 2 + int(node.get("maxLength", STRING))
            case "number" | "integer":
                return NUMBER
            case "boolean" | "null":
                return 5
            case _:
                return OPEN


def _written(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


def resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """What a local reference (`#/$defs/name`) points to, or None."""
    if not reference.startswith("#"):
        return None
    node: Any = root
    for part in filter(None, reference[1:].split("/")):
        step = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or step not in node:
            return None
        node = node[step]
    return node
