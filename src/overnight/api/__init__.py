"""The front door: `Client`, and its thin synchronous facade.

A client opens a home, plans jobs, runs them, and reads what became of them. Surfaces (command line, notebooks) call
this and nothing below it.
"""

from __future__ import annotations

from overnight.api.client import Client
from overnight.api.live import LivePlan
from overnight.api.reading import Attempt, RowHistory, Status
from overnight.api.sync import Results, run
from overnight.engine.live import Fact
from overnight.engine.operate import Chosen
from overnight.engine.prepare import Money, Preview
from overnight.engine.runner import End, EndReason

__all__ = [
    "Attempt",
    "Chosen",
    "Client",
    "End",
    "EndReason",
    "Fact",
    "LivePlan",
    "Money",
    "Preview",
    "Results",
    "RowHistory",
    "Status",
    "run",
]
