"""Speaking with a person: lines on standard error, a question, and answers on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from overnight.cli.ends import Interrupted
from overnight.cli.interrupts import Interrupts


def say(text: str = "") -> None:
    """A message: to standard error, so that standard output holds nothing but answers."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def answer(text: str) -> None:
    """An answer for people, to standard output."""
    sys.stdout.write(f"{text}\n")


def document(value: Mapping[str, Any] | list[Any]) -> None:
    """An answer for machines: one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str, interrupts: Interrupts | None = None) -> bool:
    """A y/N question on the terminal. Raises `Interrupted` on Ctrl-C."""
    try:
        with contextlib.nullcontext() if interrupts is None else interrupts.off():
            sys.stderr.write(f"{question} [y/N] ")
            sys.stderr.flush()
            reply = sys.stdin.readline()
    except KeyboardInterrupt:
        raise Interrupted("\ninterrupted: nothing was sent") from None
    return reply.strip().lower() in {"y", "yes"}
