"""Tokens from bytes, without a tokenizer: a figure for people and for cutting batches, and a ceiling for money."""

from __future__ import annotations

ASCII_BYTES_PER_TOKEN = 4.3  # English prose, in the vocabularies of 2024 and later
OTHER_BYTES_PER_TOKEN = 2.5  # between Chinese (3 bytes and about one token a character) and accents inside words
MESSAGE_TOKENS = 4  # the frame of a chat message
ANSWER_TOKENS = 3  # the start of the answer


def estimate(text: str) -> tuple[float, float]:
    """The tokens of a text: expected, and not exceeded in practice (two ASCII bytes, or one other byte, a token). How
    many bytes are not ASCII is exact for characters of two bytes, and too many, never too few, for longer ones."""
    size = len(text)
    if text.isascii():
        return size / ASCII_BYTES_PER_TOKEN, size / 2
    total = len(text.encode())
    other = min(2 * (total - size), total)
    ascii_bytes = total - other
    return ascii_bytes / ASCII_BYTES_PER_TOKEN + other / OTHER_BYTES_PER_TOKEN, ascii_bytes / 2 + other
