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
SPREAD: Final = 0.2  # a look moves by up to a tenth of the interval, either way


def poll_interval(age: float, override: float | None = None) -> float:
    """Seconds between two looks at a batch that was submitted `age` seconds ago; `override` where the user set one."""
    if override is not None:
        return override
    return min(LONGEST, max(SHORTEST, age * SHARE_OF_AGE))


def next_look(submitted_at: float, looked_at: float | None, jitter: float, override: float | None = None) -> float:
    """When to look next, on the clock of the two times (unix seconds). `jitter` from 0 to 1 spreads many batches;
    it neither leaves the bounds nor touches an interval that the user set."""
    last = submitted_at if looked_at is None else looked_at
    interval = poll_interval(last - submitted_at, override)
    if override is None:
        interval = min(LONGEST, max(SHORTEST, interval * (1 + SPREAD * (jitter - 0.5))))
    return last + interval
