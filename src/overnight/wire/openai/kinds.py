"""Judges of the smaller job kinds: moderations, legacy completions, images."""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import orjson
from msgspec import UnsetType, ValidationError
from msgspec.json import Decoder

from overnight.types import FailureKind, Reply, Tokens
from overnight.wire.openai.parts import body_of
from overnight.wire.openai.replies import failed, succeeded
from overnight.wire.openai.shapes import CompletionBody, ImagesBody, ModerationBody, Response

_SUFFIXES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
_images = Decoder(ImagesBody)
_word = Decoder(str)


class Image(NamedTuple):
    """An image that came: its bytes and their format, or where it is to be had."""

    data: bytes
    suffix: str
    url: str | None = None


def judge_completion(custom_id: str, response: Response[CompletionBody], text: bool) -> Reply:
    """The text of the first choice."""
    choices = (response.body or CompletionBody()).choices
    said, finish = (choices[0].text, choices[0].finish_reason) if choices else (None, None)
    shown = said if text else None
    if finish == "content_filter":
        return failed(custom_id, response, FailureKind.REFUSED, "stopped by the content filter", shown, finish)
    if finish == "length":
        return failed(custom_id, response, FailureKind.TRUNCATED, "cut at the output limit", shown, finish)
    if not said or said.isspace():
        return failed(custom_id, response, FailureKind.EMPTY, "the answer is empty", shown, finish)
    return succeeded(custom_id, response, shown, None, None, finish)


def judge_moderation(custom_id: str, response: Response[ModerationBody], text: bool) -> Reply:
    """The result as `{"flagged": .., "scores": {category: ..}}`. Who does not say `flagged` (Mistral) flags what
    has a category. A row without usage used none."""
    body = response.body or ModerationBody()
    result = body.results[0] if body.results else None
    if result is None or (result.flagged is None and result.categories is None):
        return failed(custom_id, response, FailureKind.EMPTY, "the answer has no result")
    flagged = result.flagged if result.flagged is not None else any((result.categories or {}).values())
    told = orjson.dumps({"flagged": flagged, "scores": result.category_scores}).decode()
    alone = len(body.results or ()) == 1  # several of one row (raw lines) stay in the raw answer
    reply = succeeded(custom_id, response, told if text and alone else None, None, None, None)
    reply.tokens = reply.tokens or Tokens()
    return reply


def judge_images(custom_id: str, response: Response[ImagesBody], text: bool) -> Reply:
    """An image is an answer, here or at a URL; `image_of` gives it."""
    images = (response.body or ImagesBody()).data
    if not images or (isinstance(images[0].b64_json, UnsetType) and not images[0].url):
        return failed(custom_id, response, FailureKind.EMPTY, "the answer has no image")
    return succeeded(custom_id, response, None, None, None, None)


def image_of(line: bytes) -> Image | None:
    """The first image of an answer line; None where there is none."""
    body = body_of(line)
    try:
        images = _images.decode(body or b"{}").data
        if not images:
            return None
        coded: Any = images[0].b64_json
        if isinstance(coded, UnsetType) or bytes(coded) == b"null":
            return Image(b"", "", images[0].url) if images[0].url else None
        data = base64.b64decode(_word.decode(coded), validate=True)
    except (ValidationError, binascii.Error):
        return None
    return Image(data, next((suffix for start, suffix in _SUFFIXES if data.startswith(start)), "png"))
