"""What became of a submission whose answer was lost, by what the provider shows: pure.

Where our tag or file names the batch, whatever is found is ours. Where the provider shows only how many requests a
batch has, it is an answer that proves a batch to be ours or somebody else's, and until then nothing does (contracts:
15.1 and 15.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overnight.types import RemoteBatch, RemoteState


@dataclass(frozen=True, slots=True)
class Candidate:
    """A batch of the provider that may be the submission. `ours`: whether it is, None where nothing tells: not yet, or
    (`mute`) never, since it has ended and has no answer to tell."""

    remote: RemoteBatch
    ours: bool | None
    mute: bool = False


@dataclass(frozen=True, slots=True)
class Adopt:
    """It is this one. `twins` were made by a repeated create; `proved` False: nothing else fits, answers will tell."""

    remote: RemoteBatch
    twins: tuple[RemoteBatch, ...] = ()
    proved: bool = True


@dataclass(frozen=True, slots=True)
class Absent:
    """There is none."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """It may be any of these, or none."""

    candidates: tuple[Candidate, ...]

    @property
    def in_time(self) -> bool:
        """Whether waiting can tell."""
        return not all(each.mute for each in self.candidates)


@dataclass(frozen=True, slots=True)
class LookAgain:
    """It may still show."""


Fate = Adopt | Absent | Undecided | LookAgain


def fate(candidates: Sequence[Candidate], *, waited: bool, contested: bool, exclusive: bool) -> Fate:
    """The fate of a submission. `candidates` are all that a complete listing shows, oldest first. `waited`: whatever
    was accepted shows by now. `contested`: another submission of ours may be any of the same. `exclusive`: the user's
    word that nobody else makes batches on this account."""
    ours = [each.remote for each in candidates if each.ours]
    if ours:
        alive = [remote for remote in ours if remote.state is not RemoteState.FAILED] or ours
        return Adopt(alive[0], tuple(alive[1:]))
    unknown = tuple(each for each in candidates if each.ours is None)
    if len(unknown) == 1 and not contested:
        (only,) = unknown
        if exclusive:
            return Adopt(only.remote, proved=only.mute)
        if waited and not is_over(only.remote):
            return Adopt(only.remote, proved=False)
    if not waited:
        return LookAgain()
    return Undecided(unknown) if unknown else Absent()


def is_over(remote: RemoteBatch) -> bool:
    """Whether no further answers will come."""
    return remote.state in {RemoteState.ENDED, RemoteState.FAILED}
