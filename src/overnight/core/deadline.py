"""When to look at a batch again.

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
