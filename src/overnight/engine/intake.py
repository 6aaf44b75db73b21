"""One batch while the executor answers it: which rows are left, what is journaled, and the result files.

A journal line is a result line behind a short head: ordinal, 1 or 0 for success, then input, cached, output and
reasoning tokens, each followed by a space. The head tells what a replay needs without reading the answer again; the
rest goes into a result file as it is. The ordinal is the line's place in the file of requests, blank lines included.

Rows are journaled as they are answered; result files are in the order of the requests.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Self

from overnight.errors import InvariantError, LocalError
from overnight.ports import Blobs, BlobWriter, Journal
from overnight.types import Counts, Outcome, Tokens
from overnight.wire.families import family

READ_BYTES = 256 * 1024  # request lines read at a time
LOW_WATER = 64  # buffered rows below which the next ones are read
COPY_BYTES = 256 * 1024  # result lines gathered before a write


@dataclass(frozen=True, slots=True)
class Requests:
    """A file of checked request lines that is to be answered, and where its traces go (blob and journal names).
    `errors` None: one result file holds all lines. `family` is whose words the lines are in; `model` is meant where
    they name none."""

    id: str
    endpoint: str
    blob: str
    journal: str
    output: str
    errors: str | None
    expires_at: float
    family: str = "openai"
    model: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a batch. The result files that are named are published; None: there was nothing to write."""

    end: Outcome  # SUCCEEDED: every row was answered, well or badly
    counts: Counts
    tokens: Tokens
    output: str | None
    errors: str | None


def journal_line(ordinal: int, succeeded: bool, tokens: Tokens | None, line: bytes) -> bytes:
    """A result line behind its head, without a newline at the end."""
    told = tokens or Tokens()
    head = b"%d %d %d %d %d %d " % (ordinal, succeeded, told.input, told.cached, told.output, told.reasoning)
    return head + line.removesuffix(b"\n")


class _Places:
    """Where in the journal each answered row stands: 16 bytes a row."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._lengths = array("q")

    def __contains__(self, ordinal: int) -> bool:
        return ordinal < len(self._lengths) and self._lengths[ordinal] > 0

    def __getitem__(self, ordinal: int) -> tuple[int, int]:
        """Offset and length of the line."""
        return self._offsets[ordinal], self._lengths[ordinal]

    def add(self, ordinal: int, offset: int, length: int) -> bool:
        """False where the row has its place already: the first answer counts."""
        if ordinal in self:
            return False
        missing = bytes(8 * max(0, ordinal + 1 - len(self._lengths)))
        self._offsets.frombytes(missing)
        self._lengths.frombytes(missing)
        self._offsets[ordinal], self._lengths[ordinal] = offset, length
        return True


class Intake:
    """The rows of one batch that are still to be answered, and the tally of those that are.

    `rows` is what `take` pops from: request lines in file order that the journal does not hold. The batch is `done`
    when no row is left or the intake was closed, and nothing is in flight.
    """

    def __init__(self, requests: Requests, blobs: Blobs, journals: Callable[[str], Journal]) -> None:
        self.requests = requests
        self.family = family(requests.family)
        self.end: Outcome | None = None  # why the intake was closed early
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiting: set[asyncio.Task[None]] = set()  # those of `tasks` that wait for another try
        self.reading = False  # somebody is calling `read`
        self.succeeded = 0
        self.errored = 0
        self.tokens = Tokens()
        self._blobs = blobs
        self._journals = journals
        self._journal: Journal | None = None
        self._file: BinaryIO | None = None
        self._rows: deque[tuple[int, bytes]] = deque()
        self._answered = _Places()  # what the journal held when it was opened
        self._ordinal = 0  # of the next line to be read
        self._exhausted = False
        self._failure: BaseException | None = None

    @property
    def counts(self) -> Counts:
        """Rows in the journal, by outcome; `total` is left to the owner."""
        return Counts(succeeded=self.succeeded, errored=self.errored)

    @property
    def closed(self) -> bool:
        """No further row is taken."""
        return self.end is not None or self._failure is not None

    @property
    def wants_rows(self) -> bool:
        """The buffer runs low and the file holds more."""
        return not self._exhausted and not self.closed and len(self._rows) < LOW_WATER

    def open(self) -> None:
        """Open the files and read the journal again. Blocks: call from a thread."""
        self._journal = self._journals(self.requests.journal)
        self._answered = self._replayed()
        self._file = self._blobs.open(self.requests.blob)

    def read(self) -> None:
        """Buffer some more rows. Blocks: call from a thread, one at a time. Raises `LocalError`."""
        assert self._file is not None
        try:
            lines = self._file.readlines(READ_BYTES)
        except OSError as error:
            raise LocalError(f"the requests of {self.requests.id} cannot be read: {error.strerror}") from error
        self._exhausted = not lines
        for ordinal, line in enumerate(lines, self._ordinal):
            if ordinal not in self._answered and not line.isspace():
                self._rows.append((ordinal, line))
        self._ordinal += len(lines)

    def take(self) -> tuple[int, bytes] | None:
        """The next row, or None: none is buffered, or the intake is closed."""
        return None if self.closed or not self._rows else self._rows.popleft()

    def give_back(self, row: tuple[int, bytes]) -> None:
        """A row that was taken and cut short: it is left, like before."""
        self._rows.appendleft(row)

    def row_id(self, ordinal: int) -> str:
        """The id of a row's result line: the same in every life of the process."""
        return f"batch_req_{self.requests.id.rpartition('_')[2][:24]}{ordinal:08x}"

    async def record(self, ordinal: int, succeeded: bool, tokens: Tokens | None, line: bytes) -> None:
        """Make an answer durable, then count it."""
        assert self._journal is not None
        await self._journal.append(journal_line(ordinal, succeeded, tokens, line))
        self._tally(succeeded, tokens)

    def fail(self, failure: BaseException) -> None:
        """Close the intake because of this machine; `done` raises it once nothing is in flight."""
        self._failure = self._failure or failure
        self.look()

    def look(self) -> None:
        """Set `done` if nothing is left to do."""
        if self.tasks or self.done.done():
            return
        if self._failure is not None:
            self.done.set_exception(self._failure)
        elif self.end is not None or (self._exhausted and not self._rows):
            self.done.set_result(None)

    def settle(self) -> Finished:
        """Make the result files from the journal and say how the batch ended. Blocks: call from a thread."""
        output = _ResultFile(self._blobs, self.requests.output)
        errors = output if self.requests.errors is None else _ResultFile(self._blobs, self.requests.errors)
        with output, errors:
            unanswered = self._write_results(output, errors)
            return Finished(
                end=self.end if unanswered and self.end else Outcome.SUCCEEDED,
                counts=self._final_counts(unanswered),
                tokens=self.tokens,
                output=output.commit(),
                errors=None if errors is output else errors.commit(),
            )

    async def close(self) -> None:
        """Close the files. Nothing may be in flight."""
        if self._file is not None:
            self._file.close()
        if self._journal is not None:
            await self._journal.close()

    def _tally(self, succeeded: bool, tokens: Tokens | None) -> None:
        if succeeded:
            self.succeeded += 1
        else:
            self.errored += 1
        if tokens is not None:
            self.tokens += tokens

    def _replayed(self) -> _Places:
        """Read the whole journal and tally it anew; where every journaled row stands."""
        assert self._journal is not None
        places = _Places()
        self.succeeded = self.errored = 0
        self.tokens = Tokens()
        for offset, entry in self._journal.replay():
            ordinal, flag, told_in, cached, told_out, reasoning, _ = entry.split(b" ", 6)
            if places.add(int(ordinal), offset, len(entry)):
                self._tally(flag == b"1", Tokens(int(told_in), int(cached), int(told_out), int(reasoning)))
        return places

    def _write_results(self, output: _ResultFile, errors: _ResultFile) -> int:
        """Write the line of every row, in the order of the requests; how many had no answer."""
        assert self._journal is not None
        answered, unanswered = self._replayed(), 0
        with self._blobs.open(self.requests.blob) as file:
            for ordinal, line in enumerate(file):
                if line.isspace():
                    continue
                if ordinal in answered:
                    _, flag, *_, result = self._journal.read(*answered[ordinal]).split(b" ", 6)
                    (output if flag == b"1" else errors).write(result + b"\n")
                    continue
                if self.end is None:
                    raise InvariantError(f"row {ordinal} of {self.requests.id} has no answer")
                unanswered += 1
                id = self.family.custom_id(line)
                errors.write(self.family.unanswered(self.row_id(ordinal), id, self.end))
        return unanswered

    def _final_counts(self, unanswered: int) -> Counts:
        expired = unanswered if self.end is Outcome.EXPIRED else 0
        return Counts(
            total=self.succeeded + self.errored + unanswered,
            succeeded=self.succeeded,
            errored=self.errored,
            canceled=unanswered - expired,
            expired=expired,
        )


class _ResultFile:
    """A result file in the making: lines gathered to large writes; created with its first line."""

    def __init__(self, blobs: Blobs, name: str) -> None:
        self._blobs = blobs
        self._name = name
        self._lines: list[bytes] = []
        self._size = 0
        self._writer: BlobWriter | None = None

    def write(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._size >= COPY_BYTES:
            self._flush()

    def commit(self) -> str | None:
        """Publish; the blob's name, or None where no line was written."""
        self._flush()
        if self._writer is None:
            return None
        self._writer.commit()
        return self._name

    def _flush(self) -> None:
        if not self._lines:
            return
        if self._writer is None:
            self._writer = self._blobs.create(self._name)
            self._writer.__enter__()
        self._writer.write(b"".join(self._lines))
        self._lines = []
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(*exc)
