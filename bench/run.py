"""`make bench`: the real command against a loopback provider, in whole processes, beside the floor of the same run.

Figures are CPU seconds of the whole command less those of the same command on one row, the least of some rounds;
targets are ratios to the floor. Everything is printed, and written to `bench/results.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from documents import DATA, LONG, SHORT, Documents, documents
from jobs import JOBS, MODELS, Job
from measure import Spent, run
from overnight.cli.group import MODULES
from rows import write_requests

HERE = Path(__file__).parent
OVERNIGHT = Path(sys.executable).with_name("overnight")
GROWTH = 1.1
"""Most that peak memory may grow by from the many documents to the very many."""
STARTS = {"--help": 0.15, **{f"{verb} --help": 0.15 for verb in MODULES}, "status": 0.6}
"""CPU seconds of a whole command at most."""
ANSWERING = {"floor": ("the floor", None), "executor": ("executor", 0.50), "server": ("whole server", 0.30)}
"""Ways of `rows.py`, and their targets: 0.30 and 0.50 ms a row where the floor takes 0.15."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `many` documents of 1.45 KB, `very_many` of 200 bytes (0: none), `answers` of the
    executor. Without `rounds` everything is done once, and nothing is subtracted: that shows only that it works."""

    many: int
    very_many: int
    answers: int
    rounds: int


FULL = Sizes(100_000, 1_000_000, 20_000, 3)
NOTHING = Spent(0.0, 0.0, 0.0)
QUICK = Sizes(300, 0, 200, 0)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `us` is CPU in microseconds a row; ratios are to the floor."""

    what: str
    rows: int
    us: float
    peak: float
    peak_limit: int
    ratio: float | None = None
    target: float | None = None
    http_us: float | None = None
    grown: float | None = None

    @property
    def holds(self) -> bool:
        """Whether every target of it is met."""
        fast = self.ratio is None or self.target is None or self.ratio >= self.target
        return fast and self.peak <= self.peak_limit and (self.grown is None or self.grown <= GROWTH)


class Scene:
    """A provider on loopback, and a place for homes and tables."""

    def __init__(self, url: str, place: Path) -> None:
        self.url = url
        self.place = place
        self.log = place / "log"

    def release(self, *, hold: bool = False) -> None:
        """Let the provider end its batches."""
        request = Request(f"{self.url}/release{'?hold=1' if hold else ''}", method="POST", data=b"")
        with urlopen(request) as answer:
            answer.read()

    def command(self, *arguments: str | Path) -> Spent:
        """The real command, in the home of this scene."""
        keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "bench")
        google = {
            "CLOUDSDK_AUTH_ACCESS_TOKEN": "bench",
            "GOOGLE_CLOUD_PROJECT": "bench",
            "GOOGLE_CLOUD_LOCATION": "global",
            "STORAGE_EMULATOR_HOST": self.url,
            "OVERNIGHT_VERTEX_BUCKET": "gs://bucket/jobs",
        }
        environment = {**keys, **google, "OVERNIGHT_HOME": str(self.place / "home")}
        return run([OVERNIGHT, *arguments], self.log, environment)

    def base_url(self, dialect: str) -> str:
        """Where the API of the dialect is."""
        return f"{self.url}/v1" if dialect == "openai" else f"{self.url}/v1beta" if dialect == "gemini" else self.url

    def told(self, script: str, *arguments: str | Path) -> Any:
        """What a script of ours prints as JSON."""
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def job(self, job: Job, source: Documents) -> tuple[Spent, Spent]:
        """Build and consume, in a fresh home; every row must come out, and with success."""
        shutil.rmtree(self.place / "home", ignore_errors=True)
        spec, table = self.place / "spec.yaml", self.place / f"table.{job.table}"
        spec.write_text(json.dumps(job.spec(str(getattr(source, job.source)), self.base_url(job.dialect), str(table))))
        self.release(hold=True)
        build = self.command("--poll", "3600", "submit", spec, "--yes")
        self.release()
        consume = self.command("--poll", "0.1", "collect")
        found = self.told("tables.py", table)
        if found != {"rows": source.rows, "succeeded": source.rows}:
            raise SystemExit(f"{job.names['consume']}: of {source.rows} rows came out {found}")
        table.unlink()
        return build, consume

    def transfer(self, dialect: str) -> dict[str, float]:
        """CPU seconds of HTTP alone for the request files of the last job."""
        (shards,) = (self.place / "home" / "blobs" / "jobs").glob("*/shards")
        return dict(self.told("transfer.py", dialect, self.base_url(dialect), shards))

    def floor(self, what: str, dialect: str, source: Path) -> Spent:
        """The floor's script."""
        target = self.place / "floor.jsonl"
        spent = run([sys.executable, HERE / "floor.py", what, dialect, source, target], self.log)
        target.unlink()
        return spent


@contextmanager
def scene() -> Iterator[Scene]:
    """A fresh scene; all of it is gone in the end."""
    place = DATA / f"run-{os.getpid()}"
    place.mkdir(parents=True)
    provider = subprocess.Popen(
        [sys.executable, HERE / "provider.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert provider.stdin is not None
    assert provider.stdout is not None
    try:
        yield Scene(provider.stdout.readline().strip(), place)
    finally:
        provider.stdin.close()
        provider.wait()
        shutil.rmtree(place)


def starts(scene: Scene, rounds: int) -> dict[str, float]:
    """CPU seconds of commands that should answer at once, in a home that holds a job."""
    return {words: min(scene.command(*words.split()).cpu for _ in range(max(rounds, 1))) for words in STARTS}


def floors(scene: Scene, dialect: str, many: Documents, one: Documents, rounds: int) -> dict[str, Spent]:
    """The floor's two halves with the lines of a dialect, and what the same costs on one row."""
    found: dict[str, Spent] = {}
    results, result = scene.place / "results.jsonl", scene.place / "result.jsonl"
    scene.told("provider.py", dialect, results, str(many.rows))
    scene.told("provider.py", dialect, result, "1")
    for _ in range(max(rounds, 1)):
        for what, source, first in (("build", many.jsonl, one.jsonl), ("consume", results, result)):
            _keep(found, what, scene.floor(what, dialect, source))
            _keep(found, f"{what} one", scene.floor(what, dialect, first))
    results.unlink()
    return found


def ways(scene: Scene, jobs: Sequence[Job], many: Documents, one: Documents, rounds: int) -> list[Row]:
    """Every job over the many documents, beside the floor of its dialect: rounds go over all of them, so that a busy
    while of the machine is nobody's alone."""
    floor: dict[str, dict[str, Spent]] = {job.dialect: {} for job in jobs}
    found: dict[str, Spent] = {}
    http: dict[Job, dict[str, float]] = {}
    runs = {"one": one, "many": many} if rounds else {"many": many}
    for _ in range(max(rounds, 1)):
        for dialect, spent in floor.items():
            for what, each in floors(scene, dialect, many, one, min(rounds, 1)).items():
                _keep(spent, what, each)
        for job in jobs:
            for size, documents_ in runs.items():
                for name, spent_ in zip(job.names.values(), scene.job(job, documents_), strict=True):
                    _keep(found, f"{name} {size}", spent_)
            if job not in http:
                http[job] = scene.transfer(job.dialect)
    made = []
    for what, way in ("build", "upload"), ("consume", "download"):
        for dialect, spent in floor.items():
            least = spent[what].cpu - spent[f"{what} one"].cpu
            made.append(Row(f"{what}: the floor, {dialect}", many.rows, least / many.rows * 1e6, spent[what].peak, 120))
            for job in (job for job in jobs if job.dialect == dialect):
                name = job.names[what]
                whole, base = found[f"{name} many"], found.get(f"{name} one", NOTHING)
                cpu = whole.cpu - base.cpu
                made.append(
                    Row(
                        what=name,
                        rows=many.rows,
                        us=cpu / many.rows * 1e6,
                        peak=whole.peak,
                        peak_limit=job.peak_mb,
                        ratio=least / cpu,
                        target=job.build_target if what == "build" else job.consume_target,
                        http_us=http[job][way] / many.rows * 1e6,
                    )
                )
    return made


def _keep(kept: dict[str, Spent], name: str, spent: Spent) -> None:
    kept[name] = kept[name].least(spent) if name in kept else spent


def growth(scene: Scene, jobs: Sequence[Job], very_many: Documents, before: list[Row]) -> list[Row]:
    """The same jobs over very many short documents: does memory stay?"""
    peaks = {row.what: row.peak for row in before}
    made = []
    for job in jobs:
        for name, spent in zip(job.names.values(), scene.job(job, very_many), strict=True):
            us = spent.cpu / very_many.rows * 1e6
            made.append(Row(name, very_many.rows, us, spent.peak, job.peak_mb, grown=spent.peak / peaks[name]))
    return sorted(made, key=lambda row: row.what.split()[0])


def answering(scene: Scene, answers: int, rounds: int) -> list[Row]:
    """Rows answered in real time, beside a bare loop that does it."""
    found: dict[str, Spent] = {}
    for way in ANSWERING:
        for size in (1, answers) if rounds else (answers,):
            folder = scene.place / "rows"
            folder.mkdir()
            write_requests(folder / "requests.jsonl", size)
            told = scene.told("rows.py", way, scene.url, folder)
            if told["succeeded"] != size:
                raise SystemExit(f"{way}: of {size} rows came out {told['succeeded']}")
            found[f"{way} {size}"] = Spent(told["cpu"], 0.0, told["peak"])
            shutil.rmtree(folder)
    made: list[Row] = []
    for way, (what, target) in ANSWERING.items():
        whole = found[f"{way} {answers}"]
        us = (whole.cpu - found.get(f"{way} 1", NOTHING).cpu) / answers * 1e6
        made.append(Row(what, answers, us, whole.peak, 80, made[0].us / us if made else None, target))
    return made


def shown(parts: dict[str, list[Row]], began: dict[str, float]) -> str:
    """The whole table, for people."""
    lines = []
    for title, rows_ in parts.items():
        lines += ["", title]
        lines.append(
            f"  {'':46} {'us/row':>8} {'rows/CPU-s':>11} {'of floor':>9} {'target':>7} {'HTTP us':>8} {'peak MB':>8}"
            f" {'limit':>6} {'growth':>7}"
        )
        for row in rows_:
            ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
            target = f"{row.target:.2f}" if row.target is not None else ""
            http = f"{row.http_us:.1f}" if row.http_us is not None else ""
            grown = f"{row.grown - 1:+.0%}" if row.grown is not None else ""
            lines.append(
                f"  {row.what:46} {row.us:8.1f} {1e6 / (row.us or 1):11,.0f} {ratio:>9} {target:>7} {http:>8}"
                f" {row.peak:8.0f} {row.peak_limit:6} {grown:>7}{'' if row.holds else '  MISSED'}"
            )
    lines += ["", "starting, CPU seconds"]
    for words, spent in began.items():
        lines.append(
            f"  overnight {words:36} {spent:8.3f} of {STARTS[words]:.2f}{'' if spent <= STARTS[words] else '  MISSED'}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some hundred rows: that it works, not how fast")
    parser.add_argument("--dialect", choices=list(MODELS), action="append", help="only jobs in these")
    parser.add_argument("--into", type=Path, default=HERE / "results.json", help="where the figures go")
    asked = parser.parse_args()
    sizes = QUICK if asked.quick else FULL
    jobs = [job for job in JOBS if job.dialect in (asked.dialect or MODELS)]
    if asked.quick:
        jobs = [job for job in jobs if job.dialect == "openai" or job.source == "jsonl"]
    many, one = documents(sizes.many, LONG), documents(1, LONG)
    very_many = documents(sizes.very_many, SHORT) if sizes.very_many else None
    with scene() as here:
        parts = {f"{many.rows:,} documents of {LONG:,} bytes": ways(here, jobs, many, one, sizes.rounds)}
        began = starts(here, sizes.rounds)
        if very_many is not None:
            (before,) = parts.values()
            parts[f"{very_many.rows:,} documents of {SHORT:,} bytes"] = growth(here, jobs, very_many, before)
        parts[f"{sizes.answers:,} rows answered in real time"] = answering(here, sizes.answers, sizes.rounds)
    print(shown(parts, began))
    document = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "parts": {title: [asdict(row) | {"holds": row.holds} for row in rows_] for title, rows_ in parts.items()},
        "starting": began,
    }
    asked.into.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
