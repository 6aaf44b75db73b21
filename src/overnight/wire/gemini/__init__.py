"""The Gemini dialect: generateContent, embedContent and their batches, bytes into types and back, for client and
server.

`requests` builds and splits the lines that are sent, `bodies` reads what they ask and builds answers, `answers` reads
and judges the lines that come back, `objects` reads and builds operations, files and errors.
"""

from __future__ import annotations

from overnight.wire.gemini.answers import body_of, judged, logprobs_of, read_line
from overnight.wire.gemini.bodies import answer_body, answered_of, asked_of, embedding_body, usage
from overnight.wire.gemini.failures import STATUSES, error_failure, not_json_failure
from overnight.wire.gemini.objects import (
    INLINE,
    batch_from,
    error_envelope,
    error_line,
    error_object,
    file_object,
    inlined_lines,
    operation,
    response_line,
    stamp,
)
from overnight.wire.gemini.plain import plain_reader
from overnight.wire.gemini.requests import request_body, request_line, split_line, with_custom_id

__all__ = [
    "INLINE",
    "STATUSES",
    "answer_body",
    "answered_of",
    "asked_of",
    "batch_from",
    "body_of",
    "embedding_body",
    "error_envelope",
    "error_failure",
    "error_line",
    "error_object",
    "file_object",
    "inlined_lines",
    "judged",
    "logprobs_of",
    "not_json_failure",
    "operation",
    "plain_reader",
    "read_line",
    "request_body",
    "request_line",
    "response_line",
    "split_line",
    "stamp",
    "usage",
    "with_custom_id",
]
