"""What would be sent, before anything is paid for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from overnight.cli.words import cut, facts, plural, size

if TYPE_CHECKING:
    from overnight.api import Preview
    from overnight.engine.prepare import Money

REQUEST_LINES: Final = 24
"""Lines of the first request that are shown."""


def preview_text(preview: Preview) -> str:
    """For people: everything that decides whether to go on, on one screen."""
    return f"{preview.job.id}\n\n{facts(_facts(preview))}"


def _facts(preview: Preview) -> Iterator[tuple[str, str]]:
    summary, spec = preview.summary, preview.spec
    yield "source", f"{_source(preview)}: {plural(summary.rows, 'row')} read, {size(summary.source_bytes)}"
    yield "rows", _rows(preview)
    yield "", "\n".join(summary.problems)
    yield "key", spec.key or ("custom_id, else the row's number" if spec.raw else "the row's number")
    yield "model", _model(preview)
    yield "account", preview.job.account.name if preview.job.account is not None else "known when the provider answers"
    yield "batches", summary.why_batches
    yield "tokens", _tokens(preview)
    yield "cost", cost_text(preview.money)
    for number, note in enumerate(preview.notes):
        yield "notes" if number == 0 else "", note
    yield "output", preview.job.output or f"kept here: overnight results {preview.job.id}"
    if summary.first_request is not None:
        body = next((part for part in summary.first_request.values() if isinstance(part, dict)), None)
        shown = json.dumps(body, indent=2, ensure_ascii=False)
        yield "first", cut(shown, REQUEST_LINES)


def _source(preview: Preview) -> str:
    source = preview.spec.source
    return source if isinstance(source, str) else ", ".join(source)


def _rows(preview: Preview) -> str:
    summary, rules = preview.summary, preview.spec.rows
    parts = [f"{summary.requests:,} to send"]
    if summary.selected != summary.rows:
        parts.insert(0, f"{summary.selected:,} selected")
    if summary.planned_before:
        parts.append(f"{summary.planned_before:,} planned before")
    if summary.empty:
        what = "sent all the same (rows.on_empty)" if rules.on_empty == "send" else "skipped"
        parts.append(f"{summary.empty:,} empty: {what}")
    if summary.bad:
        parts.append(f"{summary.bad:,} bad: skipped (rows.on_bad)")
    return ", ".join(parts)


def _model(preview: Preview) -> str:
    target, spec = preview.target, preview.spec
    what = "raw requests, models as their lines say" if spec.raw else f"{target.provider}/{target.model}"
    return what if target.base_url is None else f"{what} at {target.base_url}"


def _tokens(preview: Preview) -> str:
    summary, limit = preview.summary, preview.limit
    told = f"about {summary.tokens:,} in, not over {summary.tokens_ceiling:,}"
    if limit is not None:
        told += f"; at most {limit.tokens:,} out a row ({limit.reason})"
    if summary.max_output:
        return f"{told}, {summary.max_output:,} in all"
    return told if summary.max_output == 0 else f"{told}; output without a limit"


def cost_text(money: Money) -> str:
    """`about $0.0234, at most $0.0500 (genai-prices 0.2.3); in real time about $0.0468`."""
    from overnight.core.cost import dollars

    if money.likely is None or money.most is None:
        return f"unknown: {money.note or 'a request has no output limit'}"
    told = f"about {dollars(money.likely)}, at most {dollars(money.most)} ({money.source})"
    if money.bound:
        return f"{told}: real-time prices, as an upper bound, for {money.note}"
    return told if not money.standard else f"{told}; in real time about {dollars(money.standard)}"


def preview_document(preview: Preview) -> dict[str, Any]:
    """For machines: the same, money in US dollars."""
    summary, money, limit = preview.summary, preview.money, preview.limit
    return {
        "job": preview.job.id,
        "name": preview.job.name,
        "source": preview.spec.source,
        "model": preview.spec.model,
        "base_url": preview.target.base_url,
        "account": None if preview.job.account is None else preview.job.account.name,
        "rows": {
            "read": summary.rows,
            "selected": summary.selected,
            "to_send": summary.requests,
            "planned_before": summary.planned_before,
            "bad": summary.bad,
            "empty": summary.empty,
            "problems": summary.problems,
        },
        "batches": summary.batches,
        "batches_why": summary.why_batches,
        "tokens": {
            "input": summary.tokens,
            "input_ceiling": summary.tokens_ceiling,
            "shared": summary.shared,
            "output_ceiling": summary.max_output,
            "output_limit": None if limit is None else limit.tokens,
            "output_limit_reason": None if limit is None else limit.reason,
        },
        "cost_usd": {
            "likely": _usd(money.likely),
            "most": _usd(money.most),
            "real_time": _usd(money.standard),
            "upper_bound": money.bound,
            "source": money.source,
            "note": money.note,
        },
        "notes": list(preview.notes),
        "output": preview.job.output,
        "first_request": summary.first_request,
    }


def _usd(amount: int | None) -> float | None:
    return None if amount is None else amount / 1e12
