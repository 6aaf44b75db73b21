"""Checks of a batch's input file, line by line, with the codes of OpenAI: the first fault ends it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

MOST_ROWS = 50_000
MOST_LINE = 10 * 1024 * 1024  # bytes of a request line, as of a real-time request


@dataclass(frozen=True, slots=True)
class Checked:
    """A good input file."""

    rows: int
    model: str


class Fault(Exception):
    """Why the whole batch fails."""

    def __init__(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.entry: dict[str, Any] = {"code": code, "message": message, "param": param, "line": line}


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None


class _Line(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: _Body | None = None


_decode = msgspec.json.Decoder(_Line).decode


def check(file: BinaryIO, endpoint: str, models: Collection[str]) -> Checked:
    """What the file holds. Raises `Fault`. `models`: those that are served; empty where that is not known."""
    seen: set[bytes] = set()
    model: str | None = None
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        if line.isspace():
            continue
        if len(line) > MOST_LINE:
            raise Fault("invalid_request", f"This line is longer than {MOST_LINE:,} bytes.", None, number)
        request = _parse(line, number)
        _check_id(request.custom_id, seen, number)
        _check_target(request, endpoint, number)
        model = _check_body(request.body, model, models, number)
        if len(seen) > MOST_ROWS:
            raise Fault("too_many_tasks", f"The batch input file holds more than {MOST_ROWS:,} requests.")
    if model is None:
        raise Fault("empty_file", "The batch input file holds no requests.")
    return Checked(len(seen), model)


def _parse(line: bytes, number: int) -> _Line:
    try:
        line.decode()
        return _decode(line)
    except msgspec.ValidationError as error:
        if "$.body" in str(error):
            raise Fault("invalid_request", "The body must be a JSON object.", "body", number) from None
        raise Fault("invalid_json_line", "This line is not a JSON object.", None, number) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Fault("invalid_json_line", "This line is not parseable as valid JSON.", None, number) from None


def _check_id(custom_id: object, seen: set[bytes], number: int) -> None:
    if custom_id is None:
        raise Fault("missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id", number)
    if not isinstance(custom_id, str):
        raise Fault("invalid_request", "The custom_id must be a string.", "custom_id", number)
    key = custom_id.encode()
    if len(key) > 64:
        key = hashlib.sha256(key).digest()  # so that long ids cost no more memory than short ones
    if key in seen:
        raise Fault("duplicate_custom_id", "This custom_id was used by an earlier line.", "custom_id", number)
    seen.add(key)


def _check_target(request: _Line, endpoint: str, number: int) -> None:
    for name, value in (("method", request.method), ("url", request.url), ("body", request.body)):
        if value is None:
            raise Fault("missing_required_parameter", f"Missing required parameter: '{name}'.", name, number)
    if request.method != "POST":
        raise Fault("invalid_request", "The method must be POST.", "method", number)
    if request.url != endpoint:
        message = "The URL provided for this request does not prefix-match the batch endpoint."
        raise Fault("invalid_url", message, "url", number)


def _check_body(body: _Body | None, model: str | None, models: Collection[str], number: int) -> str:
    """The model of the line, which is that of the lines before."""
    asked = None if body is None else body.model
    if not isinstance(asked, str) or not asked:
        raise Fault("invalid_request", "The request names no model.", "body.model", number)
    if model is None and models and asked not in models:
        raise Fault("model_not_found", "The model of this request is not served here.", "body.model", number)
    if model is not None and asked != model:
        message = "All requests of a batch must name the same model."
        raise Fault("mismatched_model", message, "body.model", number)
    if body is not None and body.stream:
        raise Fault("streaming_unsupported", "Requests of a batch cannot be streamed.", "body.stream", number)
    return asked
