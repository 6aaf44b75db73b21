"""The dialect of Vertex AI: Gemini's words, in batch files and jobs of Google Cloud.

`requests` builds and splits the lines that are sent, `importer` knows what makes a file of them fail as a whole,
`answers` reads and judges the lines that come back, `objects` reads and builds jobs and lines of predictions,
`failures` reads errors.
"""

from __future__ import annotations

from overnight.wire.gemini.bodies import answer_body, answered_of, asked_of
from overnight.wire.vertex.answers import body_of, logprobs_of, plain_reader, read_line
from overnight.wire.vertex.failures import OVER, error_failure, not_json_failure
from overnight.wire.vertex.objects import (
    TAG_LABEL,
    batch_from,
    create_body,
    error_line,
    job_object,
    list_object,
    result_line,
    timestamp,
)
from overnight.wire.vertex.requests import request_body, request_line, split_line, with_custom_id

__all__ = [
    "OVER",
    "TAG_LABEL",
    "answer_body",
    "answered_of",
    "asked_of",
    "batch_from",
    "body_of",
    "create_body",
    "error_failure",
    "error_line",
    "job_object",
    "list_object",
    "logprobs_of",
    "not_json_failure",
    "plain_reader",
    "read_line",
    "request_body",
    "request_line",
    "result_line",
    "split_line",
    "timestamp",
    "with_custom_id",
]
