"""Custom ids: short, safe at every provider, made of run tag, ordinal and generation."""

from __future__ import annotations

import re

_CUSTOM_ID = re.compile(r"([a-z0-9]{8})-([0-9]{9,19})-([0-9]{2,6})")


def custom_id(tag: str, ordinal: int, generation: int, digits: int = 9) -> str:
    """`TTTTTTTT-NNNNNNNNN-GG`: run tag, zero-based ordinal, generation of the shard."""
    return f"{tag}-{ordinal:0{digits}d}-{generation:02d}"


def custom_id_form(tag: str, generation: int) -> str:
    """What `custom_id` makes an id with, as a form for `%` that lacks the ordinal only."""
    return f"{tag}-%09d-{generation:02d}"


def split_custom_id(text: str) -> tuple[str, int, int] | None:
    """`(tag, ordinal, generation)`, or None where the id is not of our form."""
    match = _CUSTOM_ID.fullmatch(text)
    return None if match is None else (match[1], int(match[2]), int(match[3]))
