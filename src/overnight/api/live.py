"""The check of a live provider, as surfaces ask for it: what it would send and cost, and the facts that it finds."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from overnight.api.running import VISIBILITY, Running
from overnight.core.cost import Rates, ceiling
from overnight.data.requests import PromptRequests
from overnight.data.schemas import answer_rules
from overnight.engine.live import BATCHES, PATIENCE, ROWS, Fact, Live, Sample
from overnight.engine.prepare import shape_of
from overnight.engine.runner import take
from overnight.errors import UsageError
from overnight.spec import Prompt, Spec
from overnight.types import JobId, PicoUSD
from overnight.wire.custom_ids import custom_id

DEAREST: Final = Rates(150_000_000, 150_000_000, 600_000_000)
"""What is assumed where no price is known: as much as the dearest model of any price list costs."""
POLL: Final = 10.0
LEASE: Final = BATCHES * PATIENCE
LIMIT: Final = 16
"""Output tokens of a row."""
_JOB: Final = JobId("live")


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What a check would do. `bound` is not exceeded; `assumed`: no price is known, so the dearest is taken."""

    name: str
    model: str
    rows: int
    batches: int
    bound: PicoUSD
    assumed: bool
    spec: Spec
    sample: Sample


def plan_live(running: Running, name: str, model: str | None) -> LivePlan:
    """The check of this provider. Raises `UsageError` where it is not known, or has no small model of its own."""
    known = running.home.config.access.get(name)
    if known is None:
        raise UsageError(f"no provider {name}: overnight providers lists them")
    model = model or known.known.small
    if model is None:
        raise UsageError(f"{name} has no model that everybody has: name one with --model")
    spec = Spec(model=f"{name}/{model}", prompt=Prompt(user="Say {{ word }}."), parameters={"max_output_tokens": LIMIT})
    target = running.target(spec)
    shape, _ = shape_of(spec, target, answer_rules(spec))
    tag = secrets.token_hex(4)
    requests = PromptRequests(spec.prompt, shape, ["word"], tag)
    made = [requests.request(at, 0, requests.render({"word": word})) for at, word in enumerate(("one", "two"))]
    price = running.prices(spec)
    rates = price.standard or price.batch
    batches = BATCHES if target.proof != "count" else BATCHES - 1  # without files none can be deleted before
    most = batches * sum(request.ceiling for request in made)
    outputs = batches * sum(request.max_output or LIMIT for request in made)
    sample = Sample(
        target.model,
        str(shape.endpoint),
        b"".join(request.line for request in made),
        tuple(custom_id(tag, at, 0) for at in range(ROWS)),
    )
    bound = ceiling(round(most) + 1, outputs, rates or DEAREST)
    return LivePlan(name, model, ROWS, batches, bound, rates is None, spec, sample)


async def run_live(running: Running, plan: LivePlan, told: Callable[[Fact], None]) -> Sequence[Fact]:
    """The facts of the provider, each told when it is found. Raises `UsageError` where its key is missing, or another
    process of this home looks at the same provider."""
    home = running.home
    provider, config = home.provider(plan.name, _JOB, plan.spec), home.config
    lease = await take(home.store, f"live {plan.name}", home.owner, LEASE, home.is_dead)
    if lease is None:
        await provider.close()
        raise UsageError(f"another check of {plan.name} is under way: wait for it")
    try:
        live = Live(
            plan.name,
            provider,
            home.clock,
            home.blobs,
            plan.sample,
            visibility=VISIBILITY if config.visibility is None else config.visibility,
            poll=config.poll or POLL,
            told=told,
        )
        return await live.run()
    finally:
        await provider.close()
        await home.store.release(lease)
        home.forget_server(_JOB)
