"""Replies of rows that were executed: what every judge of `answers` makes."""

from __future__ import annotations

from typing import Any

from overnight.types import FailureKind, Outcome, Reply, Tokens
from overnight.wire.openai.shapes import Response, Usage


def failed(
    custom_id: str,
    response: Response[Any],
    kind: FailureKind,
    message: str,
    text: str | None = None,
    finish_reason: str | None = None,
    code: str | None = None,
) -> Reply:
    """An executed row whose answer is no success."""
    body = response.body
    return Reply(
        custom_id,
        Outcome.ERRORED,
        kind,
        message,
        code,
        response.status_code,
        response.request_id or None,
        text,
        None,
        None,
        finish_reason,
        getattr(body, "model", None),
        tokens_of(getattr(body, "usage", None)),
        True,
    )


def succeeded(
    custom_id: str,
    response: Response[Any],
    text: str | None,
    tool_calls: bytes | None,
    vector: tuple[float, ...] | None,
    finish_reason: str | None,
) -> Reply:
    """An executed row whose answer is one."""
    body: Any = response.body
    return Reply(  # positional: half the time of keywords, at a million rows it shows
        custom_id,
        Outcome.SUCCEEDED,
        None,
        None,
        None,
        response.status_code,
        response.request_id or None,
        text,
        tool_calls,
        vector,
        finish_reason,
        body.model,
        tokens_of(body.usage),
        True,
    )


def tokens_of(usage: Usage | None) -> Tokens | None:
    """The usage by either family of names; None where it says nothing."""
    if usage is None:
        return None
    taken = usage.prompt_tokens
    if taken is not None:
        made, cached, thought = usage.completion_tokens, usage.prompt_tokens_details, usage.completion_tokens_details
    else:
        taken = usage.input_tokens
        if taken is None:
            return None
        made, cached, thought = usage.output_tokens, usage.input_tokens_details, usage.output_tokens_details
    return Tokens(
        taken,
        (cached.cached_tokens or 0) if cached is not None else 0,
        made or 0,
        (thought.reasoning_tokens or 0) if thought is not None else 0,
    )
