"""A look at a live batch API: six rows at most through everything that is done with a batch, and which of the facts
held that jobs are built on.

Three batches: one runs to its end, one is canceled, one is made of an input file that was deleted before. What the
check is about to make is written down first; what it made is removed in the end, or by the next check.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from overnight.errors import ProviderError
from overnight.ports import Blobs, Clock, Provider, Search, Submission
from overnight.types import FileId, Outcome, Proof, RemoteBatch, RemoteState, Tag, Tokens
from overnight.wire.dialect import dialect

ROWS = 2
BATCHES = 3
PATIENCE = 7_200.0
"""Seconds until a batch of the check that has not ended is given up."""
LOOK = 2.0
_KNOWN_BY: Final[Mapping[Proof, str]] = {"tag": "mark", "file": "file", "count": "number of rows"}
_OVER = {RemoteState.ENDED, RemoteState.FAILED}


@dataclass(frozen=True, slots=True)
class Fact:
    """What should be so, whether it was (None: it could not be seen), and what was seen."""

    what: str
    held: bool | None
    seen: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What is sent: an input file of `ROWS` lines for a model, and the ids of its rows."""

    model: str
    endpoint: str
    lines: bytes
    ids: tuple[str, ...]


class Trace(msgspec.Struct, frozen=True):
    """What a check may have left at the provider."""

    since: float
    tags: tuple[str, ...]
    filenames: tuple[str, ...]


@dataclass(slots=True)
class _Probe:
    """One batch of the check."""

    tag: Tag
    filename: str
    file_id: FileId | None = None
    remote: RemoteBatch | None = None
    unknown: bool = False  # whether there is a batch of it


@dataclass(slots=True)
class Live:
    """The check of one provider. `visibility`: seconds after which an accepted batch must be listed; `poll` seconds
    between looks at batches; `told` hears every fact at once; `name` is where the trace is kept."""

    name: str
    provider: Provider
    clock: Clock
    blobs: Blobs
    sample: Sample
    visibility: float
    poll: float
    told: Callable[[Fact], None]
    facts: list[Fact] = field(default_factory=list)
    probes: list[_Probe] = field(default_factory=list)
    since: float = 0.0

    async def run(self) -> Sequence[Fact]:
        """All facts. Raises only what is no matter of the provider."""
        what = "the key is accepted"
        with self._fact(what):
            account = await self.provider.identify(None, None, None)
            named = "/".join(filter(None, (account.organization, account.project)))
            self._held(what, True, f"the account is {named}" if named else "the API names no account")
            with self._fact("the check comes to its end"):
                await self._tidy_earlier()
                await self._all_of_it()
        return self.facts

    async def _all_of_it(self) -> None:
        self.since = self.clock.now()
        mark = secrets.token_hex(8)
        marks = [f"{mark}-{number}" for number in range(BATCHES)]
        self.probes = [_Probe(Tag(each), f"overnight-live-{each}.jsonl") for each in marks]
        self._write_trace()
        first, second, third = self.probes
        try:
            if await self._made(first):
                await self._found(first)
            if await self._made(second):
                await self._canceled(second)
            if first.file_id is not None:
                await self._fenced(third)
            if first.remote is not None and await self._ended(first):
                await self._answers(first)
        finally:
            await self._tidy("everything of the check is removed")

    # -------------------------------------------------------------------------------------------- the steps

    async def _made(self, probe: _Probe) -> bool:
        """Upload and create."""
        with self._fact("an input file is stored"):
            probe.file_id = await self._uploaded(probe)
            if probe is self.probes[0] and probe.file_id is not None:
                files = await self.provider.find_files(probe.filename)
                self._held("an input file is found by its name", files == [probe.file_id], f"{len(files)} of that name")
            with self._fact("a batch is accepted"):
                probe.remote = await self._created(probe)
                if probe is self.probes[0]:
                    self._held("a batch is accepted", True, f"as {probe.remote.raw_status}")
        return probe.remote is not None

    async def _created(self, probe: _Probe) -> RemoteBatch:
        """The batch. Where the answer is lost the create is not repeated: the batch is looked for."""
        try:
            return await self.provider.create(self._submission(probe))
        except ProviderError as error:
            probe.unknown = not error.failure.proves_refusal
            if not probe.unknown or self.provider.proof == "count":
                raise
            await self.clock.sleep(min(LOOK, self.visibility / 3))
            found = await self.provider.find(self._search(probe))
            if not found:
                raise
            self._held("a batch whose answer was lost is found", len(found) == 1, error.failure.message)
            return found[0]

    async def _found(self, probe: _Probe) -> None:
        remote = probe.remote
        assert remote is not None
        proof = self.provider.proof
        if proof == "tag":
            self._held("our mark comes back", remote.tag == probe.tag, "in the answer to the create")
        what = f"a batch is found by its {_KNOWN_BY[proof]}"
        with self._fact(what):
            started, found = self.clock.elapsed(), list[RemoteBatch]()
            while remote.id not in {each.id for each in found} and self.clock.elapsed() - started <= self.visibility:
                found = list(await self.provider.find(self._search(probe)))
                if remote.id not in {each.id for each in found}:
                    await self.clock.sleep(min(LOOK, self.visibility / 3))
            seen = remote.id in {each.id for each in found}
            self._held(what, seen, f"after {self.clock.elapsed() - started:.1f} s" if seen else "not listed in time")
            if proof != "count":
                self._held("nothing else is found so", len(found) == 1, f"{len(found)} found")
                others = await self.provider.find(Search(Tag(secrets.token_hex(8)), None, self.since))
                self._held("a mark that nobody used finds nothing", not others, f"{len(others)} found")

    async def _canceled(self, probe: _Probe) -> None:
        remote = probe.remote
        assert remote is not None
        with self._fact("a batch can be canceled"):
            asked = await self.provider.cancel(remote.id)
            self._held("a batch can be canceled", True, "it was over" if asked is None else f"it is {asked.raw_status}")
            ended = await self._until_over(probe, "a canceled batch ends")
            if ended is not None:
                self._held("a canceled batch ends", True, f"{ended.raw_status}, {ended.counts.succeeded} rows ran")
                again = await self.provider.cancel(ended.id)
                self._held("the cancel of a batch that is over is harmless", again is None or again.state in _OVER, "")

    async def _fenced(self, probe: _Probe) -> None:
        """The fence: unverified everywhere, and an extra only."""
        what = "a batch of a file that was deleted runs nothing"
        with self._fact(what):
            probe.file_id = await self._uploaded(probe)
            if probe.file_id is None:
                return
            await self.provider.delete_file(probe.file_id)
            try:
                probe.remote = await self._created(probe)
            except ProviderError as error:
                self._held(what, error.failure.proves_refusal, error.failure.message)
                return
            ended = await self._until_over(probe, what)
            if ended is not None:
                self._held(what, ended.state is RemoteState.FAILED, f"it was accepted and is {ended.raw_status}")

    async def _ended(self, probe: _Probe) -> bool:
        ended = await self._until_over(probe, "a batch of two rows ends")
        if ended is None:
            return False
        why = f": {ended.failure.message}" if ended.failure else ""
        self._held("a batch of two rows ends", ended.end is Outcome.SUCCEEDED, f"{ended.raw_status}{why}")
        counts = ended.counts
        if counts.total or counts.succeeded or counts.errored:
            told = f"{counts.succeeded} succeeded, {counts.errored} failed"
            self._held("its counters count its rows", counts.succeeded + counts.errored == ROWS, told)
        else:
            self._held("its counters count its rows", None, "it has none")
        if self.provider.proof == "count":
            first = await self.provider.first_id(ended)
            self._held("the first answer tells whose batch it is", first in self.sample.ids, "by its id")
        return True

    async def _answers(self, probe: _Probe) -> None:
        remote = probe.remote
        assert remote is not None
        with self._fact("answers come whole"):
            read = dialect(self.provider.dialect).read_line
            files = filter(None, (remote.output_file, remote.error_file))
            replies = [read(line, self.sample.endpoint) for file in files for line in await self._lines(file)]
            ids = sorted(reply.custom_id for reply in replies)
            self._held("every row comes back once, by its own id", ids == sorted(self.sample.ids), f"{len(ids)} rows")
            good = sum(reply.outcome is Outcome.SUCCEEDED for reply in replies)
            kinds = ", ".join(sorted({reply.kind.value for reply in replies if reply.kind is not None}))
            self._held("rows are answered", good == ROWS, kinds or f"{good} of {ROWS}")
            used = [reply.tokens for reply in replies if reply.tokens is not None]
            total, usage = sum(used, Tokens()), remote.usage
            told = f"{total.input} tokens in, {total.output} out"
            self._held("rows tell what they used", len(used) == len(replies), told)
            if usage is not None:
                same = (usage.input, usage.output) == (total.input, total.output)
                self._held("the batch's own total is theirs", same, f"{usage.input} tokens in, {usage.output} out")

    # ------------------------------------------------------------------------------------------- what they need

    async def _uploaded(self, probe: _Probe) -> FileId | None:
        lines = self.sample.lines
        return await self.provider.upload(lambda: io.BytesIO(lines), len(lines), probe.filename)

    def _submission(self, probe: _Probe) -> Submission:
        sample = self.sample
        return Submission(
            file_id=probe.file_id,
            filename=probe.filename,
            model=sample.model,
            endpoint=sample.endpoint,
            tag=probe.tag,
            metadata={"overnight": "live check"},
            content=lambda: io.BytesIO(sample.lines),
            size=len(sample.lines),
            rows=ROWS,
        )

    def _search(self, probe: _Probe) -> Search:
        return Search(probe.tag, probe.file_id, self.since, self.clock.now() + PATIENCE, probe.filename, ROWS)

    async def _until_over(self, probe: _Probe, what: str) -> RemoteBatch | None:
        """The batch once it is over; None, and a fact nobody knows, where that takes too long."""
        started = self.clock.elapsed()
        assert probe.remote is not None
        while probe.remote.state not in _OVER:
            if self.clock.elapsed() - started > PATIENCE:
                self._held(what, None, f"it is {probe.remote.raw_status} after {PATIENCE / 3600:g} hours")
                return None
            await self.clock.sleep(self.poll)
            seen = await self.provider.status([probe.remote.id])
            probe.remote = seen.get(probe.remote.id, probe.remote)
        return probe.remote

    async def _lines(self, file: FileId) -> list[bytes]:
        name = f"live/{secrets.token_hex(8)}"
        with self.blobs.create(name) as writer:
            await self.provider.download(file, writer)
            writer.commit()
        try:
            with self.blobs.open(name) as reader:
                return [line for line in reader if not line.isspace()]
        finally:
            self.blobs.delete(name)

    def _held(self, what: str, held: bool | None, seen: str) -> None:
        fact = Fact(what, held, seen)
        self.facts.append(fact)
        self.told(fact)

    @contextmanager
    def _fact(self, what: str) -> Iterator[None]:
        """A provider's failure inside is the fact that this did not hold."""
        try:
            yield
        except ProviderError as error:
            self._held(what, False, error.failure.message)

    # ------------------------------------------------------------------------------------------------ removing

    async def _tidy(self, what: str) -> None:
        """Cancel what runs, delete what is ours; then the trace."""
        with self._fact(what):
            for probe in self.probes:
                remotes = [] if probe.remote is None else [probe.remote]
                if probe.remote is None and self.provider.proof != "count":
                    remotes += await self.provider.find(self._search(probe))
                elif probe.remote is None and probe.unknown:
                    self._held(
                        "every create is answered", False, f"a batch of {ROWS} rows may be left: nothing marks it"
                    )
                for remote in remotes:
                    await self._remove_batch(remote)
                for file in {probe.file_id} if probe.file_id else set(await self.provider.find_files(probe.filename)):
                    await self.provider.delete_file(file)
            left = [file for probe in self.probes for file in await self.provider.find_files(probe.filename)]
            self._held(what, not left, f"{len(left)} files are left" if left else "")
            self.blobs.delete(self._trace)

    async def _remove_batch(self, remote: RemoteBatch) -> None:
        started = self.clock.elapsed()
        if remote.state not in _OVER:
            await self.provider.cancel(remote.id)
        while remote.state not in _OVER and self.clock.elapsed() - started < self.visibility:
            await self.clock.sleep(min(LOOK, self.poll))
            remote = (await self.provider.status([remote.id])).get(remote.id, remote)
        for file in filter(None, (remote.output_file, remote.error_file)):
            await self.provider.delete_file(file)
        if remote.state in _OVER:
            await self.provider.delete_batch(remote.id)

    @property
    def _trace(self) -> str:
        return f"live/{self.name}.json"

    def _write_trace(self) -> None:
        trace = Trace(self.since, tuple(probe.tag for probe in self.probes), tuple(p.filename for p in self.probes))
        with self.blobs.create(self._trace) as writer:
            writer.write(msgspec.json.encode(trace))
            writer.commit()

    async def _tidy_earlier(self) -> None:
        """Remove what an earlier check left that did not come to its end."""
        if self.blobs.size(self._trace) is None:
            return
        with self.blobs.open(self._trace) as reader:
            trace = msgspec.json.decode(reader.read(), type=Trace)
        self.since = trace.since
        self.probes = [_Probe(Tag(tag), name) for tag, name in zip(trace.tags, trace.filenames, strict=True)]
        await self._tidy("what an earlier check left is removed")
