"""Plain answers: the common ones, which every dialect may read faster than it reads whatever may come.

What a plain reader takes, the dialect's `read_line` judges to be a success with the same figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Plain = tuple[str, str, str | None, int, int, int, int, int, int, int, int, int]
"""Custom id, text, model. Then numbers: where the JSON of the text starts in the line and its length in bytes; the same
of the request id, as it is and without quotes (length 0: there is none); input, cached, output, reasoning and written
tokens (`types.Tokens`)."""


class PlainReader(NamedTuple):
    """Reads the plain answers of an endpoint."""

    read: Callable[[bytes], Plain | None]
    """One line, None where it is not plain."""
    finish_reason: str
    """Of all that it reads."""
