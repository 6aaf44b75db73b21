"""Whose account a key belongs to, as far as an API tells."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace

from overnight.types import Account

_SERVER = re.compile(r"[^;]+;\s*home=([A-Za-z0-9_.-]+)")


def account_of(provider: str, base_url: str, organization: str | None, project: str | None) -> Account:
    """The account with its fingerprint, 16 hex digits."""
    fingerprint = _fingerprint(provider, base_url, organization or "", project or "")
    return Account(provider, base_url, organization, project, fingerprint)


def stranger(provider: str, base_url: str) -> Account:
    """An account without a name that is not the one we know."""
    account = account_of(provider, base_url, None, None)
    return replace(account, fingerprint=_fingerprint(account.fingerprint, "another account"))


def own_server(headers: Mapping[str, str]) -> str | None:
    """`overnight:HOME` where the answer is our own server's. It stands in place of the base URL, so that the account of
    a home stays the same on another port."""
    server = _SERVER.fullmatch(headers.get("overnight-server", ""))
    return None if server is None else f"overnight:{server[1]}"


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
