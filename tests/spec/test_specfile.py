import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.errors import UsageError
from overnight.spec import Answer, Brake, Example, Expect, Policy, Prompt, Rows, Spec
from overnight.specfile import anchor, apply_set, commented_example, dump_yaml, load_spec, spec_from, spec_schema

GOOD = """\
model: openai/gpt-5.4-mini
source: news.csv
prompt:
  user: "Topic of {{ text }}"
"""


def loaded(tmp_path: Path, text: str | bytes, **overrides) -> Spec:
    file = tmp_path / "news.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_spec(file, overrides)


def complaint(call, *args) -> str:
    with pytest.raises(UsageError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_spec_file(tmp_path):
    spec = loaded(
        tmp_path,
        GOOD
        + """\
  examples:
    - {user: a, assistant: b}
answer:
  labels: [yes, no, "007", 2024-01-01, 22:00]
rows: {expect: {rows: [1, 5], labels: {yes: [0.1, 1]}}}
policy: {brake: null, poll: 1}
parameters: {temperature: 0, seed: 0x1F, stop: ["\\n"]}
with: [logprobs]
keep: all
output: answers.csv
""",
    )
    assert spec == Spec(
        model="openai/gpt-5.4-mini",
        source=str(tmp_path / "news.csv"),
        prompt=Prompt(user="Topic of {{ text }}", examples=(Example(user="a", assistant="b"),)),
        answer=Answer(labels=("yes", "no", "007", "2024-01-01", "22:00")),
        rows=Rows(expect=Expect(rows=(1, 5), labels={"yes": (0.1, 1.0)})),
        policy=Policy(brake=None, poll=1.0),
        parameters={"temperature": 0, "seed": 31, "stop": ["\n"]},
        extra=("logprobs",),
        keep="all",
        output=str(tmp_path / "answers.csv"),
    )


BAD = [
    ("prompt: {usr: x}", "`prompt.usr` ({f}:1): unknown field; did you mean `user`?"),
    (GOOD + "promt: x", "`promt` ({f}:5): unknown field; did you mean `prompt`?"),
    (GOOD + "retries: 3", "`retries` ({f}:5): unknown field; did you mean `policy.retries`?"),
    (GOOD + "policy:\n\n  retry: 3", "`policy.retry` ({f}:7): unknown field; did you mean `retries`?"),
    (GOOD + "rows: {xyz: 1}", "`rows.xyz` ({f}:5): unknown field; known here: expect, on_bad, on_empty"),
    (GOOD + "policy: {retries: '3'}", "`policy.retries` ({f}:5): must be a whole number, not text"),
    (GOOD + "policy: {retries: 2.5}", "`policy.retries` ({f}:5): must be a whole number, not a number"),
    (GOOD + "policy:\n  retries: -1", "`policy.retries` ({f}:6): must be at least 0, not -1"),
    (GOOD + "policy:\n  retries: 21", "`policy.retries` ({f}:6): must be at most 20, not 21"),
    (GOOD + "policy: {poll: 0}", "`policy.poll` ({f}:5): must be more than 0, not 0"),
    (GOOD + "policy: {fence: yes}", "`policy.fence` ({f}:5): must be true or false, not text"),
    (GOOD + "policy: {poll: .inf}", ".inf ({f}:5): must be a finite number"),
    (
        GOOD + "rows: {on_bad: stopp}",
        "`rows.on_bad` ({f}:5): must be `skip` or `stop`, not `stopp`; did you mean `stop`?",
    ),
    (GOOD + "keep: al", "`keep` ({f}:5): must be `all` or `key`, or a list, not `al`; did you mean `all`?"),
    (GOOD + "keep: 3", "`keep` ({f}:5): must be text or a list, not a whole number; put it in quotes"),
    (
        GOOD + "endpoint: chats",
        "`endpoint` ({f}:5): must be `chat`, `completions`, `embeddings`, `image_edits`, `images`, `moderations` or "
        "`responses`, not `chats`; did you mean `chat`?",
    ),
    (
        GOOD + "with:\n- raw\n- prob",
        "`with[1]` ({f}:7): must be `logprobs` or `raw`, not `prob`; did you mean `logprobs`?",
    ),
    (
        GOOD + "answer:\n  labels:\n    - a\n    - true",
        "`answer.labels[1]` ({f}:8): must be text, not true or false; put it in quotes",
    ),
    (GOOD + "rows:\n  expect: {rows: [1]}", "`rows.expect.rows` ({f}:6): must be a list of 2, not of 1"),
    (GOOD + "rows: {expect: {labels: {a: [0, x]}}}", "`rows.expect.labels` ({f}:5): must be a number, not text"),
    (GOOD + "  examples: [{user: a}]", "`prompt.examples[0].assistant` ({f}:5): missing; What the assistant answered."),
    (
        "source: a.csv",
        "`model` ({f}): missing; provider/model, e.g. openai/gpt-5.4-mini or local/smollm2.",
    ),
    ("prompt: hello", "`prompt` ({f}:1): must be a mapping, not text"),
    ("- a", "{f}: must be a mapping, not a list"),
    ("just text", "{f}: must be a mapping, not text"),
    ("", "`model` ({f}): missing; provider/model, e.g. openai/gpt-5.4-mini or local/smollm2."),
    (GOOD + "name: a\nname: b", "`name` ({f}:6): given twice"),
    (GOOD.replace('"', ""), None),
    (
        "model: a/b\nprompt:\n  user: {{ text }}",
        "a field's name must be text ({f}:3): put a value that begins with a brace in quotes",
    ),
    ("model: [a", "expected ',' or ']', but got '<stream end>' ({f}:1): mend the YAML"),
    ("a: b: c", "mapping values are not allowed here ({f}:1): mend the YAML"),
    ("model: *x", "found undefined alias 'x' ({f}:1): mend the YAML"),
    ("tags: &a [*a]", "too large, or an alias that holds itself ({f}:1): write it out"),
    ("model: !!python/name:os.system x", "tag python/name:os.system ({f}:1): not known here; leave it out"),
    (b"model: a/b\nname: \xff", "not UTF-8 ({f}:2): save the spec as UTF-8"),
    # Rules between fields.
    ("model: a/b", "`prompt.user` ({f}): missing; say what is asked of each row, e.g. 'Sentiment of: {{{{ text }}}}'"),
    (GOOD + "answer: {labels: []}", "`answer.labels` ({f}:5): is empty; name the labels, or leave it out"),
    (
        GOOD + "answer:\n  labels: [a]\n  schema: x.json",
        "`answer.schema` ({f}:7): `labels` and `schema` exclude each other; keep one",
    ),
    (GOOD + "answer:\n  labels: [a, b,\n    a]", "`answer.labels[2]` ({f}:7): `a` is given twice"),
    (GOOD + "answer: {labels: [a, ' ']}", "`answer.labels[1]` ({f}:5): must not be empty"),
    (
        GOOD + "rows: {expect: {rows: [5, 1]}}",
        "`rows.expect.rows` ({f}:5): must be a number of rows, or [least, most], not [5, 1]",
    ),
    (GOOD + "rows: {expect: {labels: {a: [0, 1]}}}", "`rows.expect.labels.a` ({f}:5): is none of `answer.labels`"),
    (
        GOOD + "answer: {labels: [a]}\nrows:\n  expect:\n    labels:\n      a: [0.5, 1.5]",
        "`rows.expect.labels.a` ({f}:9): must be [least, most] from 0 to 1, not [0.5, 1.5]",
    ),
    (GOOD + "raw: true", "`prompt` ({f}:3): the lines of a raw source bring their own; leave it out, or `raw`"),
    (GOOD + "allow_unlimited: true", "`allow_unlimited` ({f}:5): is for raw sources; leave it out"),
    (GOOD + "endpoint: embeddings\nanswer: {labels: [a]}", "`answer` ({f}:6): embeddings have none; leave it out"),
    (GOOD + "base_url: localhost:8000", "`base_url` ({f}:5): must begin with http:// or https://"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    if message is None:  # a template in braces behind other words needs no quotes
        assert loaded(tmp_path, text).prompt.user == "Topic of {{ text }}"
        return
    assert complaint(loaded, tmp_path, text) == message.format(f=tmp_path / "news.yaml")


def test_nothing_of_a_prompt_is_in_a_message(tmp_path):
    text = "model: a/b\nprompt: {user: SECRET, system: [SECRET], examples: SECRET}\nname: [SECRET]\n"
    assert "SECRET" not in complaint(loaded, tmp_path, text)


def test_a_billion_laughs(tmp_path):
    lines = ["tags: [x]", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "too large" in complaint(loaded, tmp_path, "\n".join(lines))


def test_files_that_cannot_be_read(tmp_path):
    assert complaint(load_spec, tmp_path / "no.yaml") == (
        f"no such spec file: {tmp_path / 'no.yaml'}; `overnight init` writes one"
    )
    assert complaint(load_spec, tmp_path) == f"{tmp_path} is a directory; name the spec file in it"


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert loaded(tmp_path, "\ufeff" + GOOD).model == "openai/gpt-5.4-mini"


def test_paths_are_relative_to_the_file_and_flags_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "specs[1]").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / "specs[1]" / "news.yaml"
    file.write_text(GOOD.replace("news.csv", "[../data/*.csv, a.csv, /b.csv]") + "answer: {schema: s.json}\n")
    spec = load_spec(Path("../specs[1]/news.yaml"), {"output": "out.csv", "prompt.system": "Be brief."})
    assert spec.source == (
        f"{tmp_path}/here/../specs[[]1]/../data/*.csv",
        f"{tmp_path}/here/../specs[1]/a.csv",
        "/b.csv",
    )
    assert spec.answer.schema == f"{tmp_path}/here/../specs[1]/s.json"
    assert spec.output == f"{tmp_path}/here/out.csv"
    assert spec.prompt == Prompt(user="Topic of {{ text }}", system="Be brief.")


def test_anchor():
    spec = spec_from({"model": "a/b", "source": "x.csv", "prompt.user": "{{ a }}", "output": "s3://bucket/o.csv"})
    assert anchor(spec, Path("/data")).source == "/data/x.csv"
    assert anchor(spec, Path("/data")).output == "s3://bucket/o.csv"
    assert anchor(anchor(spec, Path("/data")), Path("/other")) == anchor(spec, Path("/data"))


def test_overrides_stand_in_place_of_the_file(tmp_path):
    assert loaded(tmp_path, "prompt: {user: x}", model="a/b").model == "a/b"
    assert complaint(lambda: loaded(tmp_path, GOOD, endpoint="chats")).startswith("`endpoint` (command line): must be")


def test_a_spec_without_a_file():
    mapping = {"model": "a/b", "prompt": {"user": "x"}, "prompt.system": "y", "answer.labels": ("a", "b")}
    spec = spec_from(mapping)
    assert (spec.prompt, spec.answer.labels) == (Prompt(user="x", system="y"), ("a", "b"))
    assert mapping["prompt"] == {"user": "x"}
    assert complaint(spec_from, {"model": "a/b", "prompt.usr": "x"}, "spec") == (
        "`prompt.usr` (spec): unknown field; did you mean `user`?"
    )
    assert complaint(spec_from, {"model": "a/b", "model.x": 1}) == (
        "`model.x` (command line): `model` holds no fields; set `model` as a whole"
    )


BASE = spec_from({"model": "a/b", "prompt.user": "x"})


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("policy.retries=3", lambda spec: spec.policy.retries == 3),
        ("policy.brake=null", lambda spec: spec.policy.brake is None),
        ("policy.brake.share=0.9", lambda spec: spec.policy.brake == Brake(share=0.9)),
        ("parameters.temperature=0", lambda spec: spec.parameters == {"temperature": 0}),
        ("parameters.extra.top_k=40", lambda spec: spec.parameters == {"extra": {"top_k": 40}}),
        ("parameters.stop=['a', \"b\"]", lambda spec: spec.parameters == {"stop": ["a", "b"]}),
        ("tags=[a, b]", lambda spec: spec.tags == ("a", "b")),
        ("name=2024", lambda spec: spec.name == "2024"),
        ("name='007'", lambda spec: spec.name == "007"),
        ("name=true", lambda spec: spec.name == "true"),
        ("name=null", lambda spec: spec.name is None),
        ("prompt.user={{ text }} # 1: a=b", lambda spec: spec.prompt.user == "{{ text }} # 1: a=b"),
        ("prompt.user=[draft] {{ text }}", lambda spec: spec.prompt.user == "[draft] {{ text }}"),
        ("prompt.user=12", lambda spec: spec.prompt.user == "12"),
        ("answer.labels=[yes, no]", lambda spec: spec.answer.labels == ("yes", "no")),
        ("raw=false", lambda spec: spec.raw is False),
    ],
)
def test_set(assignment, read):
    assert read(apply_set(BASE, [assignment]))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("policy.retries", "--set policy.retries: write field=value, e.g. --set policy.retries=3"),
        ("policy.retris=3", "`policy.retris` (--set): unknown field; did you mean `retries`?"),
        ("policy.retries=many", "`policy.retries` (--set): must be a whole number, not text"),
        ("retries=3", "`retries` (--set): unknown field; did you mean `policy.retries`?"),
        ("model.x=3", "`model.x` (--set): `model` holds no fields; set `model` as a whole"),
        (
            "prompt.user=",
            "`prompt.user` (--set): missing; say what is asked of each row, e.g. 'Sentiment of: {{ text }}'",
        ),
    ],
)
def test_a_bad_set(assignment, message):
    assert complaint(apply_set, BASE, [assignment]) == message


def test_set_leaves_the_rest():
    assert apply_set(BASE, []) == BASE
    assert apply_set(BASE, ["policy.retries=3", "policy.max_paid=9"]).policy == Policy(retries=3, max_paid=9)


def test_the_commented_example_is_a_valid_spec(tmp_path):
    spec = loaded(tmp_path, commented_example())
    assert spec.answer.labels == ("positive", "negative", "neutral")
    assert "{{ text }}" in spec.prompt.user


def test_every_field_of_the_example_shows_its_default(tmp_path):
    """Written in, one comment sign after the other, the defaults change nothing."""
    text, spec = commented_example(), loaded(tmp_path, commented_example())
    names = "|".join(name for part in spec_schema()["$defs"].values() for name in part.get("properties", ()))
    for _ in range(3):
        text = re.sub(rf"(?m)^( *)# ((?: *# )* *(?:{names}):.*)$", r"\1\2", text)
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("# "))
    assert "follow_up_after: 3600" in text
    assert loaded(tmp_path, text) == apply_set(spec, ["rows.expect={}"])


def test_the_published_schema_takes_the_example_and_refuses_a_typo(tmp_path):
    schema = spec_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(json.loads(json.dumps({"model": "a/b", "prompt": {"user": "x"}})))
    assert not validator.is_valid({"model": "a/b", "promt": {"user": "x"}})
    assert schema["$defs"]["Policy"]["properties"]["retries"]["description"]


def test_a_printed_spec_is_short_and_readable():
    spec = spec_from({"model": "a/b", "prompt.user": "One\n{{ text }}\n", "answer.labels": ["yes", "007", "true"]})
    assert dump_yaml(spec) == (
        "model: a/b\nprompt:\n  user: |\n    One\n    {{ text }}\nanswer:\n  labels: [yes, '007', 'true']\n"
    )


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
labels = st.lists(texts.filter(str.strip), min_size=1, max_size=4, unique=True).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
specs = st.builds(
    Spec,
    model=texts,
    name=st.none() | texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    prompt=st.builds(
        Prompt,
        user=texts.filter(str.strip),
        system=st.none() | texts,
        examples=st.lists(st.builds(Example, user=texts, assistant=texts), max_size=2).map(tuple),
    ),
    parameters=st.dictionaries(texts, json_values, max_size=3),
    answer=st.builds(Answer, labels=st.none() | labels),
    policy=st.builds(
        Policy, retries=st.integers(0, 20), brake=st.none() | st.just(Brake()), poll=st.none() | st.just(0.1)
    ),
    keep=st.sampled_from(["key", "all", ("a", "yes", "1")]),
)


@settings(max_examples=60, deadline=None)
@given(specs)
def test_what_is_printed_reads_back_the_same(tmp_path_factory, spec):
    file = tmp_path_factory.getbasetemp() / "printed.yaml"
    file.write_bytes(dump_yaml(spec).encode())
    assert load_spec(file) == spec
