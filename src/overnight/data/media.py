"""Images and PDFs of a row: a URL is passed on, a file is read and goes with the request, as base64 does.

What is read is taken only where it begins like an image or a PDF: a column that names some other file of this machine
sends nothing of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from overnight.data.records import Unreadable
from overnight.wire.conversation import Media, MediaKind

MOST_BYTES = 50_000_000
"""Of one file; providers take 5 to 50 MB."""
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.ASCII)
_PAGE = re.compile(rb"/Type\s*/Page(?!s)")

IMAGE_TOKENS = (1_100, 5_000)
"""Of an image: as a rule, and not exceeded at today's models (OpenAI's tiles, Anthropic's pixels by 750)."""
PAGE_TOKENS = (2_300, 5_000)
"""Of a page of a PDF: Anthropic counts 1,500 to 3,000 for its text, and its image beside."""


def media_of(text: str, kind: MediaKind, folder: Path) -> list[Media]:
    """The images or documents that a rendered field names, one a line; relative paths start from the folder. Raises
    `Unreadable` without the content of the field."""
    return [_one(line.strip(), kind, folder) for line in text.splitlines() if line.strip()]


def tokens_of(media: Media) -> tuple[float, float]:
    """Tokens that it costs, expected and not exceeded in practice; a document by URL counts as one page."""
    if media.kind == "image":
        return IMAGE_TOKENS
    pages = 1
    if media.data is not None:
        pages = max(1, len(_PAGE.findall(base64.b64decode(media.data))))
    return pages * PAGE_TOKENS[0], pages * PAGE_TOKENS[1]


def _one(text: str, kind: MediaKind, folder: Path) -> Media:
    if text.startswith(("https://", "http://", "gs://")):
        return Media(kind, url=text)
    inline = _DATA_URL.match(text)
    if inline is not None:
        return _checked(_decoded(text[inline.end() :], kind), kind, None)
    path = Path(folder, text)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Unreadable(f"the {kind} has more than {MOST_BYTES:,} bytes")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise Unreadable(f"the {kind} cannot be read: {(reason or 'no path').lower()}") from None
    return _checked(data, kind, path.name)


def _decoded(text: str, kind: MediaKind) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable(f"the {kind} is no valid base64") from None


def _checked(data: bytes, kind: MediaKind, name: str | None) -> Media:
    found = next((type for head, type in _HEADS if data.startswith(head)), None)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        found = "image/webp"
    wanted = "a PDF" if kind == "document" else "a PNG, JPEG, GIF or WebP image"
    if found is None or (found == "application/pdf") != (kind == "document"):
        raise Unreadable(f"the {kind} is not {wanted}")
    return Media(kind, found, base64.b64encode(data).decode("ascii"), name=name)
