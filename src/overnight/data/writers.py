"""Writing tables: CSV, JSON Lines and Parquet by suffix, whole or not at all."""

from __future__ import annotations

import io
import os
import re
import secrets
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

import msgspec

from overnight.data.columns import Column, Content, is_same, texts
from overnight.errors import LocalError, UsageError

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


Values = Sequence[Sequence[Any]]
"""By column, as `columns.Content` says."""


class _Format(Protocol):
    def write(self, columns: Values) -> None: ...

    def finish(self) -> None: ...


def check_output(path: Path) -> None:
    """Raises what writing a table there would raise, before anything is paid for; leaves everything as it was."""
    with TableWriter(path, ()):
        pass


class TableWriter:
    """A table in the making. Leaving the `with` without `commit` leaves nothing behind; whatever stood at the path
    before stays until `commit` replaces it."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._path = Path(os.path.realpath(path))
        self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.tmp")
        self._published = False
        self._format: _Format | None = None
        make = _format_of(path)
        if self._path.exists() and not self._path.is_file():
            what = "a directory" if self._path.is_dir() else "no ordinary file"
            raise LocalError(f"the output {path} is {what}: name a file that can be replaced")
        if self._path.exists() and not os.access(self._path, os.W_OK):
            raise LocalError(f"the output {path} is read-only: make it writable, or choose another name")
        try:
            self._file: BinaryIO = self._temporary.open("xb", buffering=1 << 18)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._format = make(self._file, columns)
        except BaseException:
            self.__exit__()
            raise

    def write(self, columns: Values) -> None:
        """Append rows, given as the values of each column. Raises `LocalError` when the disk is full."""
        assert self._format is not None
        if not columns or not columns[0]:
            return
        try:
            self._format.write(columns)
        except OSError as error:
            raise self._failed(error) from error

    def commit(self) -> None:
        """Publish: fsync, rename, directory fsync."""
        assert self._format is not None
        try:
            self._format.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
            self._published = True
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._published:
            return
        # The formats let go of the file; what they and a full disk say to that no longer matters, for it goes.
        with suppress(Exception):
            if self._format is not None:
                self._format.finish()
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> LocalError:
        return LocalError(f"the output {self._path} cannot be written ({error.strerror or error}): {_advice(error)}")


def _advice(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "make its directory first"
    if isinstance(error, PermissionError):
        return "choose a place that you may write to"
    return "make room, or choose another place"


def _format_of(path: Path) -> Callable[[BinaryIO, Sequence[Column]], _Format]:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return _Parquet
    zipped = name.endswith(".gz")
    text: Callable[[BinaryIO, Sequence[Column]], _Format]
    match Path(name.removesuffix(".gz")).suffix:
        case ".csv":
            text = _Csv
        case ".jsonl":
            text = _Jsonl
        case _:
            raise UsageError(f"the output {path} has a suffix that is not known: use one of {', '.join(SUFFIXES)}")
    return (lambda file, columns: _Zipped(file, columns, text)) if zipped else text


class _Zipped:
    """Another format through gzip."""

    def __init__(
        self, file: BinaryIO, columns: Sequence[Column], make: Callable[[BinaryIO, Sequence[Column]], _Format]
    ) -> None:
        self._file = file
        self._plain = io.BytesIO()
        self._inner = make(self._plain, columns)
        self._pack = zlib.compressobj(level=3, wbits=31)

    def write(self, columns: Values) -> None:
        self._inner.write(columns)
        self._file.write(self._pack.compress(self._plain.getbuffer()))
        self._plain.seek(0)
        self._plain.truncate()

    def finish(self) -> None:
        self._inner.finish()
        self._file.write(self._pack.compress(self._plain.getbuffer()) + self._pack.flush())


# ------------------------------------------------------------------------------------------------- JSON Lines


class _Jsonl:
    """Objects with the columns' names; nested values stay JSON."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file = file
        self._object = _object_of([column.name for column in columns])
        self._contents = [column.content for column in columns]

    def write(self, columns: Values) -> None:
        values = map(_as_json, self._contents, columns)
        self._file.write(_json.encode_lines(list(map(self._object, *values))))

    def finish(self) -> None:
        """Nothing is left to write."""


_json = msgspec.json.Encoder()


def _as_json(content: Content, values: Sequence[Any]) -> Sequence[Any]:
    """A column with those values raw that are JSON already; but texts with letters in escapes are written anew, for
    people and for `grep`."""
    if content is Content.RAW:
        return [None if value is None else msgspec.Raw(value) for value in values]
    coded = [value for value in values if type(value) is bytes] if content is Content.TEXT else ()
    if not coded:
        return values
    joined = b"".join(coded)
    if b"\\u" in joined or b"\\/" in joined:
        return texts(values)
    return [msgspec.Raw(value) if type(value) is bytes else value for value in values]


def _object_of(names: Sequence[str]) -> Callable[..., Any]:
    """Makes an object with these names of as many values. A struct is encoded three times as fast as a dictionary, but
    takes no name that JSON would escape."""
    if any(name != _json.encode(name).decode()[1:-1] for name in names):
        return lambda *values: dict(zip(names, values, strict=True))
    places = [f"_{number}" for number in range(len(names))]
    fields: list[tuple[str, Any]] = [(place, Any) for place in places]
    return msgspec.defstruct("Row", fields, rename=dict(zip(places, names, strict=True)).get, gc=False)


# -------------------------------------------------------------------------------------------------------- CSV

_RISKY_STARTS = frozenset("=+-@\t\r\n \"'\u00a0\uff1d\uff0b\uff0d\uff20")
_RISKY = re.compile(r"""[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]""")
_NEGATIVE = re.compile(r"-(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def neutral(text: str) -> str:
    """The text as a spreadsheet will show and not run: what it might take for a formula gets an apostrophe in front; a
    plain negative number stays (OWASP: CSV injection)."""
    if text[:1] not in _RISKY_STARTS or not _RISKY.match(text) or _NEGATIVE.fullmatch(text):
        return text
    return "'" + text


_SPECIAL = re.compile('[",\r\n]')


class _Csv:
    """Comma, UTF-8, a header, LF; None is an empty cell, nested values are JSON. Whole columns are made into cells, in
    half the time that the csv module takes for rows."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file = file
        self._contents = [column.content for column in columns]
        self._write([_quoted([column.name], alone=len(columns) == 1) for column in columns])

    def write(self, columns: Values) -> None:
        alone = len(self._contents) == 1
        self._write([_cells(content, column, alone) for content, column in zip(self._contents, columns, strict=True)])

    def finish(self) -> None:
        """Nothing is left to write."""

    def _write(self, columns: list[list[str]]) -> None:
        lines = list(map(",".join, zip(*columns, strict=True)))
        lines.append("")
        self._file.write("\n".join(lines).encode())


def _cells(content: Content, column: Sequence[Any], alone: bool) -> list[str]:
    """A column as its cells stand in a line."""
    if content is Content.TEXT and is_same(column):
        return _quoted(_text_cells(column[:1]), alone) * len(column)
    if content is Content.TEXT and not alone and set(map(type, column)) == {bytes}:
        return _coded_cells(column)
    cells = _CELLS[content](column)
    if content in _NUMBERS and not alone:
        return ["" if cell is None else cell for cell in cells]
    return _quoted(cells, alone)


def _coded_cells(column: Sequence[bytes]) -> list[str]:
    """Texts in JSON as they stand in a line. One without escapes is a quoted cell as it is: it holds neither quotes nor
    line breaks."""
    found = b"\n".join(column).decode().split("\n")
    for at, cell in enumerate(found):
        if "\\" in cell or cell[1:2] in _RISKY_STARTS:
            (found[at],) = _quoted(_text_cells((column[at],)), alone=False)
        elif "," not in cell:
            found[at] = cell[1:-1]
    return found


def _quoted(cells: Sequence[str | None], alone: bool) -> list[str]:
    """Cells as they stand in a line; an empty one that is alone there is quoted, or the line would be no record."""
    found = ["" if cell is None else cell for cell in cells]
    joined = "".join(found)
    if any(sign in joined for sign in ',"\r\n'):  # far faster than to look at every cell, and often enough
        found = ['"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text for text in found]
    return [text or '""' for text in found] if alone else found


def _own_cells(column: Sequence[Any]) -> Sequence[str | None]:
    return [value if type(value) is str or value is None else _plain(value) for value in column]


def _text_cells(column: Sequence[Any]) -> Sequence[str | None]:
    found = texts(column)
    return [value if value is None or value[:1] not in _RISKY_STARTS else neutral(value) for value in found]


def _json_cells(column: Sequence[Any]) -> Sequence[str | None]:
    """Strings stand without quotes, like text; so they are neutralised like text."""
    return [None if value is None else neutral(_plain(value)) for value in column]


def _raw_cells(column: Sequence[Any]) -> Sequence[str | None]:
    return [None if value is None else value.decode() for value in column]


def _number_cells(column: Sequence[Any]) -> Sequence[str | None]:
    return list(map(str, column)) if None not in column else [None if each is None else str(each) for each in column]


def _dollar_cells(column: Sequence[Any]) -> Sequence[str | None]:
    """Without exponent, to the pico-dollar."""
    shown = {value: f"{value:.12f}".rstrip("0").rstrip(".") for value in set(column) if value is not None}
    return list(map(shown.get, column))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


_NUMBERS = frozenset({Content.INTEGER, Content.NUMBER, Content.DOLLARS})
_CELLS: dict[Content, Callable[[Sequence[Any]], Sequence[str | None]]] = {
    Content.OWN: _own_cells,
    Content.TEXT: _text_cells,
    Content.INTEGER: _number_cells,
    Content.NUMBER: _number_cells,
    Content.BOOLEAN: _own_cells,
    Content.VECTOR: _own_cells,
    Content.JSON: _json_cells,
    Content.RAW: _raw_cells,
    Content.DOLLARS: _dollar_cells,
}


# ---------------------------------------------------------------------------------------------------- Parquet


class _Parquet:
    """One row group per write. The user's own columns and nested values are strings (JSON where they are not text)."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise UsageError("Parquet needs an extra: pip install 'overnight[parquet]', or write .jsonl") from None
        self._arrow = pyarrow
        self._columns = columns
        self._schema = pyarrow.schema([(column.name, self._type(column.content)) for column in columns])
        # Who reads looks for rows by numbers and by the key; the least and greatest of long texts help nobody.
        told = [column.name for at, column in enumerate(columns) if at == 0 or column.content in _NUMBERS]
        self._parquet = pyarrow.parquet.ParquetWriter(
            file, self._schema, compression="zstd", compression_level=1, write_statistics=told
        )

    def write(self, columns: Values) -> None:
        arrays = [self._array(*pair) for pair in zip(self._columns, columns, strict=True)]
        self._parquet.write_batch(self._arrow.record_batch(arrays, schema=self._schema))

    def finish(self) -> None:
        self._parquet.close()

    def _type(self, content: Content) -> pyarrow.DataType:
        match content:
            case Content.INTEGER:
                return self._arrow.int64()
            case Content.NUMBER | Content.DOLLARS:
                return self._arrow.float64()
            case Content.BOOLEAN:
                return self._arrow.bool_()
            case Content.VECTOR:
                return self._arrow.list_(self._arrow.float32())
            case Content.OWN | Content.TEXT | Content.JSON | Content.RAW:
                return self._arrow.string()

    def _array(self, column: Column, values: Sequence[Any]) -> pyarrow.Array:
        try:
            match column.content:
                case Content.OWN | Content.JSON:
                    values = _own_cells(values)
                case Content.TEXT if is_same(values):
                    (value,) = texts(values[:1])
                    return self._arrow.repeat(self._arrow.scalar(value, self._arrow.string()), len(values))
                case Content.TEXT:
                    values = texts(values)
                case Content.INTEGER:
                    values = [value if value is None or type(value) is int else int(value) for value in values]
                case Content.NUMBER:
                    values = [None if value is None else float(value) for value in values]
                case Content.RAW:
                    values = _raw_cells(values)
                case _:
                    pass
            return self._arrow.array(values, type=self._type(column.content))
        except (self._arrow.ArrowInvalid, OverflowError):
            raise UsageError(
                f"column {column.name!r} holds a number that Parquet cannot: write .jsonl or .csv"
            ) from None
