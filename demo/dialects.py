"""One job, unchanged but for its model's name, through three dialects, OpenAI's, Anthropic's and Google's: each time it
is our own server in front of the same real model. Prints what each said and whether they said the same.

`python demo/dialects.py [ROWS]`: the first so many articles (48), for each dialect anew.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE / ".work" / "dialects"
MODEL = "smollm2"
DIALECTS = {"openai": "/v1", "anthropic": "", "gemini": ""}
"""The providers whose words are spoken, and what their base URLs end with."""
KEYS = {"OPENAI_API_KEY": "none", "ANTHROPIC_API_KEY": "none", "GEMINI_API_KEY": "none"}


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server in front of the embedded model."""
    command = [sys.executable, "-m", "overnight", "--home", str(WORK / "server"), "serve", "--backend", "local"]
    with subprocess.Popen(
        [*command, "--port", "0", "--parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        if not line:
            sys.exit(process.wait())
        yield json.loads(line)["url"].removesuffix("/v1")
        process.stdin.close()


def run(provider: str, url: str, rows: int) -> dict[str, str]:
    """Run the job; the answers by article."""
    output = WORK / f"{provider}.csv"
    environment = {**os.environ, **KEYS, "OVERNIGHT_HOME": str(WORK / "home")}
    command = [sys.executable, "-m", "overnight", "run", str(HERE / "news.yaml"), "--yes", "--limit", str(rows)]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--model", f"{provider}/{MODEL}", "--base-url", url, "--output", str(output)],
        env=environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)
    with output.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    tokens = sum(int(row["input_tokens"]) for row in table), sum(int(row["output_tokens"]) for row in table)
    good = sum(row["status"] == "succeeded" for row in table)
    spent = f"{time.monotonic() - began:.0f} s"
    print(f"{provider:<12}{good:>5} of {len(table)}{tokens[0]:>12,}{tokens[1]:>10,}{spent:>9}")
    return {row["id"]: row["topic"] for row in table}


def main() -> int:
    """Run it in each dialect; 1 where an article has no answer or another one."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 48
    code = subprocess.run([sys.executable, str(HERE / "prepare.py")], check=False).returncode
    if code:
        return code
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    print(f"{'dialect':<12}{'answered':>11}{'tokens in':>12}{'out':>10}{'time':>9}")
    with serving() as url:
        said = {provider: run(provider, url + end, rows) for provider, end in DIALECTS.items()}
    first = said["openai"]
    differ = sum(any(answers[id] != topic for answers in said.values()) for id, topic in first.items())
    same_rows = all(list(answers) == list(first) for answers in said.values())
    print(f"\nthe same rows in the same order: {'yes' if same_rows else 'no'}")
    print(f"the same answer in every dialect: {len(first) - differ} of {len(first)}")
    return 0 if same_rows and all("" not in answers.values() for answers in said.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
