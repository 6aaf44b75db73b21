"""Files of a job that none of its records names any more: of a plan whose place another one took, or of a process that
died before it committed what it had written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from overnight.data.keys import keys_blob
from overnight.engine.work import in_thread
from overnight.errors import UsageError
from overnight.ports import Blobs, Clock, Lease, Store
from overnight.types import JobId, Segment, Shard

_FOLDERS = ("segments", "shards", "mended")
"""Where files of a job are written, under random names, before the commit that names them."""


def files_of(segments: Iterable[Segment], shards: Iterable[Shard]) -> Iterator[str]:
    """The blobs that these records name; the hashes of keys are there only where the job has a key."""
    for segment in segments:
        yield segment.rows_blob
        yield keys_blob(segment.rows_blob)
    for shard in shards:
        yield shard.blob
        if shard.tries_blob is not None:
            yield shard.tries_blob


async def check_there(blobs: Blobs, job_id: JobId, segments: Iterable[Segment], shards: Iterable[Shard]) -> None:
    """Raises `UsageError` where files of a plan are gone: whoever owned the job in the meantime has swept them."""
    wanted = {*(segment.rows_blob for segment in segments), *(shard.blob for shard in shards)}
    if not wanted.issubset(await in_thread(_written, blobs, job_id)):
        raise UsageError(f"job {job_id} was planned or run by another process in the meantime: run it again")


async def sweep(store: Store, blobs: Blobs, clock: Clock, lease: Lease, seconds: float, job_id: JobId) -> None:
    """Remove them. The caller owns the job under a lease of so many seconds; it is renewed between looking and
    removing, so that nothing of a new owner's is ever among them."""
    written = await in_thread(_written, blobs, job_id)
    named = set(files_of(await store.segments(job_id), await store.shards(job_id)))
    left = [name for name in written if name not in named]
    if left:
        until = clock.elapsed() + seconds / 2
        await store.renew(lease, seconds)
        await in_thread(_remove, blobs, left, clock, until)


def _written(blobs: Blobs, job_id: JobId) -> list[str]:
    folders = tuple(f"jobs/{job_id}/{folder}/" for folder in _FOLDERS)
    return [name for name in blobs.list(f"jobs/{job_id}/") if name.startswith(folders)]


def _remove(blobs: Blobs, names: Iterable[str], clock: Clock, until: float) -> None:
    for name in names:
        if clock.elapsed() >= until:
            return  # this process was stopped meanwhile; what is left is for the next one
        blobs.delete(name)
