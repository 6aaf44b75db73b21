"""The Anthropic dialect: Messages and Message Batches, bytes into types and back, for the client and for the server.

`requests` builds and splits the lines that are sent, `bodies` reads what they ask and builds messages, `answers` reads
and judges the lines that come back, `objects` reads and builds batches, lists, errors and result lines.
"""

from __future__ import annotations

from overnight.wire.anthropic.answers import body_of, logprobs_of, read_line
from overnight.wire.anthropic.bodies import answer_body, answered_of, asked_of, usage
from overnight.wire.anthropic.failures import STATUSES, error_failure, not_json_failure
from overnight.wire.anthropic.objects import (
    RESULTS,
    batch_from,
    batch_object,
    canceled_line,
    deleted_object,
    error_envelope,
    errored_line,
    expired_line,
    list_object,
    succeeded_line,
)
from overnight.wire.anthropic.plain import plain_reader
from overnight.wire.anthropic.requests import request_body, request_line, split_line, with_custom_id

__all__ = [
    "RESULTS",
    "STATUSES",
    "answer_body",
    "answered_of",
    "asked_of",
    "batch_from",
    "batch_object",
    "body_of",
    "canceled_line",
    "deleted_object",
    "error_envelope",
    "error_failure",
    "errored_line",
    "expired_line",
    "list_object",
    "logprobs_of",
    "not_json_failure",
    "plain_reader",
    "read_line",
    "request_body",
    "request_line",
    "split_line",
    "succeeded_line",
    "usage",
    "with_custom_id",
]
