"""Why nothing more of a job may be sent: limits that the next batch would cross, the brake, expectations."""

from __future__ import annotations

from overnight.core.cost import Rates, ceiling, dollars
from overnight.spec import Spec
from overnight.types import Batch, Hold, JobTotals, JobView, PicoUSD


def batch_ceiling(batch: Batch, rates: Rates | None) -> PicoUSD | None:
    """The most that a batch can cost; None where the price or a row's output limit is unknown."""
    shard = batch.shard
    if rates is None or (shard.max_output is None and rates.output > 0):
        return None
    return ceiling(shard.tokens_ceiling, shard.max_output or 0, rates)


def committed(totals: JobTotals, rates: Rates | None) -> int:
    """Pico-dollars that are spent, or reserved by batches that are out. Where batches were collected whose price is not
    known, all tokens count at these rates."""
    if rates is None:
        return totals.cost
    reserved = ceiling(totals.open_tokens, totals.open_max_output, rates)
    used = ceiling(totals.tokens.input, totals.tokens.output, rates) if totals.cost_unknown else 0
    return max(totals.cost, used) + reserved


def over_limit(view: JobView, batch: Batch, sent: int, reserved: int, rates: Rates | None) -> Hold | None:
    """The limit of the job that the batch would cross, after so many requests and so much money."""
    job = view.job
    if job.max_requests is not None and sent + batch.shard.rows > job.max_requests:
        return Hold(
            "limit",
            f"{sent} requests are sent and the next batch holds {batch.shard.rows}: over --max-requests "
            f"{job.max_requests}",
            5,
        )
    if job.max_cost is None:
        return None
    most = batch_ceiling(batch, rates)
    if most is None:
        return Hold("limit", "--max-cost cannot be kept: the price or the output limit of this model is unknown", 5)
    unknown = most // max(batch.shard.rows, 1) * view.totals.unknown_rows
    if reserved + unknown + most > job.max_cost:
        told = dollars(PicoUSD(reserved + unknown))
        return Hold(
            "limit",
            f"{told} are spent or reserved and the next batch may cost {dollars(most)}: over --max-cost "
            f"{dollars(job.max_cost)}",
            5,
        )
    return None


def brake(view: JobView, spec: Spec) -> Hold | None:
    """The brake: of the rows ended since the last resume, and enough of them, a share failed the same way."""
    rule = spec.policy.brake
    if rule is None:
        return None
    forgiven = view.job.forgiven
    ended = view.totals.ended - forgiven.get("ended", 0)
    if ended < rule.after:
        return None
    for kind, rows in view.totals.kinds.items():
        failed = rows - forgiven.get(kind, 0)
        if failed >= rule.share * ended:
            return Hold("brake", f"{failed} of the {ended} rows that ended failed the same way: {kind}", 5)
    return None


def unexpected(view: JobView, spec: Spec) -> Hold | None:
    """What `rows.expect` says of labels and does not hold, judged from 20 succeeded rows on."""
    expected = spec.rows.expect
    labeled = sum(view.totals.labels.values())
    if expected is None or expected.labels is None or "expect" in view.job.forgiven or labeled < 20:
        return None
    for label, (least, most) in expected.labels.items():
        share = view.totals.labels.get(label, 0) / labeled
        if not least <= share <= most:
            return Hold(
                "expect", f"label {label!r} has {share:.0%} of {labeled} rows, not {least:.0%} to {most:.0%}", 5
            )
    return None
