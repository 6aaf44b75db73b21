"""API keys: who is asking."""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from pathlib import Path

from overnight.errors import UsageError


class Keys:
    """Which tenant a key belongs to. Without any key everybody is the tenant `""`."""

    def __init__(self, tenants: Mapping[str, str] | None = None) -> None:
        """`tenants`: key by tenant."""
        self._digests = {_digest(key.encode()): tenant for tenant, key in (tenants or {}).items()}

    def tenant(self, key: bytes | None) -> str | None:
        """The tenant of a key, or None. Takes as long for a wrong key as for a right one."""
        if not self._digests:
            return ""
        digest = _digest(key or b"")
        found: str | None = None
        for known, tenant in self._digests.items():
            if hmac.compare_digest(known, digest):
                found = tenant
        return found

    def __bool__(self) -> bool:
        return bool(self._digests)


def read_keys(path: Path) -> Keys:
    """The keys of a TOML file of lines `tenant = "key"`. Raises `UsageError` that never quotes a key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the keys cannot be read ({path}): {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the keys cannot be read ({path}): the file is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = str(error).rpartition("(")[2].rstrip(")")
        raise UsageError(f'the keys are no TOML ({path}, {where}): write one line tenant = "key" each') from None
    tenants: dict[str, str] = {}
    for tenant, key in content.items():
        if not tenant or not isinstance(key, str) or len(key) < 8 or not key.isascii() or key != key.strip():
            raise UsageError(f"the key of {tenant!r} ({path}) must be a string of at least 8 plain characters")
        tenants[tenant] = key
    if not tenants:
        raise UsageError(f'there is no key in {path}: write one line tenant = "key" each')
    if len(set(tenants.values())) < len(tenants):
        raise UsageError(f"two tenants have the same key ({path}): give each its own")
    return Keys(tenants)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
