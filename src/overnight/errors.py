"""One tree of errors, split by who must act.

```
OvernightError
├── UsageError        the caller: spec, source, template, key variable, another account     exit 2
├── LocalError        this machine: disk, home, permissions                                 exit 1
├── ProviderError     the provider or the account; carries a `Failure`                      exit 4
├── HoldError         our own rule stopped the job (brake, undecidable, a limit)            exit 5
├── StoreError        the store refused                                                     exit 1
│   ├── LeaseLost     another process owns the job now
│   └── Conflict      the record changed since it was read
└── InvariantError    a bug of ours                                                         exit 1
```
"""

from __future__ import annotations

from typing import ClassVar

from overnight.types import Failure


class OvernightError(Exception):
    """Root. `exit_code` is what the command line ends with; `code` names the error in the docs' table."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"


class UsageError(OvernightError):
    """The caller must change something. The message says what, where (file, line, field) and what to do."""

    exit_code = 2
    code = "usage"


class LocalError(OvernightError):
    """This machine must be mended: disk full, home not writable, output not writable."""

    exit_code = 1
    code = "local"


class ProviderError(OvernightError):
    """The provider answered with an error, or not at all."""

    exit_code = 4
    code = "provider"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class HoldError(OvernightError):
    """A rule of ours stopped the job; `overnight resume` or a changed limit goes on."""

    exit_code = 5
    code = "held"


class StoreError(OvernightError):
    """The store did not do what was asked."""

    code = "store"


class LeaseLost(StoreError):
    """Another process owns this job; nothing was written."""

    code = "lease_lost"


class Conflict(StoreError):
    """The record's version is not the one that was read; nothing was written."""

    code = "conflict"


class InvariantError(OvernightError):
    """Something that cannot be, is. A bug of ours: please report it."""

    code = "bug"
