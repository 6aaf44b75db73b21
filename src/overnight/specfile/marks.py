"""YAML 1.2 with the line of every value: `yes` stays a word, `22:00` is no number, a date stays text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from overnight.errors import UsageError

Path = tuple[str | int, ...]
"""Where a value stands: field names and positions."""

MOST_NODES: Final = 100_000
_TAG: Final = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a spec was written: a file or a word for it, and the line (or another word) of each value."""

    name: str
    lines: Mapping[Path, int | str] = field(default_factory=dict)

    def at(self, path: Path) -> str:
        """`news.yaml:7`: the value at that path, or the innermost one around it whose line is known."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return line if isinstance(line, str) else f"{self.name}:{line}"
        return self.name


def read_yaml(text: str, name: str) -> tuple[Any, dict[Path, int | str]]:
    """The value of a YAML document, and the 1-based line of every part of it. Raises `UsageError` with the line."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise UsageError(f"{error.problem or 'no valid YAML'} ({where}): mend the YAML") from None
    except YAMLError as error:
        raise UsageError(f"no valid YAML ({name}): {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UsageError(f"nested too deeply ({name})") from None
    reader = _Reader(name)
    return (None if root is None else reader.value(root, ())), reader.lines


def read_scalar(text: str) -> Any:
    """The value of `text` written after `field:` in YAML; what is no scalar, list or mapping by itself is the text."""
    if text.startswith(("[", "{", '"', "'")):
        try:
            return read_yaml(text, "value")[0]
        except UsageError:
            return text  # a template, or words in brackets
    tag = str(YAML(typ="safe", pure=True).resolver.resolve(ScalarNode, text, (True, False)))
    return _scalar(ScalarNode(tag, text), "value") if text else text


class _Reader:
    """One walk over the nodes of a document."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Path, int | str] = {}
        self._name = name
        self._visited = 0
        self._open: set[int] = set()

    def value(self, node: Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._visited += 1
        if self._visited > MOST_NODES or id(node) in self._open:
            raise UsageError(f"too large, or an alias that holds itself ({self._at(node)}): write it out")
        if isinstance(node, ScalarNode):
            return _scalar(node, self._at(node))
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
        finally:
            self._open.discard(id(node))
        raise UsageError(f"no valid YAML ({self._at(node)})")

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                raise UsageError(
                    f"a field's name must be text ({self._at(key)}): put a value that begins with a brace in quotes"
                )
            if key.value in found:
                raise UsageError(f"`{key.value}` ({self._at(key)}): given twice")
            self.lines[*path, key.value] = key.start_mark.line + 1
            found[key.value] = self.value(item, (*path, key.value))
        return found

    def _at(self, node: Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"


def _scalar(node: ScalarNode, where: str) -> Any:
    text: str = node.value
    match str(node.tag).removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "int" if _INT.fullmatch(text):
            return int(text)
        case "int" | "float":
            number = YAML(typ="safe", pure=True).constructor.construct_object(node, deep=True)
            if not math.isfinite(number):
                raise UsageError(f"{text} ({where}): must be a finite number")
            return number
        case "str" | "timestamp":
            return text
        case tag:
            raise UsageError(f"tag {tag} ({where}): not known here; leave it out")
