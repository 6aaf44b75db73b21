"""JSON Lines: one object per line, nested values allowed, nothing changed on the way."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import orjson

from overnight.data.records import BLOCK_BYTES, BLOCK_ROWS, RECORD_BYTES, Block, Run, Unreadable
from overnight.data.text_files import TextFile, TextRuns, too_long

_SNIFFED = 1000
_EXACT = 1 << 63  # orjson turns integers beyond 64 bits into floats: none of those is smaller than this
_PLAIN = frozenset({str, int, bool, type(None)})  # what holds no float

Values = Mapping[str, Any]


def parse_object(line: bytes) -> Values:
    """The object of one line. Raises `Unreadable` where it is none, or holds what Python's or JSON's numbers would
    change silently: NaN, lone surrogates, integers over 64 bits."""
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = "not valid UTF-8" if "UTF-8" in error.msg else f"no valid JSON ({error.msg}, column {error.pos + 1})"
        raise Unreadable(reason) from error
    if type(values) is not dict:
        raise Unreadable("a JSON object is needed on every line")
    for value in values.values():
        kind = type(value)
        if kind is not str and kind is not int and _suspicious(value) and _has_large_integer(line):
            raise Unreadable("an integer over 64 bits: write it as a string")
    return values


def parse_objects(lines: Sequence[bytes]) -> list[Values | None] | None:
    """What `parse_object` gives for each of these lines; None where it may raise for one of them."""
    try:
        found: list[Values | None] = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    kinds: set[type] = set()
    for values in found:
        if type(values) is not dict:
            return None
        kinds.update(map(type, values.values()))
    if not kinds <= _PLAIN and any(map(_suspicious, found)):
        return None
    return found


def _suspicious(value: object) -> bool:
    match value:
        case float():
            return not -_EXACT < value < _EXACT
        case dict():
            return any(map(_suspicious, value.values()))
        case list():
            return any(map(_suspicious, value))
        case _:
            return False


def _has_large_integer(line: bytes) -> bool:
    found = False

    def check(digits: str) -> None:  # more than 20 characters are not even turned into a number
        nonlocal found
        found = found or len(digits) > 20 or not -_EXACT <= int(digits) < 2 * _EXACT

    json.loads(line, parse_int=check)
    return found


class JsonlFile:
    """One JSON Lines file. Its columns are the keys met in the first thousand records, in order of appearance."""

    unit = "line"

    def __init__(self, text: TextFile, parse: Callable[[bytes], Values] = parse_object) -> None:
        head, total = text.head()
        start = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
        self.name = text.name
        self.size = text.size
        self.rows = round(max(1, head.count(b"\n")) * total / len(head)) if head else 0
        self.columns = _columns(head[start:], parse)
        self._text = text
        self._read = parse
        self._read_all = parse_objects if parse is parse_object else None
        runs = TextRuns(text, self._parse, start, 1)
        self.runs, self.again, self.digest, self.close = runs.runs, runs.again, runs.digest, text.close

    def _parse(
        self, run: Run, stream: BinaryIO, digest: Any, rows: float, size: int, wanted: frozenset[str] | None
    ) -> Iterator[Block]:
        readline, update, ordinal = stream.readline, digest.update, run.first_ordinal
        while run.rows < rows and run.length < size:
            raws, taken = list[bytes](), 0
            most, left = min(BLOCK_ROWS, rows - run.rows), min(BLOCK_BYTES, RECORD_BYTES, size - run.length)
            while taken < left and len(raws) < most and (raw := readline(RECORD_BYTES + 1)):
                update(raw)
                raws.append(raw)
                taken += len(raw)
            if not raws:
                return
            endless = len(raws[-1]) > RECORD_BYTES
            block = self._block(run, ordinal, raws[:-1] if endless else raws)
            run.length += taken
            run.next_line += len(raws)
            run.rows += len(block.values)
            ordinal += len(block.values)
            if block.values:
                yield block
            if endless:
                raise too_long(run.file, run.next_line - 1)

    def _block(self, run: Run, ordinal: int, raws: list[bytes]) -> Block:
        """Those lines as records; blank ones are none."""
        first = run.next_line
        found = self._read_all(raws) if self._read_all is not None else None
        if found is not None:
            return Block(ordinal, list(range(first, first + len(raws))), found)
        block = Block(ordinal)
        for line, raw in enumerate(raws, first):
            if not raw.isspace():
                try:
                    block.add(line, self._read(raw))
                except Unreadable as error:
                    block.add(line, None, f"{run.file}, line {line}: {error}")
        return block


def _columns(head: bytes, parse: Callable[[bytes], Values]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for raw in head.split(b"\n", _SNIFFED)[:_SNIFFED]:
        try:
            found.update(dict.fromkeys(parse(raw)))
        except Unreadable:  # the last line of the head may be cut off; a bad one is told when it is read
            continue
    return tuple(found)
