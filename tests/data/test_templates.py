"""Templates: what they render, what they may not do, and that the fast way is the same way."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.data.records import Unreadable, filled
from overnight.data.sandbox import MOST
from overnight.data.templates import compile_template
from overnight.errors import UsageError

COLUMNS = ("text", "n", "Full name", "items", "range")


def render(text: str, /, **values: Any) -> str:
    return compile_template(text, COLUMNS, "prompt.user").render(values)


def refusal(text: str, columns: tuple[str, ...] = COLUMNS) -> str:
    with pytest.raises(UsageError) as caught:
        compile_template(text, columns, "prompt.user")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_are_found_without_rendering() -> None:
    def columns(text: str) -> tuple[str, ...]:
        return compile_template(text, COLUMNS, "prompt.user").columns

    assert columns("{{ text }} {% if n %}{{ n }}{% endif %}") == ("n", "text")
    assert columns('{{ row["Full name"] }} {{ row.items }}') == ("Full name", "items")
    assert columns("{% for name, value in row|items %}{{ name }}{% endfor %}") == tuple(sorted(COLUMNS))
    assert columns("{{ range }}") == ("range",)
    assert columns("{% for i in range(2) %}{% endfor %}") == ("range",)
    assert columns("no column") == ()


def test_values_as_text() -> None:
    assert render("<{{ text }}>", text=None) == "<>"
    assert render("<{{ text }}>") == "<>"
    assert render("{{ text }} {{ n }}", text=True, n={"a": [1, None]}) == 'true {"a":[1,null]}'
    assert render("{{ n }}|{{ n * 2 }}", n=1.5) == "1.5|3.0"
    assert render('{{ row["Full name"]|upper }}', **{"Full name": "é"}) == "É"
    assert render("{% if text is none %}empty{% endif %}{{ true }}{{ none }}", text=None) == "emptytrue"
    assert [filled(v) for v in (None, "", " \n", [], {}, 0, False, "x", [0])] == [False] * 5 + [True] * 4


def test_useful_things_stay() -> None:
    text = (
        "{% set parts = namespace(n=0) %}{% for w in text.split() %}{% set parts.n = parts.n + 1 %}"
        "{{ w|replace('a', 'b') }}{{ ', ' if not loop.last }}{% endfor %} {{ parts.n }} "
        "{{ '%.2f'|format(n) }} {{ '{:>5}'.format(n) }} {{ text|truncate(4, True, '', 0) }} {{ ['x', 'y']|join('-') }} "
        "{{ text ~ n ~ none }} {{ n|default(10000000) }} {{ {'a': n}|tojson }} {{ 12345678 * 10 }} {{ text[:2] }}"
    )
    assert render(text, text="aa ca", n=2) == ('bb, cb 2 2.00     2 aa c x-y aa ca2 2 {"a": 2} 123456780 aa')


def test_unknown_columns_are_told_with_the_nearest() -> None:
    assert refusal("{{ txt }}") == "prompt.user: the source has no column 'txt': did you mean 'text'?"
    assert refusal('{{ row["full nam"] }}').endswith("did you mean 'Full name'?")
    assert refusal("{{ zzz }}", ("a", "b")) == "prompt.user: the source has no column 'zzz': it has 'a', 'b'"


def test_bad_syntax_is_told_with_its_line() -> None:
    for text in ("a\n{{ text", "a\n{% if text %}", "a\n{% nosuch %}"):
        assert refusal(text).startswith("prompt.user, line 2: ")
        assert refusal(text)[-1] != "."
    assert "column" not in refusal("{{ text")
    assert '{{ row["its name"] }}' in refusal("{{ Full name }}")
    assert "include is not available" in refusal("{% include 'x' %}")
    assert "No filter named 'center'" in refusal("{{ text|center(10) }}")
    assert "nosuch" in refusal("{{ text|nosuch }}")


def test_a_template_that_fails_is_the_problem_of_the_row_and_tells_nothing_of_it() -> None:
    secret = "secret-4711"
    for text, reason in (
        ("x\n{{ 1 / n }}", "prompt.user, line 2: ZeroDivisionError"),
        ("{{ row[text] }}", "prompt.user, line 1: a value is not defined"),
        ("{{ n + text }}", "prompt.user, line 1: TypeError"),
        ("{{ text.nothing }}", "prompt.user, line 1: a value is not defined"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "prompt.user, line 1: RecursionError"),
        ("{{ text.__class__ }}", "prompt.user, line 1: access to attribute '__class__' of 'str' object is unsafe."),
    ):
        with pytest.raises(Unreadable) as caught:
            render(text, n=0, text=secret)
        assert str(caught.value) == reason
        assert secret not in str(caught.value)
    with pytest.raises(Unreadable, match="a value is bytes, not text"):
        render("{{ text }}", text=b"x")


@pytest.mark.parametrize(
    "text",
    [
        "{{ text * 3000000000 }}",
        "{{ 3000000000 * 'x' }}",
        "{{ [text] * n }}",
        "{{ 9 ** 9 ** 9 ** 9 ** 9 ** 9 }}",
        "{{ 10 ** n }}",
        "{% set b = namespace(t=text) %}{% for i in range(90) %}{% set b.t = b.t ~ b.t %}{% endfor %}",
        "{% set b = namespace(t=text) %}{% for i in range(90) %}{% set b.t = b.t + b.t %}{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ text }}{{ text }}{{ text }}{{ text }}{{ text }}{{ text }}{{ text }}{% endfor %}",
        "{% set x %}{% for i in range(99999) %}" + "{{ text }}" * 9 + "{% endfor %}{% endset %}",
        "{{ ''.join(text for i in row) }}",
        "{{ '%999999999d'|format(n) }}",
        "{{ '%*d' % (n, n) }}",
        "{{ '{:999999999}'.format(n) }}",
        "{{ '{:{w}}'.format(n, w=n) }}",
        "{{ text.center(n) }}",
        "{{ text.zfill(n) }}",
        "{{ text|indent(n) }}",
        "{{ ('a\n' * 99)|indent(text * 9000) }}",
        "{{ 1.5|round(n) }}",
        "{{ [1]|batch(n, 'x')|list }}",
        "{{ {'a': 1}|tojson(n) }}",
        "{{ (text * 9000)|replace('x', text * 9000) }}",
        "{{ (text * 9000).replace('x', text * 9000) }}",
        "{{ range(90000)|join(text * 9000) }}",
        "{{ (text * 9000).join((text * 9000)|list) }}",
    ],
)
def test_nothing_grows_without_bound(text: str) -> None:
    try:
        template = compile_template(text, ("text", "n"), "prompt.user")
    except UsageError:
        return
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable):
            template.render({"text": "x" * 20, "n": 2_000_000_000})
        assert tracemalloc.get_traced_memory()[1] < 6 * MOST
    finally:
        tracemalloc.stop()


def test_turns_are_counted_for_each_row_alone() -> None:
    template = compile_template("{% for i in range(90000) %}{% endfor %}{{ n }}", ("n",), "prompt.user")
    assert [template.render({"n": n}) for n in range(20)] == [str(n) for n in range(20)]


def test_output_is_capped_on_the_fast_way_too() -> None:
    with pytest.raises(Unreadable, match="more than 8388608 characters"):
        render("{{ text }}{{ text }}", text="x" * (MOST // 2 + 1))


literals = st.text(st.characters(codec="utf-8", exclude_characters="{}#%"), max_size=8)
holes = st.sampled_from(["{{ text }}", "{{n}}", "{{- text -}}", "{{ row['Full name'] }}", "{%- raw %}{{ {% endraw %}"])
cells = st.one_of(
    st.none(), st.text(max_size=5), st.integers(), st.floats(), st.booleans(), st.lists(st.integers(), max_size=2)
)


@given(st.lists(st.one_of(literals, holes)), st.fixed_dictionaries({"text": cells, "n": cells, "Full name": cells}))
def test_joined_parts_come_out_as_jinja_renders_them(parts: list[str], values: dict[str, Any]) -> None:
    text = "".join(parts)
    fast = compile_template(text, COLUMNS, "prompt.user")
    slow = compile_template("{% if true %}{% endif %}" + text, COLUMNS, "prompt.user")
    assert (fast.plain, slow.plain) == (True, False)
    assert fast.columns == slow.columns
    assert fast.render(values) == slow.render(values)
