import pytest

from overnight.core.families import family, official
from overnight.core.limits import FREE_TEXT, MOST, longest_answer, output_limit
from overnight.core.parameters import TABLE, endpoint_of, sent
from overnight.errors import UsageError
from overnight.spec import Answer, Prompt, Spec
from overnight.types import Endpoint
from overnight.wire.conversation import Asked
from overnight.wire.openai import request_body

ELSEWHERE = "http://localhost:8000/v1"


def spec_of(endpoint=None, answer=None, extra=(), raw=False, **parameters):
    return Spec(
        model="openai/m",
        prompt=Prompt(user="x"),
        endpoint=endpoint,
        answer=answer or Answer(),
        parameters=parameters,
        extra=extra,
        raw=raw,
    )


def request_fields(spec, provider, model, base_url=None, limit=None):
    """What the parameters and the limit add to the body of a request."""
    name = family(provider, model, base_url).limit_name
    extra = spec.parameters.get("extra", {})
    endpoint = endpoint_of(spec, provider)
    asked = Asked(model, (), limit, sent(spec, provider, model, base_url), extra=extra, limit_field=name)
    body = request_body(endpoint, asked)
    return {key: value for key, value in body.items() if key not in {"model", "messages", "input", "encoding_format"}}


def fields(model="gpt-4o", limit=None, base_url=None, endpoint=None, extra=(), **parameters):
    return request_fields(spec_of(endpoint, extra=extra, **parameters), "openai", model, base_url, limit)


def complaint(**given):
    with pytest.raises(UsageError) as error:
        fields(**given)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-3.5-turbo", "gpt-3.5 and gpt-4"),
        ("gpt-4-turbo", "gpt-3.5 and gpt-4"),
        ("gpt-4o-mini", "gpt-4o and gpt-4.1"),
        ("gpt-4.1-nano", "gpt-4o and gpt-4.1"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "gpt-4o and gpt-4.1"),
        ("o3", "o-series"),
        ("o4-mini-2025-04-16", "o-series"),
        ("gpt-5", "gpt-5"),
        ("gpt-5-mini-2025-08-07", "gpt-5"),
        ("gpt-5.4-pro", "gpt-5"),
        ("gpt-5-chat-latest", "gpt-5-chat"),
        ("gpt-5.4-mini", "gpt-5.1, 5.2 and 5.4"),
        ("gpt-5.6-luna", "later gpt-5"),
        ("gpt-6-sol", "gpt-6 and later"),
        ("gpt-6.1-terra", "gpt-6 and later"),
        ("text-embedding-3-small", "text-embedding"),
        ("text-embedding-ada-002", "text-embedding-ada-002"),
        ("computer-use", "of no known family"),
    ],
)
def test_families(model, name):
    assert family("openai", model).name == name
    assert family("openai", model, "https://eu.api.openai.com/v1").name == name
    assert family("openai", model, ELSEWHERE).name == family("local", model).name == "of another server"


@pytest.mark.parametrize(
    ("provider", "model", "base_url", "name"),
    [
        ("azure", "gpt-4.1", "https://r.openai.azure.com", "gpt-4o and gpt-4.1"),
        ("azure", "reviews", "https://r.openai.azure.com/openai/v1", "of no known family"),
        ("azure", "gpt-4.1", "https://proxy.example", "of another server"),
        ("mistral", "mistral-small-latest", None, "of Mistral"),
        ("groq", "openai/gpt-oss-20b", None, "of another server"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", None, "of another server"),
    ],
)
def test_families_of_other_apis(provider, model, base_url, name):
    assert family(provider, model, base_url).name == name


def test_only_openais_own_hosts_are_official():
    assert official("openai", None)
    assert official("openai", "https://api.openai.com:443/v1")
    for url in ("https://api.openai.com.evil.example/v1", "http://x/api.openai.com", "https://api.openai.com@evil/v1"):
        assert not official("openai", url)
    assert not official("local", None)


@pytest.mark.parametrize(
    ("model", "base_url", "endpoint", "name"),
    [
        ("gpt-4o", None, None, "max_tokens"),
        ("gpt-5.4-mini", None, "chat", "max_completion_tokens"),
        ("o3", None, "chat", "max_completion_tokens"),
        ("brand-new", None, "chat", "max_completion_tokens"),
        ("gpt-5.4-mini", ELSEWHERE, "chat", "max_tokens"),
        ("gpt-4o", None, "responses", "max_output_tokens"),
    ],
)
@pytest.mark.parametrize("written", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_limit_is_spelled_as_the_endpoint_and_the_family_spell_it(model, base_url, endpoint, name, written):
    spec = spec_of(endpoint, **{written: 50})
    limit = output_limit(spec, "openai", model, base_url)
    assert (limit.tokens, limit.reason) == (50, "parameters.max_output_tokens")
    assert request_fields(spec, "openai", model, base_url, limit.tokens) == {name: 50}


def test_chat_fields():
    given = {"temperature": 0, "seed": 7, "stop": ["\n"], "logit_bias": {"5": -1}, "top_logprobs": 2, "user": "u"}
    assert fields(**given) == given | {"logprobs": True}


def test_responses_fields():
    assert fields(
        model="gpt-5.4",
        endpoint="responses",
        limit=99,
        reasoning_effort="none",
        verbosity="low",
        temperature=1,
        top_logprobs=3,
        logprobs=True,
    ) == {
        "max_output_tokens": 99,
        "reasoning": {"effort": "none"},
        "text": {"verbosity": "low"},
        "temperature": 1,
        "top_logprobs": 3,
        "include": ["message.output_text.logprobs"],
    }


def test_the_providers_own_spelling_of_effort_is_taken():
    assert fields(model="o3", reasoning={"effort": "low"}) == {"reasoning_effort": "low"}


def test_embeddings_take_dimensions():
    assert fields(model="text-embedding-3-small", endpoint="embeddings", dimensions=256) == {"dimensions": 256}


def test_log_probabilities_are_asked_where_the_output_shows_them():
    assert fields(extra=("logprobs",)) == {"logprobs": True}
    assert fields(extra=("logprobs",), endpoint="responses") == {"include": ["message.output_text.logprobs"]}
    assert "logprobs" in complaint(extra=("logprobs",), model="o3")


def test_extra_is_sent_as_it_is():
    spec = Spec(model="openai/m", parameters={"temperature": 1, "extra": {"top_k": 4, "temperature": 2}})
    assert request_fields(spec, "openai", "m", ELSEWHERE) == {"temperature": 2, "top_k": 4}


def test_what_a_batch_does_anyway_may_be_said():
    assert fields(stream=False, n=1) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temprature": 1}, "`parameters.temprature`: unknown parameter; did you mean `temperature`? (what stands"),
        ({"max_token": 1}, "`parameters.max_token`: unknown parameter; did you mean `max_tokens`?"),
        ({"zzz": 1}, "`parameters.zzz`: unknown parameter; known: background, dimensions, frequency_penalty, "),
        ({"temperature": 2.5}, "`parameters.temperature`: must be a number from 0 to 2"),
        ({"temperature": True}, "`parameters.temperature`: must be a number from 0 to 2"),
        ({"max_tokens": 0}, "`parameters.max_tokens`: must be a whole number of at least 1"),
        ({"max_tokens": 1.5}, "`parameters.max_tokens`: must be a whole number of at least 1"),
        ({"seed": "1"}, "`parameters.seed`: must be a whole number"),
        ({"stop": []}, "`parameters.stop`: must be a text, or a list of one to four texts"),
        ({"reasoning_effort": "hi", "model": "o3"}, "`parameters.reasoning_effort`: must be one of none, minimal, low"),
        ({"logprobs": 1}, "`parameters.logprobs`: must be true or false"),
        ({"metadata": []}, "`parameters.metadata`: must be a mapping"),
        (
            {"max_tokens": 5, "max_output_tokens": 6},
            "`parameters.max_output_tokens`: `max_output_tokens` is given twice",
        ),
        ({"stream": True}, "`parameters.stream`: a batch cannot stream; leave it out"),
        ({"n": 2}, "`parameters.n`: a row has one answer; leave it out"),
        ({"service_tier": "flex"}, "`parameters.service_tier`: batches have one tier: leave it out"),
        ({"messages": []}, "`parameters.messages`: set `prompt` of the spec"),
        ({"response_format": {}}, "`parameters.response_format`: set `answer` of the spec"),
        ({"dimensions": 5}, "`parameters.dimensions`: /v1/chat/completions does not take it; leave it out"),
        ({"seed": 5, "endpoint": "responses"}, "`parameters.seed`: /v1/responses does not take it; leave it out"),
        ({"temperature": 0, "endpoint": "embeddings"}, "`parameters.temperature`: /v1/embeddings does not take it"),
        ({"max_tokens": 5, "endpoint": "responses"}, "`parameters.max_output_tokens`: /v1/responses takes 16 or more"),
        (
            {"temperature": 0, "model": "o3"},
            "`parameters.temperature`: model o3 (o-series) does not take it while it reasons; leave it out",
        ),
        ({"top_p": 1, "model": "gpt-5-mini"}, "`parameters.top_p`: model gpt-5-mini (gpt-5) does not take it"),
        (
            {"temperature": 0, "model": "gpt-6-sol"},
            "`parameters.temperature`: model gpt-6-sol (gpt-6 and later) does not take it while it reasons; "
            "leave it out or set `reasoning_effort: none`",
        ),
        ({"temperature": 0, "reasoning_effort": "low", "model": "gpt-5.4"}, "`parameters.temperature`: model gpt-5.4"),
        (
            {"reasoning_effort": "low"},
            "`parameters.reasoning_effort`: model gpt-4o (gpt-4o and gpt-4.1) does not take it; leave it out",
        ),
        (
            {"dimensions": 5, "model": "text-embedding-ada-002", "endpoint": "embeddings"},
            "`parameters.dimensions`: model text-embedding-ada-002 (text-embedding-ada-002) does not take it",
        ),
        ({"model": "text-embedding-3-small"}, "`endpoint`: model text-embedding-3-small makes embeddings; set"),
    ],
)
def test_what_is_wrong_is_refused_early(given, message):
    assert complaint(**given).startswith(message)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("gpt-5.4-mini", {"temperature": 0}),
        ("gpt-5.4-mini", {"temperature": 0, "reasoning_effort": "none"}),
        ("gpt-6-sol", {"temperature": 0, "reasoning_effort": "none"}),
        ("gpt-5.5", {"temperature": 0}),  # not certain: the provider's word
        ("gpt-5-chat-latest", {"temperature": 0}),
    ],
)
def test_what_the_family_takes_passes(model, given):
    assert fields(model=model, **given) == given


def test_no_family_rules_at_another_server():
    assert fields(model="o3", base_url=ELSEWHERE, temperature=0) == {"temperature": 0}
    assert fields(model="x", base_url=ELSEWHERE, endpoint="responses", max_tokens=5, limit=5) == {
        "max_output_tokens": 5
    }


def test_every_parameter_of_the_table_has_an_endpoint():
    assert all(parameter.endpoints <= set(Endpoint) and parameter.endpoints for parameter in TABLE.values())


# ---------------------------------------------------------------------------------------------- limits

LABELS = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["positive", "no"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def limit_of(model="gpt-4o", schema=None, endpoint=None, labels=None, **parameters):
    spec = spec_of(endpoint, Answer(labels=labels), **parameters)
    limit = output_limit(spec, "openai", model, None, schema)
    return limit and (limit.tokens, limit.reason)


def test_text_has_a_default():
    assert limit_of() == (FREE_TEXT, "default for text")


def test_labels_are_short():
    assert longest_answer(LABELS) == len('{"label":"positive"},')
    assert limit_of(schema=LABELS, labels=("positive", "no")) == (43, "longest label")


def test_reasoning_gets_room():
    assert limit_of("gpt-5-mini", LABELS)[0] == 43 + 16_384
    assert limit_of("gpt-5-mini", LABELS, reasoning_effort="minimal")[0] == 43 + 1_024
    assert limit_of("gpt-5.4-mini", LABELS) == (43, "longest answer of the schema")
    assert limit_of("gpt-5.4-mini", LABELS, reasoning_effort="low") == (
        43 + 4_096,
        "longest answer of the schema + 4,096 for reasoning (low)",
    )


def test_the_derived_limit_keeps_the_bounds_of_endpoint_and_model():
    wide = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "maxItems": 10**9}}}
    assert limit_of(schema=wide) == (MOST, "longest answer of the schema, cut to 16,384")
    assert limit_of("gpt-4-turbo", wide)[0] == 4_096
    assert limit_of("gpt-4o", {"const": 1}, "responses")[0] >= 16


def test_embeddings_and_raw_lines_have_none_of_ours():
    assert limit_of("text-embedding-3-small", endpoint="embeddings") is None
    assert output_limit(spec_of(raw=True), "openai", "gpt-4o") is None


@pytest.mark.parametrize(
    ("schema", "tokens"),
    [
        ({"type": "boolean"}, 5),
        ({"type": ["integer", "null"]}, 24),
        ({"type": "string", "maxLength": 10}, 12),
        ({"const": "ü"}, 4),
        ({"anyOf": [{"type": "null"}, {"const": "12345678"}]}, 10),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 3}, 20),
        ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"enum": [1, 22]}}}, 9),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"y": {"$ref": "#/$defs/x"}}}}}, 263),
        ({}, 256),
        (True, 256),
    ],
)
def test_the_longest_answer(schema, tokens):
    assert longest_answer(schema) == tokens


def test_a_schema_that_doubles_at_every_step_is_walked_once():
    definitions = {f"d{n}": {"properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "ab"}} for n in range(60)}
    schema = {"$ref": "#/$defs/d0", "$defs": definitions | {"d60": {"type": "null"}}}
    assert longest_answer(schema) > 2**60
