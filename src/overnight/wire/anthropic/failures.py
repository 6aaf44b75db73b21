"""Errors of the dialect, as kinds of failure: of rows and of calls (a batch as a whole never fails here).

A row's error text may quote its prompt: a row's message is made of status, type and the field it names only. The text
of a call is shown, on one line and with anything that looks like a key removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from overnight.types import Failure, FailureKind
from overnight.wire.openai.failures import HTML, not_json_failure, one_line

STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""HTTP statuses by type of error."""
PROVES_REFUSAL = frozenset({400, 401, 402, 403, 404, 413, 422})
_ACCOUNT_CODES = frozenset({"enforced_spend_limit_reached"})
_ACCOUNT_TEXT = re.compile(r"credit balance|spend(ing)? limit|billing|usage limits", re.IGNORECASE)
_QUOTA_TEXT = re.compile(r"\b(batch|queue)", re.IGNORECASE)
_PLACE = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+){0,12}): ")
_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,64}")

__all__ = ["PROVES_REFUSAL", "STATUSES", "ErrorFields", "error_failure", "fields_from", "kind_of", "not_json_failure"]


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """An error object, reduced to safe words. `code` is the detail that says more than the type; `place` the field of
    the request that the text names first; `text` the provider's sentence, which may hold content."""

    type: str | None = None
    code: str | None = None
    place: str | None = None
    text: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status of the type, None where the type is not known."""
        return STATUSES.get(self.type or "")


def fields_from(document: object) -> ErrorFields | None:
    """The error object of a decoded envelope; None where there is none."""
    error = document.get("error") if isinstance(document, Mapping) else None
    if isinstance(error, str):
        return ErrorFields(text=error)
    if not isinstance(error, Mapping):
        return None
    details = error.get("details")
    text = error.get("message")
    text = text if isinstance(text, str) else ""
    place = _PLACE.match(text)
    return ErrorFields(
        _word(error.get("type")),
        _word(details.get("error_code")) if isinstance(details, Mapping) else None,
        place[1] if place is not None and place[1] != "model" else None,
        text,
    )


def kind_of(status: int | None, fields: ErrorFields) -> FailureKind:
    """What a refusal with this status (None: of its type alone) and these fields is. A spend limit is the account's
    matter whatever its status: to try again would change nothing."""
    status = status or fields.status
    if fields.code in _ACCOUNT_CODES or status in (401, 402, 403):
        return FailureKind.ACCOUNT
    if status in (400, 429) and _ACCOUNT_TEXT.search(fields.text):
        return FailureKind.ACCOUNT
    if status is None or status in (408, 409, 425, 429) or status >= 500:
        return FailureKind.TRANSIENT
    return FailureKind.PERMANENT


def row_message(fields: ErrorFields) -> str:
    """`HTTP 400 invalid_request_error (messages.0.content)`: free of content."""
    words = [f"HTTP {fields.status}" if fields.status else "", fields.code or fields.type or ""]
    if fields.place:
        words.append(f"({fields.place})")
    return " ".join(word for word in words if word) or "failed without a reason"


def error_failure(status: int, body: bytes, retry_after: float | None = None) -> Failure:
    """What an error answer to a call means. Only `PROVES_REFUSAL`, and a 429 with an error body, prove that nothing was
    taken. A 429 that names batches or a queue is the quota of requests that wait."""
    try:
        fields = fields_from(orjson.loads(body))
    except orjson.JSONDecodeError:
        fields = None
    known = fields or ErrorFields()
    kind = kind_of(status, known)
    if status == 429 and kind is FailureKind.TRANSIENT and _QUOTA_TEXT.search(known.text):
        kind = FailureKind.QUOTA
    return Failure(
        kind,
        f"HTTP {status}: {_told(status, body, known)}",
        code=known.code or known.type,
        status=status,
        retry_after=retry_after,
        proves_refusal=status in PROVES_REFUSAL or (status == 429 and fields is not None),
    )


def _told(status: int, body: bytes, fields: ErrorFields) -> str:
    if status == 401:
        return "the API key was refused"
    if 300 <= status < 400:
        return "a redirect, which is not followed: is this the API's base URL?"
    if status == 413:
        return "the batch is too large for this API"
    if body.lstrip()[:1] == b"<":
        return HTML if status < 500 else "an HTML page instead of an answer"
    return one_line(fields.text) or fields.code or fields.type or "no error text"


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
