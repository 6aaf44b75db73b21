"""When to look at a batch again, and how long a create may take.

The interval between two looks is a tenth of the batch's age, never under 5 and never over 60 seconds: a batch of our
own server that ends in half a minute is seen within 5 seconds, one that takes a day costs at most 60 requests an hour.
`policy.poll` replaces the formula by a fixed interval.
"""

from __future__ import annotations

from typing import Final

SHORTEST: Final = 5.0
LONGEST: Final = 60.0
SHARE_OF_AGE: Final = 0.1


def poll_interval(age: float, override: float | None = None) -> float:
    """Seconds between two looks at a batch that was submitted `age` seconds ago; `override` where the user set one."""
    if override is not None:
        return override
    return min(LONGEST, max(SHORTEST, age * SHARE_OF_AGE))


SLOWEST_UPLOAD: Final = 250_000
"""Bytes per second that a connection brings at the least."""


def create_seconds(create_timeout: float, size: int, file: object) -> float:
    """Seconds that a create call may take: where the API has no input file (None), the requests of `size` bytes leave
    with the call and need time of their own."""
    return create_timeout + (size // SLOWEST_UPLOAD if file is None else 0)
