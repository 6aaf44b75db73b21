"""`overnight doctor --live`: the facts of a provider, seen on the user's own account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from overnight.cli.asking import agreed, answer, document, on_terminal, say
from overnight.cli.group import Call
from overnight.cli.running import with_client

if TYPE_CHECKING:
    from overnight.api import Client, Fact, LivePlan

_MARKS: Final = {True: "held", False: "did not", None: "not seen"}


def look(call: Call, provider: str, model: str | None, max_cost: float, yes: bool) -> int:
    """Run the check; the exit code. Raises `UsageError` where it may cost more than that, or nobody agrees to it."""

    async def act(client: Client) -> tuple[LivePlan, Sequence[Fact] | None]:
        plan = client.plan_live(provider, model)
        _check_cost(plan, max_cost)
        say(_preview(plan))
        if not (yes or _agreed()):
            return plan, None
        return plan, await client.live(plan, lambda fact: None if call.json else answer(_line(fact)))

    plan, facts = with_client(call, act)
    if facts is None:
        say("nothing was sent")
        return 0
    if call.json:
        document(
            {
                "provider": plan.name,
                "model": plan.model,
                "most_cost_usd": plan.bound / 1e12,
                "facts": [{"what": fact.what, "held": fact.held, "seen": fact.seen} for fact in facts],
            }
        )
    broken = sum(fact.held is False for fact in facts)
    say(f"{len(facts) - broken} of {len(facts)} facts held or were not to be seen" if broken else "all facts held")
    return 1 if broken else 0


def _check_cost(plan: LivePlan, max_cost: float) -> None:
    from overnight.core.cost import dollars
    from overnight.errors import UsageError

    if plan.bound > max_cost * 1e12:
        assumed = " (its price is not known: the dearest of any list is assumed)" if plan.assumed else ""
        raise UsageError(
            f"the check may cost {dollars(plan.bound)}{assumed}, more than --max-cost {max_cost:g}: "
            "allow more, or name another --model"
        )


def _preview(plan: LivePlan) -> str:
    from overnight.core.cost import dollars

    return (
        f"{plan.batches} batches of {plan.rows} rows at {plan.name}, model {plan.model}: "
        f"at most {dollars(plan.bound)}. It may take minutes or hours; Ctrl-C cancels and removes what was made."
    )


def _agreed() -> bool:
    from overnight.errors import UsageError

    if not on_terminal():
        raise UsageError("nobody can be asked here: add --yes to send it")
    return agreed("send it?")


def _line(fact: Fact) -> str:
    return f"{_MARKS[fact.held]:<9} {fact.what}" + (f": {fact.seen}" if fact.seen else "")
