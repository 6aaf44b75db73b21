"""The OpenAI dialect: bytes into types and back, for the client and for the server.

`requests` builds and splits the lines that are sent, `answers` reads and judges the lines that come back, `objects`
reads and builds batches, files, lists and error envelopes.
"""

from __future__ import annotations

from overnight.wire.openai.answers import read_line
from overnight.wire.openai.conversation import answer_body, answered_of, asked_of, embedded_of
from overnight.wire.openai.failures import error_failure, not_json_failure
from overnight.wire.openai.objects import (
    TAG_KEY,
    batch_from,
    batch_object,
    error_envelope,
    error_line,
    file_object,
    list_object,
    output_line,
)
from overnight.wire.openai.parts import body_of, logprobs_of
from overnight.wire.openai.plain import plain_reader
from overnight.wire.openai.requests import request_body, request_line, split_line, with_custom_id

__all__ = [
    "TAG_KEY",
    "answer_body",
    "answered_of",
    "asked_of",
    "batch_from",
    "batch_object",
    "body_of",
    "embedded_of",
    "error_envelope",
    "error_failure",
    "error_line",
    "file_object",
    "list_object",
    "logprobs_of",
    "not_json_failure",
    "output_line",
    "plain_reader",
    "read_line",
    "request_body",
    "request_line",
    "split_line",
    "with_custom_id",
]
