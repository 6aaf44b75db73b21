"""Images and PDFs of a row, from the column to the line."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from overnight.data.media_requests import MediaRequests
from overnight.data.records import Unreadable
from overnight.data.requests import RequestShape
from overnight.errors import UsageError
from overnight.spec import Prompt
from overnight.types import Endpoint

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
PDF = b"%PDF-1.7\n1 0 obj <</Type /Pages>> 2 0 obj <</Type /Page>> 3 0 obj <</Type/Page >>"
TAG = "abcd1234"


def requests(folder: Path, prompt: Prompt, endpoint: Endpoint = Endpoint.CHAT) -> MediaRequests:
    shape = RequestShape("openai", endpoint, "m", {}, None, 9)
    return MediaRequests(prompt, shape, ("image", "text", "pdf"), TAG, folder)


def content(made: MediaRequests, **values: Any) -> Any:
    line = made.request(4, 0, made.render(values)).line
    document = json.loads(line)
    assert document["custom_id"] == f"{TAG}-000000004-00"
    return document["body"]["messages"][-1]["content"]


def test_files_urls_and_data_stand_before_the_text(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(PNG)
    prompt = Prompt(user="What is {{ text }}?", images=("{{ image }}", "https://x.example/{{ text }}.jpg"))
    made = requests(tmp_path, prompt)
    inline = "data:image/png;base64," + base64.b64encode(PNG).decode()
    shown = content(made, image=f"a b.png\n{inline}\n", text="this")
    assert [part["type"] for part in shown] == ["image_url"] * 3 + ["text"]
    assert [part["image_url"]["url"] for part in shown[:3]] == [inline, inline, "https://x.example/this.jpg"]
    assert shown[3]["text"] == "What is this?"
    assert made.columns == {"image", "text"}


def test_a_row_without_an_image_has_its_text_only(tmp_path: Path) -> None:
    made = requests(tmp_path, Prompt(user="{{ text }}", images=("{{ image }}",)))
    assert content(made, image=None, text="words") == "words"
    assert not made.is_empty({"image": None, "text": "words"})
    assert made.is_empty({"image": " ", "text": ""})


def test_pages_of_a_document_count(tmp_path: Path) -> None:
    (tmp_path / "d.pdf").write_bytes(PDF)
    made = requests(tmp_path, Prompt(user="Sum up.", documents=("{{ pdf }}",)))
    request = made.request(0, 0, made.render({"pdf": "d.pdf"}))
    assert 2 * 2_300 < request.tokens < 2 * 2_300 + 50
    assert content(made, pdf=str(tmp_path / "d.pdf"))[0]["file"]["filename"] == "d.pdf"


@pytest.mark.parametrize(
    "text", ["secret.txt", "../secret.txt", "none.png", "d.pdf", "a\0b", "data:image/png;base64,!"]
)
def test_what_is_no_image_is_no_row(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "secret.txt").write_text("root:x:0:0")
    (folder / "d.pdf").write_bytes(PDF)
    made = requests(folder, Prompt(user="?", images=("{{ image }}",)))
    with pytest.raises(Unreadable) as caught:
        made.render({"image": text})
    assert "root" not in str(caught.value)
    assert text not in str(caught.value)


def test_what_the_endpoint_cannot_say_is_told_by_field(tmp_path: Path) -> None:
    made = requests(tmp_path, Prompt(user="?", documents=("{{ pdf }}",)))
    with pytest.raises(Unreadable, match=r"prompt\.documents.*chat completions"):
        made.render({"pdf": "https://x.example/d.pdf"})
    with pytest.raises(UsageError, match=r"prompt\.images.*embeddings takes none"):
        requests(tmp_path, Prompt(user="?", images=("{{ image }}",)), Endpoint.EMBEDDINGS)
    with pytest.raises(UsageError, match="no column"):
        requests(tmp_path, Prompt(user="?", images=("https://x.example/a.png",)))


def test_the_responses_endpoint_has_its_own_words(tmp_path: Path) -> None:
    made = requests(tmp_path, Prompt(user="?", images=("{{ image }}",), documents=("{{ pdf }}",)), Endpoint.RESPONSES)
    values = {"image": "https://x.example/a.png", "pdf": "https://x.example/d.pdf"}
    body = json.loads(made.request(0, 0, made.render(values)).line)["body"]
    assert [part["type"] for part in body["input"][-1]["content"]] == ["input_image", "input_file", "input_text"]
