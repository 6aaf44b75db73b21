"""Tokens from bytes, without a tokenizer: a figure for people and for cutting batches, and a ceiling for money."""

from __future__ import annotations

ASCII_BYTES_PER_TOKEN = 4.3  # English prose, in the vocabularies of 2024 and later
OTHER_BYTES_PER_TOKEN = 2.5  # between Chinese (3 bytes and about one token a character) and accents inside words
MESSAGE_TOKENS = 4  # the frame of a chat message
ANSWER_TOKENS = 3  # the start of the answer


def estimate(*texts: str) -> tuple[float, float]:
    """The tokens of the texts: expected, and not exceeded in practice (two ASCII bytes, or one other byte, a token).
    How many bytes are not ASCII is exact for characters of two bytes, and too many, never too few, for longer ones."""
    plain = other = 0
    for text in texts:
        size = len(text)
        if text.isascii():
            plain += size
        else:
            total = len(text.encode())
            foreign = min(2 * (total - size), total)
            other += foreign
            plain += total - foreign
    return plain / ASCII_BYTES_PER_TOKEN + other / OTHER_BYTES_PER_TOKEN, plain / 2 + other
