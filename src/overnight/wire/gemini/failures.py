"""Errors of the dialect, as kinds of failure: of rows, of calls and of whole batches.

The envelope is Google's: `{"error": {"code", "message", "status", "details": [{"reason"}]}}`. A row's error text may
quote its prompt: a row's message is made of code and status only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from overnight.types import Failure, FailureKind
from overnight.wire.openai.failures import HTML, not_json_failure, one_line

STATUSES: Mapping[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""HTTP statuses of google.rpc codes, which are numbered from 1 in this order (UNAUTHENTICATED is 16)."""
_BY_NUMBER: Mapping[int, str] = dict(enumerate(STATUSES, start=1))
PROVES_REFUSAL = frozenset({400, 401, 403, 404, 409, 413, 422})
_ACCOUNT_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "BILLING_DISABLED", "SERVICE_DISABLED"})
_ACCOUNT_TEXT = re.compile(r"api key|billing|prepa(id|yment)|credits", re.IGNORECASE)
_NO_FILE = re.compile(r"(?!.*\bdenied on resource\b).*\bmay not exist\b", re.IGNORECASE | re.DOTALL)
"""How a file is refused that is gone, or somebody else's; Google Cloud says so of what an account may not do at all."""
_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,64}")

__all__ = ["PROVES_REFUSAL", "STATUSES", "ErrorFields", "error_failure", "fields_from", "kind_of", "not_json_failure"]


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """An error object, reduced to safe words. `status` is the HTTP status that its code or word stands for; `text` the
    provider's sentence, which may hold content."""

    status: int | None = None
    word: str | None = None
    reason: str | None = None
    text: str = ""


def fields_from(error: object) -> ErrorFields | None:
    """An error object (not its envelope); None where it is none. Its code is an HTTP status or a google.rpc number."""
    if not isinstance(error, Mapping):
        return None
    code, word, text = error.get("code"), error.get("status"), error.get("message")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    known = word if isinstance(word, str) and _WORD.fullmatch(word) else None
    if number is not None and number < 100:
        known = known or _BY_NUMBER.get(number)
        number = None
    reasons = (detail.get("reason") for detail in error.get("details") or () if isinstance(detail, Mapping))
    reason = next((reason for reason in reasons if isinstance(reason, str) and _WORD.fullmatch(reason)), None)
    return ErrorFields(
        number if number is not None else STATUSES.get(known or ""),
        known,
        reason,
        text if isinstance(text, str) else "",
    )


def kind_of(fields: ErrorFields) -> FailureKind:
    """What it is. A key that is not known is refused with 400 here, and a file that is gone with 403."""
    status = fields.status
    if status == 403 and _NO_FILE.match(fields.text):
        return FailureKind.FILE
    if fields.reason in _ACCOUNT_REASONS or status in (401, 402):
        return FailureKind.ACCOUNT
    if status in (400, 403, 429) and _ACCOUNT_TEXT.search(fields.text):
        return FailureKind.ACCOUNT
    if status == 499:
        return FailureKind.CANCELED
    if status is None or status in (408, 409, 425, 429) or status >= 500:
        return FailureKind.TRANSIENT
    return FailureKind.PERMANENT


def row_message(fields: ErrorFields) -> str:
    """`HTTP 400 INVALID_ARGUMENT`: free of content."""
    words = [f"HTTP {fields.status}" if fields.status else "", fields.reason or fields.word or ""]
    return " ".join(word for word in words if word) or "failed without a reason"


def error_failure(status: int, body: bytes, retry_after: float | None = None) -> Failure:
    """What an error answer to a call means. 403 is the account's matter, but for a file that is gone, whose status is
    then 404; 429 with an envelope is a quota: of tokens that wait, or of batches at the same time."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, list) and document:  # some calls answer with a list of one envelope
        document = document[0]
    fields = fields_from(document.get("error")) if isinstance(document, Mapping) else None
    known = fields or ErrorFields()
    kind = kind_of(ErrorFields(status, known.word, known.reason, known.text))
    if status == 403 and kind is not FailureKind.FILE:
        kind = FailureKind.ACCOUNT
    elif status == 429 and fields is not None and kind is FailureKind.TRANSIENT:
        kind = FailureKind.QUOTA
    return Failure(
        kind,
        f"HTTP {status}: {_told(status, body, known)}",
        code=known.reason or known.word,
        status=404 if kind is FailureKind.FILE else status,
        retry_after=retry_after,
        proves_refusal=status in PROVES_REFUSAL or (status == 429 and fields is not None),
    )


def _told(status: int, body: bytes, fields: ErrorFields) -> str:
    if status == 401 or fields.reason == "API_KEY_INVALID":
        return "the API key was refused"
    if 300 <= status < 400:
        return "a redirect, which is not followed: is this the API's base URL?"
    if status == 413:
        return "the file is too large for this API"
    if body.lstrip()[:1] == b"<":
        return HTML if status < 500 else "an HTML page instead of an answer"
    return one_line(fields.text) or fields.word or "no error text"
