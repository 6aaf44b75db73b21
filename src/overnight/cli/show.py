"""`overnight show`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from overnight.cli.asking import answer, document
from overnight.cli.documents import batch_document
from overnight.cli.group import Call, verb
from overnight.cli.running import with_client
from overnight.cli.words import facts, moment, plural

if TYPE_CHECKING:
    from overnight.api import Attempt, Client, RowHistory
    from overnight.types import Tokens

_LONG = re.compile(r"[A-Za-z0-9+/=_-]{500,}")


@verb(
    """Everything about one row: the request as it was sent, and every attempt with its answer as it came.

    KEY is what the key column holds, or the row's number, counted from 1.

    \b
    Example:
      overnight show reviews 17
    """
)
@click.argument("job")
@click.argument("key")
def show(call: Call, job: str, key: str) -> int:
    """See its help."""

    async def act(client: Client) -> RowHistory:
        return await client.show(job, key)

    history = with_client(call, act)
    if call.json:
        document(_document(history))
    else:
        answer("\n\n".join(_parts(history)))
    return 0


def _parts(history: RowHistory) -> Iterator[str]:
    head = [("key", history.key), ("row", f"{history.ordinal + 1:,}"), ("source", history.problem or "")]
    yield facts(head)
    if history.request is not None:
        yield f"request as it was last sent:\n{_pretty(history.request)}"
    for number, attempt in enumerate(history.attempts, start=1):
        yield f"attempt {number} of {len(history.attempts)}\n{facts(_attempt(attempt))}"
        if attempt.answer is not None:
            yield f"answer as it came:\n{_pretty(attempt.answer)}"
    if not history.attempts and history.problem is None:
        yield "not sent yet"


def _attempt(attempt: Attempt) -> Iterator[tuple[str, str]]:
    from overnight.core.cost import dollars
    from overnight.types import PicoUSD

    batch, line = attempt.batch, attempt.line
    yield "batch", batch.id + ("" if batch.remote is None else f", at the provider {batch.remote.id}")
    yield "request", _request_id(attempt.answer or {})
    yield "sent", moment(batch.submitted_at)
    if line is None:
        yield "outcome", f"none yet: the batch is {batch.state.value.replace('_', ' ')}"
        return
    kind = f", {line.kind.value}" if line.kind is not None else ""
    yield "outcome", f"{line.outcome.value}{kind}"
    yield "why", line.message or ""
    if line.tokens is not None:
        yield "tokens", _tokens(line.tokens)
    yield "cost", dollars(None if line.cost is None else PicoUSD(line.cost))
    yield "tries", f"{plural(line.burned, 'attempt')} used up, {line.paid:,} paid"


def _request_id(answer: Any) -> str:
    """What the provider's support asks for, where the answer names it: an OpenAI line, or a result of Anthropic's."""
    match answer:
        case {"response": {"request_id": str(id)}}:
            return id
        case {"result": {"error": {"request_id": str(id)}}} | {"result": {"message": {"id": str(id)}}}:
            return id
        case _:
            return ""


def _tokens(tokens: Tokens) -> str:
    kept = [(tokens.cached, "read from the cache"), (tokens.written, "written into it")]
    cache = ", ".join(f"{count:,} {what}" for count, what in kept if count)
    return f"{tokens.input:,} in{f' ({cache})' if cache else ''}, {tokens.output:,} out"


def _document(history: RowHistory) -> dict[str, Any]:
    return {
        "key": history.key,
        "row": history.ordinal + 1,
        "problem": history.problem,
        "request": history.request,
        "attempts": [
            {
                **batch_document(attempt.batch, None),
                "outcome": None if attempt.line is None else attempt.line.outcome.value,
                "kind": None if attempt.line is None or attempt.line.kind is None else attempt.line.kind.value,
                "message": None if attempt.line is None else attempt.line.message,
                "row_cost_usd": None if attempt.line is None or attempt.line.cost is None else attempt.line.cost / 1e12,
                "answer": attempt.answer,
            }
            for attempt in history.attempts
        ],
    }


def _pretty(value: Any) -> str:
    """JSON in which no character can steer the terminal; of files in it (base64) the beginning."""
    text = _LONG.sub(_cut, json.dumps(value, indent=2, ensure_ascii=False))
    return re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _cut(found: re.Match[str]) -> str:
    return f"{found[0][:60]}… ({len(found[0]):,} characters)"
