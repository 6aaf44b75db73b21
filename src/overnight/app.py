"""The composition root: the only file that names concrete adapters."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.access import Access
from overnight.clock import SystemClock
from overnight.config import Config, make_home
from overnight.core.catalog import PROVIDERS
from overnight.errors import UsageError
from overnight.ports import Blobs, Clock, Journal, ObjectStore, Provider, Store, Upstream
from overnight.spec import Spec
from overnight.types import JobId, Limits

if TYPE_CHECKING:
    from overnight.providers.openai import OpenAIProvider

HOME_ID = "home-id"  # the blob that holds it


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What a batch server is made of. `any_model`: the upstream serves more names than it lists."""

    objects: ObjectStore
    blobs: Blobs
    journals: Callable[[str], Journal]
    upstream: Upstream
    clock: Clock
    home_id: str
    any_model: bool
    release: Callable[[], None]

    async def close(self) -> None:
        """Stop the upstream, close the store, give the home back."""
        try:
            await self.upstream.close()
            await self.objects.close()
        finally:
            self.release()


def open_server(home: Path, upstream: Upstream, any_model: bool = False) -> ServerParts:
    """The parts of a server whose objects are kept in `home`, which is made where it is missing. Raises `UsageError`
    where another server has it."""
    from overnight.blobs.files import FileBlobs
    from overnight.blobs.journal import FileJournal
    from overnight.blobs.lock import OwnerLock
    from overnight.stores.database import Database
    from overnight.stores.objects import SqlObjects

    root = home / "server"
    lock = OwnerLock(root / "lock")
    if not lock.try_acquire():
        raise UsageError(f"another server is running on this home ({home}): stop it, or give another --home")
    blobs = FileBlobs(root / "blobs")
    return ServerParts(
        objects=SqlObjects(Database(root / "server.db")),
        blobs=blobs,
        journals=lambda name: FileJournal(blobs.root / name),
        upstream=upstream,
        clock=SystemClock(),
        home_id=_home_id(blobs),
        any_model=any_model,
        release=lock.release,
    )


def _home_id(blobs: Blobs) -> str:
    """The random name of a server's home, made once. Called under the home's lock."""
    if blobs.size(HOME_ID) is None:
        with blobs.create(HOME_ID) as writer:
            writer.write(secrets.token_hex(8).encode())
            writer.commit()
    with blobs.open(HOME_ID) as file:
        return file.read().decode()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A home opened by this process: its store, its blobs, and the name under which it owns leases. `is_dead` tells
    whether the process behind such a name is known to be gone."""

    config: Config
    store: Store
    blobs: Blobs
    clock: Clock
    owner: str
    is_dead: Callable[[str], bool]
    release: Callable[[], None]
    nap: float
    """Longest sleep in seconds before a runner sees what other processes ask of its job."""

    async def close(self) -> None:
        """Close the store, let go of the owner's lock."""
        try:
            await self.store.close()
        finally:
            self.release()

    def forget_server(self, job_id: JobId) -> None:
        """Remove the home of the job's own server, where it had one."""
        shutil.rmtree(self.config.home / "local" / job_id, ignore_errors=True)

    def limits(self, name: str) -> Limits:
        """What the provider's batches may hold."""
        return self.config.access[name].known.limits

    def provider(self, name: str, job_id: JobId, spec: Spec) -> Provider:
        """The batch API behind a model's first word, as the spec wants it. Raises `UsageError` where its key is
        missing."""
        access, base_url = self.config.access[name], spec.base_url
        if name in OWN_SERVERS and base_url is None:
            from overnight.providers.local import LocalProvider

            return LocalProvider(name, self.config.home / "local" / job_id, name=name)
        known = access.known
        if known.dialect == "vertex":
            return self._vertex(access, spec)
        needed = known.keys and base_url is None
        key = access.require_key().reveal() if needed or access.key else "none"
        url = base_url or access.base_url or known.base_url
        if url is None:
            raise UsageError(f"{name} needs its base URL: set {' or '.join(known.base_urls)}")
        if known.dialect == "anthropic":
            from overnight.providers.anthropic import VERSION, AnthropicProvider

            return AnthropicProvider(
                key,
                url,
                name=name,
                bearer=access.variable == "ANTHROPIC_AUTH_TOKEN",
                version=spec.api_version or VERSION,
                betas=spec.betas,
                proxy=self.config.proxy,
                create_timeout=spec.policy.create_timeout,
                limits=known.limits,
            )
        if known.dialect == "gemini":
            from overnight.providers.gemini import GeminiProvider

            return GeminiProvider(
                key,
                url,
                name=name,
                version=spec.api_version,
                proxy=self.config.proxy,
                create_timeout=spec.policy.create_timeout,
                limits=known.limits,
            )
        version = spec.api_version or access.version
        return _openai_kin(known.speaks, version)(
            key,
            url,
            name=name,
            organization=access.organization,
            project=access.project,
            version=version,
            proxy=self.config.proxy,
            create_timeout=spec.policy.create_timeout,
            limits=known.limits,
        )

    def _vertex(self, access: Access, spec: Spec) -> Provider:
        from overnight.blobs.objects import google_bucket
        from overnight.providers.google_access import google_access
        from overnight.providers.vertex import VertexProvider

        config = self.config
        if config.vertex_bucket is None:
            raise UsageError(
                "vertex needs a bucket for requests and answers: set OVERNIGHT_VERTEX_BUCKET to gs://BUCKET/FOLDER"
            )
        if access.project is None:
            raise UsageError("vertex needs a project: set the environment variable GOOGLE_CLOUD_PROJECT")
        google = google_access(None if access.key is None else access.key.reveal())
        bucket, _, folder = config.vertex_bucket.removeprefix("gs://").partition("/")
        storage = access.storage or GOOGLE_STORAGE
        storage = storage if "://" in storage else f"http://{storage}"
        return VertexProvider(
            google,
            lambda name: google_bucket(name, storage, google.token, config.proxy),
            bucket,
            f"{folder}/" if folder else "",
            project=access.project,
            location=access.location or "global",
            base_url=spec.base_url or access.base_url,
            proxy=config.proxy,
            create_timeout=spec.policy.create_timeout,
            limits=access.known.limits,
        )


def _openai_kin(name: str, version: str | None) -> type[OpenAIProvider]:
    """The adapter of an API made after OpenAI's, or of that one."""
    from overnight.providers.azure import V1, AzureProvider, DatedAzureProvider
    from overnight.providers.groq import GroqProvider
    from overnight.providers.mistral import MistralProvider
    from overnight.providers.openai import OpenAIProvider
    from overnight.providers.together import TogetherProvider

    match name:
        case "azure":
            return AzureProvider if version in {None, V1} else DatedAzureProvider
        case "mistral":
            return MistralProvider
        case "groq":
            return GroqProvider
        case "together":
            return TogetherProvider
        case _:
            return OpenAIProvider


GOOGLE_STORAGE = "https://storage.googleapis.com"

OWN_SERVERS = frozenset(name for name, provider in PROVIDERS.items() if provider.own)
"""Providers that are our own server, started as a child for the job."""


NAP = 5.0


def open_workspace(config: Config) -> Workspace:
    """The home that the settings name, made where it is missing. Raises `LocalError`."""
    from overnight.blobs.files import FileBlobs
    from overnight.blobs.lock import OwnerLock, owner_is_dead
    from overnight.stores import open_store

    home = make_home(config)
    owner = secrets.token_hex(8)
    owners = home / "owners"
    lock = OwnerLock(owners / owner)
    lock.try_acquire()

    def release() -> None:
        lock.release()
        (owners / owner).unlink(missing_ok=True)

    def is_dead(other: str) -> bool:
        # A file that is gone was removed by its owner on the way out.
        path = owners / other
        return other != owner and (not path.exists() or owner_is_dead(path) is True)

    return Workspace(
        config,
        open_store(home / "overnight.db"),
        FileBlobs(home / "blobs"),
        SystemClock(),
        owner,
        is_dead,
        release,
        NAP,
    )


def open_upstream(backend: str, config: Config, key: str | None = None) -> tuple[Upstream, bool]:
    """The real-time API that a server is put in front of: `local`, `local/PATH.gguf`, `fake`, or a URL; and whether it
    serves more models than it lists."""
    if backend == "fake":
        from overnight.upstreams.fake import FakeUpstream

        return FakeUpstream(), True
    if backend == "local" or backend.startswith("local/"):
        from overnight.upstreams.local import LocalUpstream

        path = backend.removeprefix("local").removeprefix("/")
        return LocalUpstream(config.cache / "models", Path(path) if path else None), False
    if backend.startswith(("http://", "https://")):
        from overnight.upstreams.url import UrlUpstream

        return UrlUpstream(backend, key), False
    raise UsageError(f"backend `{backend}`: write local, local/PATH.gguf, fake, or the URL of an OpenAI-compatible API")
