"""Errors as Google Cloud tells them: of calls, and of whole jobs by the code that they end with (contracts: 5.2). Few
of these codes have been seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from overnight.types import Failure, FailureKind
from overnight.wire.gemini import failures as gemini
from overnight.wire.openai.failures import not_json_failure, one_line

__all__ = ["OVER", "error_failure", "job_failure", "not_json_failure", "ran_in_vain"]

OVER: Final = "FAILED_PRECONDITION"
"""What the cancel of a job that has ended is answered with."""

_KINDS: Final[Mapping[int, FailureKind]] = {
    1: FailureKind.CANCELED,
    3: FailureKind.PERMANENT,  # the file could not be imported: the same file will not be either
    4: FailureKind.TRANSIENT,
    5: FailureKind.FILE,
    7: FailureKind.ACCOUNT,  # the service may not write to the bucket
    8: FailureKind.QUOTA,
    9: FailureKind.ACCOUNT,  # the bucket's place could not be found out
    10: FailureKind.TRANSIENT,
    13: FailureKind.TRANSIENT,
    14: FailureKind.TRANSIENT,
    16: FailureKind.ACCOUNT,
}
"""By code of google.rpc."""
_NO_OBJECT = re.compile(r"gs://\S+.*(not found|does not exist|no such object|matched no files)", re.IGNORECASE)
_EXPORT = re.compile(r"\bfailed to export\b", re.IGNORECASE)
_VALUE = re.compile(r"\bvalue:.*", re.IGNORECASE | re.DOTALL)


def error_failure(status: int, body: bytes, retry_after: float | None = None) -> Failure:
    """What an error answer to a call means."""
    failure = gemini.error_failure(status, body, retry_after)
    return replace(failure, message="HTTP 401: the credentials were refused") if status == 401 else failure


def ran_in_vain(error: object) -> bool:
    """Whether a job failed only when its answers were to be written: then its rows ran, and were paid."""
    text = error.get("message") if isinstance(error, Mapping) else None
    return isinstance(text, str) and _EXPORT.search(text) is not None


def job_failure(error: object) -> Failure:
    """Why a job failed, from its `error`. What an importer's message quotes of the file is left out."""
    if not isinstance(error, Mapping):
        return Failure(FailureKind.TRANSIENT, "the provider failed the job without a reason", proves_refusal=True)
    code, text = error.get("code"), error.get("message")
    number = code if isinstance(code, int) and not isinstance(code, bool) else 0
    told = one_line(_VALUE.sub("", text)) if isinstance(text, str) else ""
    kind = _KINDS.get(number, FailureKind.TRANSIENT)
    if kind is FailureKind.PERMANENT and isinstance(text, str) and _NO_OBJECT.search(text):
        kind = FailureKind.FILE
    return Failure(kind, f"code {number}: {told or 'no text'}", code=str(number), proves_refusal=True)
