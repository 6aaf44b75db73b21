"""Errors as Google Cloud tells them: of calls, and of whole jobs by the code that they end with (contracts: 5.2). Few
of these codes have been seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import orjson

from overnight.types import Failure, FailureKind
from overnight.wire.openai.failures import HTML, NOT_JSON, PROVES_REFUSAL, one_line

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
_WORD = re.compile(r"[A-Z0-9_]{1,64}")
_VALUE = re.compile(r"\bvalue:.*", re.IGNORECASE | re.DOTALL)


def error_failure(status: int, body: bytes, retry_after: float | None = None) -> Failure:
    """What an error answer to a call means; its code is the status in words, or the reason that Google names."""
    code, text, known = _envelope(body)
    match status:
        case 401 | 403:
            kind = FailureKind.ACCOUNT
        case 408 | 409 | 425 | 429:
            kind = FailureKind.TRANSIENT
        case _:
            kind = FailureKind.TRANSIENT if status >= 500 else FailureKind.PERMANENT
    if 300 <= status < 400:
        text = "a redirect, which is not followed: is this the API's base URL?"
    elif not known and body.lstrip()[:1] == b"<":
        text = HTML if status < 500 else "an HTML page instead of an answer"
    return Failure(
        kind,
        f"HTTP {status}: {text or code or 'no error text'}",
        code=code,
        status=status,
        retry_after=retry_after,
        proves_refusal=status in PROVES_REFUSAL or (status == 429 and known),
    )


def not_json_failure(status: int, body: bytes) -> Failure:
    """A success by its status that holds no JSON object. What was sent may have been taken."""
    return Failure(FailureKind.PERMANENT, HTML if body.lstrip()[:1] == b"<" else NOT_JSON, status=status)


def _envelope(body: bytes) -> tuple[str | None, str, bool]:
    """Code, text on one line, and whether the body is an error object at all."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, "", False
    error = document.get("error") if isinstance(document, Mapping) else None
    if not isinstance(error, Mapping):
        return None, "", False
    details = error.get("details")
    reasons = [each.get("reason") for each in details if isinstance(each, Mapping)] if isinstance(details, list) else []
    words = [word for word in (error.get("status"), *reasons) if isinstance(word, str) and _WORD.fullmatch(word)]
    text = error.get("message")
    return (words[0] if words else None), one_line(text) if isinstance(text, str) else "", True


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
