"""Prompt caching at scale: a long shared prefix before every row, through the real command, to a fake Anthropic that
bills what it reads from its cache and what it writes into it.

`caching.py [--rows 100000] [--hits 0.64] [--into caching.json]` prints what the preview expected beside what the fake
reports and what the job has booked, and the peak memory of the command. It fails where they do not fit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from documents import DATA, SHORT, documents
from jobs import MODELS, SYSTEM
from measure import run
from overnight.engine.prepare import CACHE_HITS
from overnight.testing.anthropic_batches import Quirks
from overnight.testing.anthropic_fake import KEY, FakeAnthropic
from overnight.testing.anthropic_server import serving

OVERNIGHT = Path(sys.executable).with_name("overnight")
PREFIX = 7
"""Times that the instructions of the bench are repeated: about 1,900 tokens."""
PEAK_MB = 120
_EXAMPLES = (
    {"user": "The parcel came on time, and well packed.", "assistant": "A delivery; its author approves."},
    {"user": "Nobody answers the phone at that shop.", "assistant": "Customer service; its author disapproves."},
)


@dataclass(frozen=True, slots=True)
class Told:
    """Tokens by who tells them, memory in MB."""

    rows: int
    shared: int  # by the preview, of all rows together
    expected_read: tuple[int, int]
    billed_read: int
    billed_written: int
    booked_read: int
    booked_written: int
    peak: float

    @property
    def holds(self) -> bool:
        """Whether what was billed lies in the range that was told, what is shared was known to a tenth, what was
        billed is booked to the token, and memory is bounded."""
        least, most = self.expected_read
        return (
            least <= self.billed_read <= most
            and abs(self.billed_read + self.billed_written - self.shared) <= 0.1 * self.shared
            and (self.billed_read, self.billed_written) == (self.booked_read, self.booked_written)
            and self.peak <= PEAK_MB
        )

    def __str__(self) -> str:
        least, most = self.expected_read
        read, written = self.billed_read, self.billed_written
        return "\n".join(
            (
                f"{self.rows:,} rows with a shared prefix of about {self.shared // self.rows:,} tokens",
                f"  {'':22} {'expected':>32} {'billed':>14} {'booked':>14}",
                f"  {'tokens of the prefix':22} {self.shared:32,} {read + written:14,}",
                f"  {'read from the cache':22} {f'{least:,} to {most:,}':>32} {read:14,} {self.booked_read:14,}",
                f"  {'written into it':22} {f'{self.shared - most:,} to {self.shared - least:,}':>32}"
                f" {written:14,} {self.booked_written:14,}",
                f"  peak memory {self.peak:.0f} MB of {PEAK_MB}",
            )
        )


def spec_of(source: Path, base_url: str, output: Path) -> dict[str, Any]:
    """The job."""
    return {
        "name": "caching",
        "model": MODELS["anthropic"],
        "source": str(source),
        "key": "id",
        "base_url": base_url,
        "prompt": {"system": SYSTEM * PREFIX, "examples": list(_EXAMPLES), "user": "{{ text }}", "cache": True},
        "parameters": {"max_output_tokens": 60},
        "output": str(output),
    }


def measured(rows: int, hits: float, place: Path) -> Told:
    """Preview, run, and ask everybody."""
    source = documents(rows, SHORT).jsonl
    spec, log = place / "spec.yaml", place / "log"
    environment = {"ANTHROPIC_API_KEY": KEY, "OVERNIGHT_HOME": str(place / "home")}

    def told(*arguments: str | Path) -> Any:
        command = [str(part) for part in (OVERNIGHT, *arguments, "--json")]
        done = subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
        return json.loads(done.stdout)

    fake = subprocess.Popen(
        [sys.executable, __file__, "--serve", "--hits", str(hits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert fake.stdin is not None
    assert fake.stdout is not None
    try:
        url = fake.stdout.readline().strip()
        spec.write_text(json.dumps(spec_of(source, url, place / "answers.jsonl")))
        preview = told("submit", spec, "--dry-run")
        halves = (("submit", spec, "--yes"), ("--poll", "0.1", "collect"))
        peak = max(run([OVERNIGHT, *half], log, environment).peak for half in halves)
        job = told("status", "caching")
    finally:
        billed = json.loads(fake.communicate()[0])
    if job["rows"]["succeeded"] != rows:
        raise SystemExit(f"of {rows} rows succeeded {job['rows']}")
    shared = preview["tokens"]["shared"]
    least, most = (round(shared * share) for share in CACHE_HITS)
    return Told(
        rows=rows,
        shared=shared,
        expected_read=(least, most),
        billed_read=billed["read"],
        billed_written=billed["written"],
        booked_read=job["tokens"]["cached"],
        booked_written=job["tokens"]["written"],
        peak=peak,
    )


def serve(hits: float) -> None:
    """The fake, in a process of its own: it prints its address, and when its input ends what it has billed."""
    fake = FakeAnthropic(time.time, Quirks(cache_hits=hits), takes=0.0, answering=lambda _: "A delivery.")
    with serving(fake) as url:
        print(url, flush=True)
        sys.stdin.read()
    print(json.dumps({"read": fake.usage.cached, "written": fake.usage.written}))


def main() -> None:
    """Measure, print, and say whether it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--hits", type=float, default=0.64, help="share of rows that read the prefix from the cache")
    parser.add_argument("--into", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.hits)
        return
    DATA.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=DATA) as place:
        told = measured(asked.rows, asked.hits, Path(place))
    print(told)
    if asked.into:
        asked.into.write_text(json.dumps(asdict(told) | {"holds": told.holds}, indent=2) + "\n")
    if not told.holds:
        raise SystemExit("it does not hold")


if __name__ == "__main__":
    main()
