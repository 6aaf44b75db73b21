"""Real kills: the real command as a process, through the real server as another, in front of a model on loopback that
logs what it executes. Both are killed with SIGKILL, at random moments and right between a request and its answer, and
started again until the job is finished; then the books of both sides are compared."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from overnight.http import Http
from overnight.stores import open_store
from overnight.testing.loopback import Execution, Model, Side, Turnstile
from overnight.types import Batch, RemoteId, Tokens
from overnight.upstreams.url import CONCURRENCY

ROWS = 240
BATCH_ROWS = 40
IN_FLIGHT = 3
SETTINGS = ("OVERNIGHT_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")
"""Beginnings of variables that a command does not inherit."""
FINISHED = 3  # exit code: finished, with failed rows
SLOWEST = 3.0  # seconds of an execution
JOURNALED = 2.0  # seconds after an answer left the model in which the server has it on the disk
LONGEST = 300.0  # seconds in which a killed job must come to its end


def text_of(row: int) -> str:
    """What row `row` asks."""
    return f"text number {row}, and {'some more of it ' * (row % 4)}"


def word(row: int, number: int) -> str:
    """How the `number`-th execution of a row ends: some are refused for good, some fail once at the server, which tries
    again, and some come back without an answer once, and go out again in a follow-up."""
    if row % 17 == 5:
        return "400"
    if number == 0 and row % 11 == 3:
        return "500"
    return "empty" if number == 0 and row % 13 == 4 else "ok"


def executions_of(row: int) -> int:
    """How often a row is executed when nothing happens."""
    return 1 if word(row, 0) in {"ok", "400"} else 2


@dataclass(frozen=True, slots=True)
class Face:
    """A dialect as the server is spoken to in it: what its address ends with, how a create begins, and where its
    batches and files are listed."""

    name: str
    ending: str
    create: str
    batches: str
    files: str | None


FACES = (
    Face("openai", "/v1", "POST /v1/batches ", "/v1/batches?limit=100", "/v1/files?limit=100"),
    Face("anthropic", "", "POST /v1/messages/batches ", "/v1/messages/batches?limit=100", None),
    Face("gemini", "", "POST /v1beta/models/echo:batchGenerateContent", "/v1beta/batches", "/v1beta/files"),
)
"""Jobs take them in turn."""


@dataclass(frozen=True, slots=True)
class Blow:
    """A kill: of whom, and when: `delay` seconds after something was started, or at the `number`-th request from then
    that begins with `request`, before it arrives or before its answer does."""

    pipeline: bool
    server: bool
    delay: float
    request: str | None
    number: int
    side: Side


@dataclass(slots=True)
class Trial:
    """One job that is killed up to `most` times, in an empty folder."""

    seed: int
    root: Path
    most: int
    face: Face
    kills: int = 0
    server_kills: list[float] = field(default_factory=list)
    lives: int = 0
    repeated: int = 0
    found: list[str] = field(default_factory=list)
    _dice: random.Random = field(init=False)
    _model: Model = field(init=False)
    _turnstile: Turnstile = field(init=False, default_factory=Turnstile)
    _children: list[Process] = field(init=False, default_factory=list)
    _startup: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        rows = {text_of(row): row for row in range(ROWS)}
        self._model = Model(
            lambda text, number: word(rows[text], number),
            lambda text, number: random.Random(f"{self.seed} {text} {number}").uniform(0.0, SLOWEST),
        )

    # ------------------------------------------------------------------------------------------- running

    async def run(self) -> list[str]:
        """Play it to its end; what is wrong comes back, and stands in `found`."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._write_source()
        await self._model.start()
        await self._turnstile.start()
        try:
            with (self.root / "log.txt").open("ab") as log:
                async with asyncio.timeout(LONGEST):
                    await self._play(log)
                if not self.found:
                    await self._judge(log)
        except TimeoutError:
            self.found.append(f"not finished after {LONGEST:.0f} s and {self.kills} kills")
        finally:
            for child in self._children:
                if child.returncode is None:
                    child.kill()
                await child.wait()
            await self._turnstile.close()
            await self._model.close()
        return self.found

    async def _play(self, log: IO[bytes]) -> None:
        server, pipeline = await self._serve(log), await self._pipeline(log)
        while pipeline.returncode in {None, -9}:
            blow = self._blow()
            await self._strike(blow, pipeline, server)
            if server.returncode is not None:
                server = await self._serve(log)
            if pipeline.returncode == -9:
                pipeline = await self._pipeline(log)
        if pipeline.returncode != FINISHED:
            self.found.append(f"the command ended with {pipeline.returncode}: {self._last_words()}")

    async def _strike(self, blow: Blow | None, pipeline: Process, server: Process) -> None:
        """Wait until one of them is dead, by the blow or by itself."""
        struck: list[Process] = []

        def strike() -> None:
            if blow is None or pipeline.returncode is not None:
                return
            self.kills += 1
            if blow.pipeline:
                struck.append(pipeline)
            if blow.server:
                struck.append(server)
                self.server_kills.append(asyncio.get_running_loop().time())
            for process in struck:
                process.kill()

        if blow is not None and blow.request is not None:
            self._turnstile.aim(blow.request, blow.number, blow.side, strike)
        waits = {asyncio.ensure_future(process.wait()) for process in (pipeline, server)}
        delay = None if blow is None else blow.delay
        await asyncio.wait(waits, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        self._turnstile.rest()
        if not struck:
            strike()
        if blow is None:
            await pipeline.wait()
        for process in struck:
            await process.wait()
        for wait in waits:
            wait.cancel()

    def _blow(self) -> Blow | None:
        """The next one, or None where there were enough."""
        dice = self._dice
        if self.kills >= self.most:
            return None
        whom = dice.choice(("pipeline",) * 6 + ("server", "both"))
        request = dice.choice((None, None, "", self.face.create))
        return Blow(
            pipeline=whom != "server",
            server=whom != "pipeline",
            delay=self._startup * (dice.uniform(0.1, 2.5) if request is None else 3.0),
            request=request,
            number=dice.randint(1, 2 if request else 25),
            side="request" if dice.random() < 0.3 else "answer",
        )

    # ----------------------------------------------------------------------------------------- processes

    async def _serve(self, log: IO[bytes]) -> Process:
        began = time.monotonic()
        server = await self._start(log, "serve", "--backend", self._model.url, "--port", "0", "--parent")
        assert server.stdout is not None
        ready = json.loads(await server.stdout.readline())
        self._startup = time.monotonic() - began
        self._turnstile.target = ready["port"]
        return server

    @property
    def _address(self) -> str:
        return self._turnstile.url.removesuffix("/v1") + self.face.ending

    async def _pipeline(self, log: IO[bytes]) -> Process:
        self.lives += 1
        return await self._start(
            log,
            *("run", "rows.csv", "--model", f"{self.face.name}/echo", "--base-url", self._address),
            *("--prompt", "{{ text }}", "--key", "id", "--output", "answers.csv", "--yes"),
            *("--set", f"batch.rows={BATCH_ROWS}", "--set", f"batch.in_flight={IN_FLIGHT}"),
        )

    async def _start(self, log: IO[bytes], *words: str) -> Process:
        log.write(f"--- {time.monotonic():.3f} {' '.join(words[:1])}\n".encode())
        log.flush()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "overnight", *words),
            cwd=self.root,
            env=kept
            | {
                "OVERNIGHT_HOME": str(self.root / ("server" if words[0] == "serve" else "home")),
                "OVERNIGHT_CONFIG": str(self.root / "config.toml"),
                "OVERNIGHT_POLL": "0.2",
                "OVERNIGHT_VISIBILITY": "1",
            },
            stdin=PIPE if words[0] == "serve" else DEVNULL,
            stdout=PIPE if words[0] == "serve" else log,
            stderr=log,
        )
        self._children.append(child)
        return child

    def _write_source(self) -> None:
        (self.root / "config.toml").touch()
        with (self.root / "rows.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text"])
            writer.writerows([f"k{row}", text_of(row)] for row in range(ROWS))

    def _last_words(self) -> str:
        return (self.root / "log.txt").read_text(errors="replace")[-800:]

    # ------------------------------------------------------------------------------------------- judging

    async def _judge(self, log: IO[bytes]) -> None:
        self._judge_table()
        self._judge_executions()
        await self._judge_books()
        ran = len(self._model.executions)
        again = await self._pipeline(log)
        if await again.wait() != FINISHED or len(self._model.executions) != ran:
            self.found.append(f"run once more, the finished job did something: {self._last_words()}")

    def _judge_table(self) -> None:
        """Every row, in order, with the right end and its own answer."""
        with (self.root / "answers.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        if [row["id"] for row in rows] != [f"k{row}" for row in range(ROWS)]:
            self.found.append(f"rows are not the source's: {len(rows)} of {ROWS}")
        for number, row in enumerate(rows):
            expected = ("errored", "") if word(number, 9) == "400" else ("succeeded", text_of(number).strip())
            if (row["status"], row["answer"].strip()) != expected:
                self.found.append(f"row {number}: {row['status']} {row['answer']!r}, not {expected}")

    def _judge_executions(self) -> None:
        """No row runs more often than it must, but for those in flight when the server was killed."""
        by_text: dict[str, list[Execution]] = {text_of(row): [] for row in range(ROWS)}
        for done in self._model.executions:
            by_text[done.text].append(done)
        for row, executions in enumerate(by_text.values()):
            must = executions_of(row)
            in_flight = sum(self._in_flight(done) for done in executions)
            if not 0 < len(executions) <= must + in_flight:
                self.found.append(f"row {row} ran {len(executions)} times, not {must} (+{in_flight} in flight)")
            self.repeated += max(len(executions) - must, 0)
        if self.repeated > CONCURRENCY * len(self.server_kills):
            self.found.append(f"{self.repeated} rows ran again after {len(self.server_kills)} kills of the server")

    def _in_flight(self, done: Execution) -> bool:
        """Whether a kill of the server may have met it before its answer was on the disk there."""
        return any(
            done.began <= kill and (done.ended is None or kill <= done.ended + JOURNALED) for kill in self.server_kills
        )

    async def _judge_books(self) -> None:
        store = open_store(self.root / "home" / "overnight.db")
        try:
            job = (await store.jobs())[0]
            totals = await store.totals(job.id)
            batches = [batch async for batch in store.batches(job.id)]
        finally:
            await store.close()
        self._judge_money(totals.tokens, totals.unknown_rows)
        api = Http(self._turnstile.url.removesuffix("/v1"), {})
        try:
            made = json.loads((await api.get(self.face.batches)).body)
            files = {} if self.face.files is None else json.loads((await api.get(self.face.files)).body)
        finally:
            await api.close()
        left = files.get("data") or files.get("files") or []
        self.found += [f"file left at the server: {file.get('filename') or file['name']}" for file in left]
        self._judge_batches(batches, made.get("data") or made["operations"])

    def _judge_money(self, booked: Tokens, unknown: int) -> None:
        """All tokens are booked, but for executions that a kill of the server took away."""
        ran = sum((done.tokens for done in self._model.executions), Tokens())
        lost = sum((done.tokens for done in self._model.executions if self._in_flight(done)), Tokens())
        if not self.repeated:
            lost = Tokens()
        if unknown:
            self.found.append(f"{unknown} rows of unknown money, of a server that tells everything")
        if not (0 <= ran.input - booked.input <= lost.input and 0 <= ran.output - booked.output <= lost.output):
            self.found.append(f"booked {booked}, executed {ran}, of that in flight at kills {lost}")

    def _judge_batches(self, batches: list[Batch], documents: list[dict[str, object]]) -> None:
        """No shard ran in two batches, and no batch ran that nobody asked for."""
        shards = {batch.remote.id: batch.shard.id for batch in batches if batch.remote is not None}
        ran = [_id_of(document) for document in documents if document.get("status") != "failed"]
        twice = Counter(shards[each] for each in ran if each in shards)
        self.found += [f"shard {shard} was sent in {times} batches" for shard, times in twice.items() if times > 1]
        self.found += [f"batch {each} belongs to nobody" for each in ran if each not in shards]


def _id_of(document: dict[str, object]) -> RemoteId:
    return RemoteId(str(document.get("id") or document["name"]))


async def campaign(seed: int, root: Path, kills: int) -> list[Trial]:
    """Trials of seed, seed + 1 and so on, one in each dialect at the same time, until there were so many kills."""
    trials: list[Trial] = []
    while (left := kills - sum(trial.kills for trial in trials)) > 0 and not any(trial.found for trial in trials):
        together = min(left, len(FACES))
        first = seed + len(trials)
        new = [
            Trial(number, root / f"{number}", left // together + (at < left % together), FACES[number % len(FACES)])
            for at, number in enumerate(range(first, first + together))
        ]
        await asyncio.gather(*(trial.run() for trial in new))
        trials += new
    return trials
