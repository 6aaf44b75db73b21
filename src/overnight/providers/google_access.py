"""Who we are at Google Cloud: application default credentials, or a token that is given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from overnight.errors import ProviderError, UsageError
from overnight.types import Failure, FailureKind

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
NO_PACKAGE = "vertex needs google-auth: pip install 'overnight[vertex]'"
NO_CREDENTIALS = (
    "no Google credentials: run `gcloud auth application-default login`, or name a key file with "
    "GOOGLE_APPLICATION_CREDENTIALS"
)


class Token(TypedDict):
    """A bearer token, and when it is over (None: never)."""

    token: str
    expires_at: datetime | None


class GoogleAccess:
    """Tokens, refreshed in a worker thread when they are about to end. `find` gives the credentials when they are first
    needed: it may look for them on the network."""

    def __init__(self, find: Callable[[], Credentials]) -> None:
        self._find = find
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()

    async def headers(self) -> Mapping[str, str]:
        """What authorizes a request. Raises `UsageError` where there are no credentials, and `ProviderError` where they
        do not hold: then nothing was sent."""
        credentials = await asyncio.to_thread(self._fresh)
        headers: dict[str, str] = {}
        credentials.apply(headers)
        return headers

    def token(self) -> Token:
        """The token for who asks in a thread of its own. Raises as `headers` does."""
        credentials = self._fresh()
        expiry = credentials.expiry
        return {"token": str(credentials.token), "expires_at": None if expiry is None else expiry.replace(tzinfo=UTC)}

    def _fresh(self) -> Credentials:
        from google.auth.exceptions import RefreshError, TransportError

        with self._lock:
            if self._credentials is None:
                self._credentials = self._find()
            try:
                if not self._credentials.valid:
                    from google.auth.transport.requests import Request  # as much to load as all the rest

                    self._credentials.refresh(Request())
            except RefreshError:
                raise _failed(FailureKind.ACCOUNT, "the Google credentials were refused: log in again") from None
            except TransportError:
                raise _failed(FailureKind.TRANSIENT, "no token: Google's token server cannot be reached") from None
            return self._credentials


def google_access(token: str | None = None) -> GoogleAccess:
    """Access with this token, which is never refreshed, or with the machine's application default credentials. Raises
    `UsageError` where the package for it is missing."""
    try:
        import google.auth
        import google.oauth2.credentials
        from google.auth.exceptions import DefaultCredentialsError
    except ImportError:
        raise UsageError(NO_PACKAGE) from None

    def find() -> Credentials:
        if token is not None:
            return google.oauth2.credentials.Credentials(token)
        try:
            credentials, _ = google.auth.default(scopes=[SCOPE])
        except DefaultCredentialsError:
            raise UsageError(NO_CREDENTIALS) from None
        return credentials

    return GoogleAccess(find)


def _failed(kind: FailureKind, message: str) -> ProviderError:
    return ProviderError(Failure(kind, message, proves_refusal=True))
