"""Blobs in an object store: a bucket of Google Cloud Storage, or anything else that obstore can reach.

A blob is one object, visible when it is whole. What was sent of a blob that was never committed stays hidden in the
store, until the bucket's own rule for unfinished uploads removes it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Self, cast
from urllib.parse import urlsplit

from overnight.errors import InvariantError, LocalError, ProviderError, UsageError
from overnight.types import Failure, FailureKind

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import WritableFile
    from obstore.store import GCSCredential, ObjectStore

LOOPBACK = "localhost,127.0.0.0/8,::1"
PIECE = 5 << 20  # bytes sent at a time: the least that Google takes of an upload in parts
PIECES = 2  # sent at the same time; all of them are in memory, and one more
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=,:-]{0,199}")
_STATUS = re.compile(r"status code: ([1-5]\d\d)")


def google_bucket(
    bucket: str, base_url: str, credential: Callable[[], GCSCredential], proxy: str | None = None
) -> ObjectBlobs:
    """The objects of a bucket of Google Cloud Storage; `credential` is asked for a token whenever the last one is over.
    Raises `UsageError` where the package for it is missing."""
    try:
        from obstore.store import GCSStore
    except ImportError:
        raise UsageError("a bucket needs obstore: pip install 'overnight[vertex]'") from None
    store = GCSStore(
        bucket,
        config={"base_url": base_url, "skip_signature": False},
        client_options={
            "allow_http": base_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=15),
            "read_timeout": timedelta(seconds=120),
            "timeout": timedelta(hours=1),
            # Without a proxy of ours the environment's would be used: so there is always one, at times for no host.
            "proxy_url": proxy or base_url,
            "proxy_excludes": LOOPBACK if proxy is not None else urlsplit(base_url).hostname or "",
        },
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        credential_provider=credential,
    )
    return ObjectBlobs(store, f"gs://{bucket}/")


class ObjectBlobs:
    """`ports.Blobs` over an obstore store; `place` is what stands before a name when people are told of it. A service
    that does not play along raises `ProviderError`."""

    def __init__(self, store: ObjectStore, place: str = "") -> None:
        self._store = store
        self._place = place

    def create(self, name: str) -> ObjectWriter:
        """A writer for a new blob; `commit` publishes it."""
        return ObjectWriter(self._store, self._checked(name), self._place)

    def open(self, name: str) -> BinaryIO:
        """Read from the start, over one connection. Raises `LocalError` where it is missing."""
        import obstore

        with _Told(self._place, name, "read"):
            chunks = iter(obstore.get(self._store, self._checked(name)).stream(PIECE))
        return cast(BinaryIO, io.BufferedReader(_Stream(chunks, self._place, name), PIECE))

    def reader(self, name: str) -> ObjectReader:
        """Read anywhere, one request at a time. Raises `LocalError` where it is missing."""
        size = self.size(name)
        if size is None:
            raise _missing(self._place, name)
        return ObjectReader(self._store, name, self._place, size)

    def size(self, name: str) -> int | None:
        """Bytes, or None where it is missing."""
        import obstore

        try:
            with _Told(self._place, name, "read"):
                return obstore.head(self._store, self._checked(name))["size"]
        except LocalError:
            return None

    def list(self, prefix: str) -> Iterator[str]:
        """Names that start with the prefix, sorted."""
        import obstore

        directory = prefix.rpartition("/")[0]
        with _Told(self._place, prefix, "list"):
            pages = obstore.list(self._store, self._checked(directory) + "/" if directory else None)
            names = [meta["path"] for page in pages for meta in page]
        yield from sorted(name for name in names if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Remove; a missing one is fine."""
        import obstore

        try:
            with _Told(self._place, name, "delete"):
                obstore.delete(self._store, self._checked(name))
        except LocalError:
            return

    def free(self) -> None:
        """There is no such limit."""

    def _checked(self, name: str) -> str:
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise InvariantError(f"not a name of a blob: {name!r}")
        return name


class ObjectWriter:
    """A blob in the making. Leaving the `with` without `commit` publishes nothing."""

    def __init__(self, store: ObjectStore, name: str, place: str) -> None:
        self._store, self._name, self._place = store, name, place
        self._file: WritableFile | None = None
        self._written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; what is more than a piece leaves at once."""
        with _Told(self._place, self._name, "write"):
            self._written += len(data)
            return self._opened().write(data)

    def tell(self) -> int:
        """Bytes written."""
        return self._written

    def commit(self) -> None:
        """Publish under the name; a blob of that name is replaced."""
        with _Told(self._place, self._name, "write"):
            self._opened().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file = None

    def _opened(self) -> WritableFile:
        import obstore

        if self._file is None:
            self._file = obstore.open_writer(self._store, self._name, buffer_size=PIECE, max_concurrency=PIECES)
        return self._file


class ObjectReader:
    """Random access to a published blob; may be used from several threads."""

    def __init__(self, store: ObjectStore, name: str, place: str, size: int) -> None:
        self._store, self._name, self._place, self._size = store, name, place, size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly those bytes (fewer only at the end)."""
        import obstore

        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        with _Told(self._place, self._name, "read"):
            return bytes(obstore.get_range(self._store, self._name, start=offset, length=length))

    def close(self) -> None:
        """Nothing is held."""


class _Stream(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes], place: str, name: str) -> None:
        self._chunks, self._place, self._name = chunks, place, name
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: WriteableBuffer, /) -> int:
        while not self._rest:
            with _Told(self._place, self._name, "read"):
                chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        room = memoryview(into).cast("B")
        taken = self._rest[: len(room)]
        room[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


class _Told:
    """Errors of the store inside the `with`, as ours. Its own texts quote whole answers, and are not shown."""

    def __init__(self, place: str, name: str, doing: str) -> None:
        self._place, self._name, self._doing = place, name, doing

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from obstore.exceptions import BaseError

        what = f"cannot {self._doing} {self._place}{self._name}"
        match error:
            case FileNotFoundError() if self._doing != "write":
                raise _missing(self._place, self._name) from None
            case BaseError() | OSError():
                told = _STATUS.search(str(error))
                raise _failed(what, None if told is None else int(told[1])) from None
            case _:
                return


def _missing(place: str, name: str) -> LocalError:
    return LocalError(f"there is no object {place}{name}")


def _failed(what: str, status: int | None) -> ProviderError:
    """What an answer with this status (None: there was no whole one) means, for an object that is to be written."""
    match status:
        case None:
            kind, why = FailureKind.TRANSIENT, "no whole answer"
        case 401 | 403:
            kind, why = FailureKind.ACCOUNT, "not allowed with these credentials"
        case 404:
            kind, why = FailureKind.ACCOUNT, "there is no such bucket"
        case 408 | 429:
            kind, why = FailureKind.TRANSIENT, f"HTTP {status}"
        case _:
            kind, why = FailureKind.PERMANENT if status < 500 else FailureKind.TRANSIENT, f"HTTP {status}"
    refused = kind is not FailureKind.TRANSIENT
    return ProviderError(Failure(kind, f"{what}: {why}", status=status, proves_refusal=refused))
