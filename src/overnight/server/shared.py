"""What the families' surfaces have in common: bodies on the disk, result files as one stream."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request

from overnight.ports import Blobs
from overnight.server.replies import ApiError, discard

CHUNK = 256 * 1024


async def body_to_blob(request: Request, blobs: Blobs, name: str, limit: int, too_large: str) -> int:
    """Store the body as it comes; its length. Raises 413 where it is longer than `limit` bytes."""
    size = 0
    stream = request.stream()
    with blobs.create(name) as writer:
        async for part in stream:
            size += len(part)
            if size > limit:
                await discard(stream, 4 * limit)
                raise ApiError(413, too_large)
            await asyncio.to_thread(writer.write, part)
        await asyncio.to_thread(writer.commit)
    return size


def mapped(blobs: Blobs, name: str) -> mmap.mmap:
    """A blob's bytes without reading them into memory; they go when the last reference to them does."""
    with blobs.open(name) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


async def streamed(blobs: Blobs, names: Sequence[str]) -> AsyncIterator[bytes]:
    """The bytes of these blobs one after the other; a missing one has none."""
    for name in names:
        if await asyncio.to_thread(blobs.size, name) is None:
            continue
        with await asyncio.to_thread(blobs.open, name) as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk
