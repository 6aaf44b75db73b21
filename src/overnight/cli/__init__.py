"""The command line: one file per verb. They parse, ask `overnight.api`, and render; nothing is decided here."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless given) and return its exit code; whatever goes wrong is told on standard
    error in one line."""
    from overnight.cli.ends import told
    from overnight.cli.group import command

    return told(command, argv)
