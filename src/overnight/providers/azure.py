"""Azure OpenAI (contracts: 6): deployments in place of models, and two APIs.

The v1 API is at `/openai/v1`. The dated one is at `/openai`, says `api-version=` in every address, and has no `/v1` in
the endpoints of batches and lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overnight.errors import ProviderError
from overnight.ports import Submission
from overnight.providers.openai import OpenAIProvider
from overnight.types import Failure, FailureKind
from overnight.wire.openai import azure

V1 = "v1"


class AzureProvider(OpenAIProvider):
    """`OpenAIProvider` as Azure's v1 API has it."""

    root = "/openai/v1"
    looks = 12  # at a file until it is processed: about half an hour

    def address(self, base_url: str, version: str | None) -> str:
        """The resource's address with the path of the API, whichever the given one ends with."""
        return base_url.rstrip("/").removesuffix("/v1").removesuffix("/openai") + self.root

    def headers(self, api_key: str, organization: str | None, project: str | None) -> dict[str, str]:
        """See `OpenAIProvider`."""
        return {"api-key": api_key}

    def is_ready(self, file: Mapping[str, Any]) -> bool:
        """Whether it is processed. Raises `ProviderError` where it could not be."""
        if file.get("status") == "error":
            raise ProviderError(Failure(FailureKind.PERMANENT, "Azure could not process the batch file"))
        return file.get("status") in {None, "processed"}


class DatedAzureProvider(AzureProvider):
    """`OpenAIProvider` as the API of a date has it, `version` (like 2025-03-01-preview)."""

    root = "/openai"
    line = staticmethod(azure.input_line)

    def query(self, version: str | None) -> dict[str, str]:
        """See `OpenAIProvider`."""
        return {"api-version": version or V1}

    def asked(self, submission: Submission) -> dict[str, Any]:
        """See `OpenAIProvider`."""
        return {**super().asked(submission), "endpoint": azure.endpoint(submission.endpoint)}
