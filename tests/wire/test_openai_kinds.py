"""Moderations, legacy completions and images: what is sent, and how answers are judged."""

import base64
import json

import pytest

from overnight.types import Endpoint, FailureKind, Outcome, Tokens
from overnight.wire.conversation import Asked, Media, Text, Turn, Unsayable
from overnight.wire.openai import output_line, read_line, request_body
from overnight.wire.openai.kinds import image_of

PNG = b"\x89PNG\r\n\x1a\n rest"
IMAGE = Media("image", "image/png", base64.b64encode(PNG).decode())
PDF = Media("document", "application/pdf", "AAAA")


def asked(*parts, **more):
    return Asked("m-1", (Turn("user", parts or (Text("say it"),)),), **more)


@pytest.mark.parametrize(
    ("endpoint", "request_", "body"),
    [
        (Endpoint.MODERATIONS, asked(), {"input": "say it"}),
        (
            Endpoint.MODERATIONS,
            asked(Media("image", url="https://x.example/1.png"), Text("it")),
            {
                "input": [
                    {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}},
                    {"type": "text", "text": "it"},
                ]
            },
        ),
        (Endpoint.COMPLETIONS, asked(limit=9), {"prompt": "say it", "max_tokens": 9}),
        (Endpoint.IMAGES, asked(parameters={"size": "1024x1024"}), {"prompt": "say it", "size": "1024x1024"}),
        (
            Endpoint.IMAGE_EDITS,
            asked(IMAGE, Media("image", url="https://x.example/1.png"), Text("blue")),
            {
                "prompt": "blue",
                "images": [
                    {"image_url": f"data:image/png;base64,{IMAGE.data}"},
                    {"image_url": "https://x.example/1.png"},
                ],
            },
        ),
    ],
)
def test_what_is_sent(endpoint, request_, body):
    assert request_body(endpoint, request_) == {"model": "m-1", **body}


@pytest.mark.parametrize(
    ("endpoint", "parts", "field"),
    [
        (Endpoint.MODERATIONS, (PDF, Text("x")), "prompt.documents"),
        (Endpoint.IMAGE_EDITS, (PDF, Text("x")), "prompt.documents"),
        (Endpoint.IMAGE_EDITS, (Text("x"),), "prompt.images"),
    ],
)
def test_what_cannot_be_said(endpoint, parts, field):
    with pytest.raises(Unsayable) as raised:
        request_body(endpoint, asked(*parts))
    assert raised.value.field == field


def line(body, status=200):
    return output_line("b-1", "r-1", status, "req-1", json.dumps(body).encode())


def judged(endpoint, body, status=200, **more):
    return read_line(line(body, status), endpoint, **more)


SCORES = {"violence": 0.25, "hate": 0.5}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"flagged": True, "category_scores": SCORES}, {"flagged": True, "scores": SCORES}),
        ({"categories": {"violence": False, "hate": True}}, {"flagged": True, "scores": None}),
        ({"categories": {"violence": False}, "category_scores": {}}, {"flagged": False, "scores": {}}),
    ],
)
def test_a_moderation(result, told):
    reply = judged(Endpoint.MODERATIONS, {"id": "modr-1", "model": "m-2", "results": [result]})
    assert (reply.outcome, json.loads(reply.text), reply.tokens, reply.model) == (
        Outcome.SUCCEEDED,
        told,
        Tokens(),
        "m-2",
    )
    assert judged(Endpoint.MODERATIONS, {"results": [result]}, text=False).text is None


def test_a_moderation_that_bills_tokens():
    body = {"results": [{"flagged": False}], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}
    assert judged(Endpoint.MODERATIONS, body).tokens == Tokens(7)


@pytest.mark.parametrize("results", [[], None, [{}], [{"category_scores": {}}]])
def test_a_moderation_without_a_result(results):
    reply = judged(Endpoint.MODERATIONS, {"results": results})
    assert (reply.outcome, reply.kind, reply.ran) == (Outcome.ERRORED, FailureKind.EMPTY, True)


@pytest.mark.parametrize(
    ("choice", "outcome", "kind"),
    [
        ({"text": "fine", "finish_reason": "stop"}, Outcome.SUCCEEDED, None),
        ({"text": "fi", "finish_reason": "length"}, Outcome.ERRORED, FailureKind.TRUNCATED),
        ({"text": "fi", "finish_reason": "content_filter"}, Outcome.ERRORED, FailureKind.REFUSED),
        ({"text": " ", "finish_reason": "stop"}, Outcome.ERRORED, FailureKind.EMPTY),
        ({"text": None}, Outcome.ERRORED, FailureKind.EMPTY),
    ],
)
def test_a_legacy_completion(choice, outcome, kind):
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    reply = judged(Endpoint.COMPLETIONS, {"model": "m", "choices": [choice], "usage": usage})
    assert (reply.outcome, reply.kind, reply.text, reply.tokens) == (outcome, kind, choice["text"], Tokens(3, 0, 4))


@pytest.mark.parametrize("endpoint", [Endpoint.IMAGES, Endpoint.IMAGE_EDITS])
@pytest.mark.parametrize(
    ("data", "suffix"), [(PNG, "png"), (b"\xff\xd8\xff\xe0 jfif", "jpeg"), (b"RIFF....WEBP", "webp"), (b"odd", "png")]
)
def test_an_image(endpoint, data, suffix):
    usage = {"input_tokens": 5, "output_tokens": 272, "input_tokens_details": {"text_tokens": 5, "image_tokens": 0}}
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}], "usage": usage}
    reply = judged(endpoint, body)
    assert (reply.outcome, reply.text, reply.tokens) == (Outcome.SUCCEEDED, None, Tokens(5, 0, 272))
    assert image_of(line(body)) == (data, suffix, None)


def test_an_image_at_a_url():
    body = {"data": [{"url": "https://x.example/1.png", "b64_json": None}]}
    assert judged(Endpoint.IMAGES, body).outcome is Outcome.SUCCEEDED
    assert image_of(line(body)).url == "https://x.example/1.png"


@pytest.mark.parametrize("data", [[], None, [{}]])
def test_no_image(data):
    reply = judged(Endpoint.IMAGES, {"data": data})
    assert (reply.outcome, reply.kind) == (Outcome.ERRORED, FailureKind.EMPTY)
    assert image_of(line({"data": data})) is None


def test_base64_that_is_none_is_no_image():
    assert image_of(line({"data": [{"b64_json": "%%%"}]})) is None


def test_a_refused_image():
    body = {"error": {"message": "no", "code": "content_policy_violation"}}
    reply = judged(Endpoint.IMAGES, body, 400)
    assert (reply.outcome, reply.kind, reply.ran) == (Outcome.ERRORED, FailureKind.REFUSED, False)
