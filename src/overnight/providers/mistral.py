"""Mistral's batch jobs (contracts: 8)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from overnight.ports import Search, Submission
from overnight.providers.calls import Spoken
from overnight.providers.openai import SKEW, OpenAIProvider
from overnight.types import RemoteBatch
from overnight.wire.openai import TAG_KEY, mistral


class MistralProvider(OpenAIProvider):
    """`OpenAIProvider` as Mistral has it. A file that is not there is refused when the job is made."""

    spoken: Spoken = mistral
    root = "/v1"
    batches = "/batch/jobs"
    cursor = "page"
    limited_by = "page_size"
    most_files = 100
    line = staticmethod(mistral.input_line)

    def asked(self, submission: Submission) -> dict[str, Any]:
        """See `OpenAIProvider`."""
        return {
            "input_files": [submission.file_id],
            "endpoint": submission.endpoint,
            "model": submission.model,
            "metadata": {**submission.metadata, TAG_KEY: submission.tag},
            "timeout_hours": round(self.limits.window / 3600),
        }

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """See `ports.Provider`. The list is asked for jobs of the window and read to its end. Its filter by metadata is
        not used: how an address writes it is told nowhere, and a filter that fits nothing would look like a proof."""
        since = datetime.fromtimestamp(max(0.0, search.since - SKEW), UTC).isoformat().replace("+00:00", "Z")
        query, doing = {"created_after": since, "order_by": "created"}, "list the batches"
        found = [
            batch
            async for page in self._calls.pages(self.batches, query, doing, 100)
            for batch in (self._calls.batch(document, doing) for document in page)
            if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id)
        ]
        return sorted(found, key=lambda batch: (batch.created_at or 0.0, batch.id))
