"""Tenants and their keys."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from overnight.errors import UsageError
from overnight.server.keys import Keys, read_keys
from tests.server.running import Start, chat_line, create, ended, upload

KEYS = {"ada": "sk-ada-0001", "bob": "sk-bob-0002"}


def test_each_tenant_sees_its_own_objects_only(start: Start) -> None:
    server = start(keys=KEYS)
    ada, bob = server.client(KEYS["ada"]), server.client(KEYS["bob"])
    batch = ended(ada, create(ada, [chat_line("a")]).id)
    assert batch.status == "completed"
    assert bob.batches.list().data == []
    assert bob.files.list().data == []
    for file_id in (batch.input_file_id, batch.output_file_id):
        for call in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                call(file_id)
    for look in (bob.batches.retrieve, bob.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            look(batch.id)
    with pytest.raises(openai.BadRequestError):
        bob.batches.list(after=batch.id)
    stolen = bob.batches.create(
        input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert ended(bob, stolen.id).errors.data[0].param == "file_id"
    assert len(ada.files.list().data) == 2


def test_idempotency_keys_are_a_tenants_own(start: Start) -> None:
    server = start(keys=KEYS)
    made = {
        name: server.client(key).batches.create(
            input_file_id=upload(server.client(key), [chat_line("a")]),
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers={"Idempotency-Key": "same"},
        )
        for name, key in KEYS.items()
    }
    assert made["ada"].id != made["bob"].id


def test_other_keys_are_refused(start: Start) -> None:
    server = start(keys=KEYS)
    for header in (None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic sk-ada-0001", "sk-ada-0001"):
        answer = server.call("GET", "/v1/models", None, {} if header is None else {"authorization": header})
        assert answer.status == 401, header
        assert answer.json["error"]["code"] == "invalid_api_key"
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert "overnight-server" in answer.headers
    assert server.call("GET", "/healthz").status == 200


def test_the_scheme_is_read_in_any_case() -> None:
    assert Keys(KEYS).tenant(b"sk-bob-0002") == "bob"
    assert Keys().tenant(None) == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no key"),
        ("ada = \nbob = 2", "line 1"),
        ('ada = "sk-ada-0001"\nbob = "sk-ada-0001"', "two tenants"),
        ('ada = "short"', "at least 8"),
        ("ada = 12345678", "at least 8"),
        ('[ada]\nkey = "sk-ada-0001"', "at least 8"),
        ('ada = " sk-ada-0001"', "at least 8"),
    ],
)
def test_a_bad_file_of_keys_is_told_without_the_keys(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=told) as error:
        read_keys(path)
    assert str(path) in str(error.value)
    assert "sk-ada" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_keys(tmp_path / "none.toml")
