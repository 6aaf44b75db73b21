import json
import pathlib
from typing import Literal

import jsonschema_rs
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.data.schemas import answer_rules, schema_of
from overnight.data.strict import tighten
from overnight.errors import UsageError
from overnight.spec import Answer, Prompt, Spec
from overnight.types import Outcome, Reply


def rules_of(**answer):
    return answer_rules(Spec(model="openai/m", prompt=Prompt(user="{{ a }}"), answer=Answer(**answer)))


def reply(text):
    return Reply("id", Outcome.SUCCEEDED, text=text)


def an_object(properties, **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


def test_text_has_no_format_and_no_check():
    rules = rules_of()
    assert (rules.format, rules.schema, rules.notes) == (None, None, ())
    assert rules.check(reply("anything")) is None
    assert rules.check.columns == ("answer",)
    assert rules.check.fields("anything") == {"answer": "anything"}


def test_labels_are_asked_as_an_object():
    rules = rules_of(labels=("positive", "negative"))
    assert rules.format.strict
    assert rules.format.name == "label"
    assert rules.format.schema == an_object({"label": {"type": "string", "enum": ["positive", "negative"]}})
    assert rules.notes == ()


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"label":"good"}', "good"),
        ('{"label": "good"}', "good"),
        ('\n{ "label" :\t"good" }\n', "good"),
        ('{"label":"\\u00fcbel"}', "übel"),
        ("good", "good"),
        ('{"label":"Good"}', None),
        ('{"label":"good "}', None),
        ('{"label":"good","why":"x"}', None),
        ('{"label":["good"]}', None),
        ('{"answer":"good"}', None),
        ('"good"', None),
        ("Good", None),
        ("", None),
        ('{"label":"goo', None),
        ('```json\n{"label":"good"}\n```', None),
        ('{"label":"good"} ', "good"),
        ("\ud800", None),
    ],
)
def test_a_label_is_exactly_one_of_the_list(text, label):
    check = rules_of(labels=("good", "bad", "übel")).check
    if label is None:
        assert check(reply(text)) == "the answer is none of the labels"
    else:
        assert check(reply(text)) is None
        assert check.fields(text) == {"answer": label}


def test_properties_become_columns_and_the_answer_is_checked():
    schema = an_object({"topic": {"type": "string"}, "score": {"type": "integer", "maximum": 10}})
    rules = rules_of(schema=schema)
    assert rules.check.columns == ("topic", "score")
    assert rules.check(reply('{"topic":"a","score":3}')) is None
    assert rules.check.fields('{"topic":"a","score":3}') == {"topic": "a", "score": 3}
    assert rules.check(reply("secret words")) == "the answer is not JSON"
    assert rules.check(reply('{"topic":"secret","score":11}')) == (
        "the answer breaks the schema at `properties.score.maximum`"
    )
    assert rules.check(reply('{"topic":"a","score":3,"secret":1}')) == (
        "the answer breaks the schema at `additionalProperties`"
    )
    assert rules.check(Reply("id", Outcome.SUCCEEDED, tool_calls=b"[]")) is None


@pytest.mark.parametrize(
    ("format_", "good", "bad"), [("date", "2026-11-25", "25.11."), ("email", "a@b.cd", "a"), ("uuid", "0" * 8, "x")]
)
def test_formats_are_checked(format_, good, bad):
    check = rules_of(schema=an_object({"a": {"type": "string", "format": format_}})).check
    assert check(reply(json.dumps({"a": bad}))) == "the answer breaks the schema at `properties.a.format`"
    if format_ != "uuid":
        assert check(reply(json.dumps({"a": good}))) is None


def test_an_integer_beyond_64_bits_stays_whole():
    check = rules_of(schema=an_object({"n": {"type": "integer"}})).check
    text = '{"n":123456789012345678901234567890}'
    assert check(reply(text)) is None
    assert check.fields(text) == {"n": 123456789012345678901234567890}


def test_an_object_without_properties_is_one_column():
    rules = rules_of(schema={"type": "object"})
    assert rules.check.columns == ("answer",)
    assert rules.check.fields('{"a":1}') == {"answer": '{"a":1}'}
    assert not rules.format.strict


def test_a_pydantic_model_fits_strict_mode():
    class Place(pydantic.BaseModel):
        city: str
        country: str | None = None

    class Event(pydantic.BaseModel):
        """What happened."""

        kind: Literal["fire", "flood"]
        place: Place
        people: list[str] = []

    rules = rules_of(schema=schema_of(Event))
    assert rules.format.strict
    assert rules.format.name == "Event"
    assert rules.format.schema["required"] == ["kind", "place", "people"]
    assert rules.format.schema["$defs"]["Place"]["required"] == ["city", "country"]
    assert "default" not in json.dumps(rules.format.schema)
    assert rules.check(reply('{"kind":"fire","place":{"city":"Ulm"}}')) is None  # the user's own schema decides
    assert rules.check(reply('{"kind":"war","place":{"city":"Ulm"}}')) == (
        "the answer breaks the schema at `properties.kind.enum`"
    )


def test_a_recursive_model_has_its_object_at_the_top():
    class Node(pydantic.BaseModel):
        name: str
        children: list["Node"]

    rules = rules_of(schema=schema_of(Node))
    assert rules.format.strict
    assert rules.format.schema["type"] == "object"
    assert rules.check.columns == ("name", "children")
    assert rules.check(reply('{"name":"a","children":[{"name":"b","children":[]}]}')) is None


def test_another_class_is_refused():
    with pytest.raises(UsageError, match="dict is no pydantic model"):
        schema_of(dict)


@pytest.mark.parametrize(
    ("properties", "note"),
    [
        ({"a": {"oneOf": [{"type": "string"}]}}, "`properties.a.oneOf` is not part of it"),
        ({"a": {"type": "string", "allOf": []}}, None),
        ({"a": {"type": "string", "allOf": [{"minLength": 2}]}}, "`properties.a.allOf` is not part of it"),
        ({"a": {"type": "array"}}, "`properties.a` says nothing of the items"),
        ({"a": {"type": "object"}}, "`properties.a` is an object without properties"),
        ({"a": {}}, "`properties.a` says nothing of the value's type"),
        ({"a": True}, "`properties.a` says nothing of the value"),
        (
            {"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": True}},
            "`properties.a.additionalProperties` must be false",
        ),
        (
            {"a": {"type": "object", "properties": {"b": {"type": "string"}}}},
            "`properties.a.properties.b` is optional (list it in `required` and let it be null)",
        ),
        ({"a": {"type": "string", "enum": [str(n) for n in range(1001)]}}, "`the top` has 1,001 enum values"),
        ({"a": {"type": "string", "enum": ["x" * 100 + str(n) for n in range(251)]}}, "`properties.a.enum` has more"),
        ({"a" * 120_001: {"type": "string"}}, "`the top` has 120,001 characters in names and values"),
        ({f"p{n}": {"type": "null"} for n in range(5001)}, "`the top` has 5,001 properties, more than 5,000"),
    ],
)
def test_what_strict_mode_cannot_take_turns_it_off(properties, note):
    if note is None:
        with pytest.raises(UsageError, match="no valid JSON Schema"):
            rules_of(schema=an_object(properties))
        return
    rules = rules_of(schema=an_object(properties))
    assert not rules.format.strict
    assert rules.format.schema == an_object(properties)
    assert rules.notes[0].startswith(f"strict mode is off: {note}")


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = an_object({"a": schema})
    return schema


def test_ten_levels_are_the_most():
    assert tighten(nested(10)).misfit is None
    assert "is nested deeper than 10 levels" in tighten(nested(11)).misfit


def test_what_strict_mode_does_not_know_is_checked_on_return():
    name = {"type": "string", "minLength": 2, "format": "iri", "pattern": "^(?!x)", "default": "x", "examples": ["y"]}
    rules = rules_of(schema=an_object({"name": name}))
    assert rules.format.strict
    assert rules.format.schema["properties"]["name"] == {"type": "string"}
    assert rules.notes == (
        "checked on return only: `properties.name.minLength`, `properties.name.format`, `properties.name.pattern`",
    )
    assert rules.check(reply('{"name":"x"}')) is not None


def test_types_that_strict_mode_wants_are_written():
    schema = an_object({"a": {"enum": ["x", None]}, "b": {"const": 1}})
    assert tighten(schema).schema["properties"] == {
        "a": {"type": ["null", "string"], "enum": ["x", None]},
        "b": {"type": "integer", "const": 1},
    }


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "items": {"type": "string"}}, "`the top` (answer.schema): must be of type object"),
        ({"anyOf": [{"type": "object"}]}, "`the top` (answer.schema): must be of type object"),
        ({"$ref": "#"}, "`the top` (answer.schema): must be of type object"),
        (an_object({"a": {"minimum": "x"}}), "`properties.a.minimum` (answer.schema): no valid JSON Schema: "),
        (an_object({"a": {"type": "text"}}), "`properties.a.type` (answer.schema): no valid JSON Schema: "),
        (an_object({"a": {"$ref": "#/$defs/x"}}), "`the top` (answer.schema): no valid JSON Schema: "),
        (an_object({"a": {"$ref": "http://127.0.0.1:1/x"}}), "`the top` (answer.schema): no valid JSON Schema: "),
        (an_object({"a": {"pattern": "("}}), "`properties.a.pattern` (answer.schema): no valid JSON Schema: "),
    ],
)
def test_a_broken_schema_names_its_place(schema, message):
    with pytest.raises(UsageError) as error:
        rules_of(schema=schema)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_schema_is_never_fetched_from_the_web():
    with pytest.raises(UsageError, match="Retrieval is disabled"):
        rules_of(schema=an_object({"a": {"$ref": "http://127.0.0.1:1/x"}}))


def test_schema_files(tmp_path: pathlib.Path):
    file = tmp_path / "answer.json"
    for content, message in (
        (None, f"no such schema file: {file} (answer.schema)"),
        ("{\n x}", f"no valid JSON ({file}:2): "),
        ("[1]", f"no JSON Schema ({file}): it must be a JSON object"),
        ('{"type":"objct"}', f"`type` ({file}): no valid JSON Schema: "),
    ):
        if content is not None:
            file.write_text(content)
        with pytest.raises(UsageError) as error:
            rules_of(schema=str(file))
        assert str(error.value).startswith(message)
    file.write_text(json.dumps(an_object({"a": {"type": "string"}}, title="Ein Titel!")))
    assert rules_of(schema=str(file)).format.name == "Ein_Titel_"


scalars = st.sampled_from(
    [
        ({"type": "string"}, st.text(max_size=5)),
        ({"type": "string", "minLength": 1}, st.text(min_size=1, max_size=5)),
        ({"type": ["integer", "null"]}, st.none() | st.integers(-9, 9)),
        ({"type": "boolean"}, st.booleans()),
        ({"enum": ["a", 1, None]}, st.sampled_from(["a", 1, None])),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, st.none() | st.text(max_size=3)),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), scalars, st.booleans()), min_size=1), st.data())
def test_what_the_sent_schema_takes_the_users_schema_takes(fields, data):
    """Apart from the assertions that are named as left out."""
    schema = {
        "type": "object",
        "properties": {name: part for name, (part, _), _ in fields},
        "required": sorted({name for name, _, required in fields if required}),
    }
    tightened = tighten(schema)
    if tightened.misfit is not None or tightened.unchecked:
        return
    values = {name: data.draw(value) for name, (_, value), _ in fields}
    if jsonschema_rs.is_valid(tightened.schema, values):
        assert jsonschema_rs.is_valid(schema, values)
    assert set(tightened.schema["required"]) == set(schema["properties"])
