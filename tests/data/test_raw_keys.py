"""Raw lines keep the ids that their user gave."""

from __future__ import annotations

from overnight.data.columns import answers_layout, failed_layout, is_keyed
from overnight.data.schemas import answer_rules
from overnight.spec import Spec


def test_the_ids_of_raw_lines_are_the_keys_of_the_table() -> None:
    spec = Spec(model="openai/m", raw=True)
    assert is_keyed(spec)
    assert answers_layout(spec, answer_rules(spec), ()).columns[0].name == "key"
    assert failed_layout(spec, ("custom_id", "body")).columns[0].name == "key"


def test_rows_without_a_key_are_numbered() -> None:
    spec = Spec(model="openai/m")
    assert not is_keyed(spec)
    assert answers_layout(spec, answer_rules(spec), ()).columns[0].name == "row"
