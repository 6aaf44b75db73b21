"""The dialect of Vertex AI: Gemini's words, in batch files and jobs of Google Cloud.

`importer` knows what makes a batch file fail as a whole, `objects` reads and builds jobs and lines of predictions,
`failures` reads errors.
"""

from __future__ import annotations

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

__all__ = [
    "OVER",
    "TAG_LABEL",
    "batch_from",
    "create_body",
    "error_failure",
    "error_line",
    "job_object",
    "list_object",
    "not_json_failure",
    "result_line",
    "timestamp",
]
