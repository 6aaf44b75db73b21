"""Errors of the dialect, as kinds of failure: of rows, of calls, of whole batches.

A row's error text may quote its prompt, so a row's message is made of status, code and parameter only. Calls and
batches carry no content; their text is shown, on one line and with anything that looks like a key removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from overnight.types import Failure, FailureKind

PROVES_REFUSAL = frozenset({400, 401, 403, 404, 413, 422})
_TRANSIENT = frozenset({408, 409, 425, 429})
_BILLING_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
        "organization_deactivated",
        "access_terminated",
    }
)
_BILLING_TEXT = re.compile(r"exceeded your current quota|billing[ _](hard[ _])?limit|billing details", re.IGNORECASE)
_FILTERED_CODES = frozenset({"content_filter", "content_policy_violation"})
_QUOTA_TEXT = re.compile(
    r"enqueued token|too many batches|batch(es)? (creation|created|create|per hour)|creat\w+ (of )?batches",
    re.IGNORECASE,
)
_NO_FILE_TEXT = re.compile(
    r"(cannot|could not|can't) find (the )?file|no such (file|object)|file (\S+ )?not found", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_PATH = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,80}")
_KEY = re.compile(r"\b(sk|key|bearer)[-_ ][A-Za-z0-9_*.\-]{6,}", re.IGNORECASE)
NOT_JSON = "answered with something that is no JSON object: is this the API's base URL?"
HTML = "answered with HTML, not JSON: is this the API's base URL?"


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """An error object, reduced to safe words. `text` is the provider's sentence and may hold content."""

    code: str | None = None
    type: str | None = None
    param: str | None = None
    text: str = ""

    @property
    def billing(self) -> bool:
        """The account's money is the reason."""
        return self.code in _BILLING_CODES or self.type in _BILLING_CODES or bool(_BILLING_TEXT.search(self.text))


def error_fields(code: object, type: object, param: object, text: object) -> ErrorFields:
    """The fields as they came; what is no plain word becomes None."""
    return ErrorFields(_word(code), _word(type), _path(param), text if isinstance(text, str) else "")


def fields_from(document: object) -> ErrorFields | None:
    """The error object of a decoded envelope (OpenAI's, or one of the usual others); None where there is none."""
    if isinstance(document, Mapping):
        error = document.get("error", document)
        if isinstance(error, Mapping):
            text = error.get("message") or error.get("detail")
            if text or error.get("code") or "error" in document:
                return error_fields(error.get("code"), error.get("type"), error.get("param"), text)
        if isinstance(error, str):
            return ErrorFields(text=error)
    return None


def kind_of(status: int | None, fields: ErrorFields) -> FailureKind:
    """What a refusal with this status (None: no HTTP status is known) and these fields is."""
    if fields.billing or status in (401, 402, 403):
        return FailureKind.ACCOUNT
    if fields.code in _FILTERED_CODES:
        return FailureKind.REFUSED
    if status is None or status in _TRANSIENT or status >= 500 or status < 300:
        return FailureKind.TRANSIENT
    return FailureKind.PERMANENT


def row_message(status: int | None, fields: ErrorFields) -> str:
    """`HTTP 400 invalid_value (temperature)`: free of content."""
    words = [f"HTTP {status}" if status is not None else "", fields.code or fields.type or ""]
    if fields.param:
        words.append(f"({fields.param})")
    return " ".join(word for word in words if word) or "failed without a reason"


def error_failure(status: int, body: bytes, retry_after: float | None = None) -> Failure:
    """What an error answer to a call means. Only `PROVES_REFUSAL`, and a 429 with an error body, prove that
    nothing was taken."""
    try:
        fields = fields_from(orjson.loads(body))
    except orjson.JSONDecodeError:
        fields = None
    known = fields or ErrorFields()
    kind = kind_of(status, known)
    if status in (400, 429) and (known.code == "token_limit_exceeded" or _QUOTA_TEXT.search(known.text)):
        kind = FailureKind.QUOTA
    elif kind is FailureKind.PERMANENT and _names_missing_file(status, known):
        kind = FailureKind.FILE
    return Failure(
        kind,
        f"HTTP {status}: {_told(status, body, known)}",
        code=known.code,
        status=status,
        retry_after=retry_after,
        proves_refusal=status in PROVES_REFUSAL or (status == 429 and fields is not None),
    )


def not_json_failure(status: int, body: bytes) -> Failure:
    """A success by its status that holds no JSON object. What was sent may have been taken."""
    return Failure(FailureKind.PERMANENT, HTML if _is_html(body) else NOT_JSON, status=status)


def batch_failure(errors: object) -> Failure:
    """Why a whole batch failed, from its `errors` list: the first entry decides."""
    data = errors.get("data") if isinstance(errors, Mapping) else None
    entries: list[Mapping[str, Any]] = [entry for entry in data or () if isinstance(entry, Mapping)]
    if not entries:
        return Failure(FailureKind.PERMANENT, "the provider failed the batch without a reason", proves_refusal=True)
    entry = entries[0]
    fields = error_fields(entry.get("code"), None, entry.get("param"), entry.get("message"))
    line = entry.get("line")
    number = line if isinstance(line, int) and not isinstance(line, bool) else None
    return Failure(
        _batch_kind(fields),
        " ".join(filter(None, (fields.code and f"{fields.code}:", one_line(fields.text) or "no text")))
        + (f" (line {number} of the batch file)" if number is not None else ""),
        code=fields.code,
        line=number,
        proves_refusal=True,
    )


def one_line(text: str, length: int = 300) -> str:
    """The text on one line, without control characters or anything like a key, cut to `length`."""
    flat = _KEY.sub("***", " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * length]).split()))
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _batch_kind(fields: ErrorFields) -> FailureKind:
    if fields.billing:
        return FailureKind.ACCOUNT
    if fields.code == "token_limit_exceeded" or _QUOTA_TEXT.search(fields.text):
        return FailureKind.QUOTA
    if (fields.code == "invalid_request" and fields.param == "file_id") or _NO_FILE_TEXT.search(fields.text):
        return FailureKind.FILE
    return FailureKind.PERMANENT


def _names_missing_file(status: int, fields: ErrorFields) -> bool:
    named = fields.param in ("file_id", "input_file_id")
    return bool(_NO_FILE_TEXT.search(fields.text)) or (status == 404 and named)


def _told(status: int, body: bytes, fields: ErrorFields) -> str:
    if status == 401:
        return "the API key was refused"
    if 300 <= status < 400:
        return "a redirect, which is not followed: is this the API's base URL?"
    if status == 413:
        return "the file is too large for this API"
    if _is_html(body):
        return HTML if status < 500 else "an HTML page instead of an answer"
    return one_line(fields.text) or fields.code or fields.type or "no error text"


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _word(value: object) -> str | None:
    text = str(value) if isinstance(value, (str, int)) else ""
    return text if _WORD.fullmatch(text) else None


def _path(value: object) -> str | None:
    return value if isinstance(value, str) and _PATH.fullmatch(value) else None
