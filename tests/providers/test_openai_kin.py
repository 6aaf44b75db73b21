"""What the adapters of Azure, Mistral, Groq and Together do that OpenAI's does not, over HTTP or in process."""

import asyncio
import io
import json
from functools import partial
from pathlib import Path

import jsonschema_rs
import pytest

from overnight.errors import ProviderError
from overnight.ports import Search
from overnight.providers.azure import AzureProvider, DatedAzureProvider
from overnight.providers.groq import GroqProvider
from overnight.providers.lines import in_other_lines
from overnight.providers.mistral import MistralProvider
from overnight.providers.together import TogetherProvider
from overnight.testing.examples import submission
from overnight.testing.openai_face import Asked, InProcess, show
from overnight.testing.openai_fake import KEY, FakeOpenAI, Quirks
from overnight.testing.openai_flavours import FLAVOURS
from overnight.testing.provider_suite import input_lines
from overnight.types import Endpoint, FailureKind, Tag
from overnight.wire.openai import mistral

AT = 1_800_000_000.0
SPEC = Path(__file__).parent.parent / "specs" / "mistral" / "openapi.batch-files.subset.json"


class Stage:
    def __init__(self, flavour, made, quirks=None, **more):
        self.at = AT
        self.asked = []
        self.fake = FakeOpenAI(lambda: self.at, quirks or Quirks(), flavour=FLAVOURS[flavour])
        self.provider = made(
            KEY, "https://api.example", sleep=self.sleep, transport=partial(InProcess, self.fake), **more
        )

    async def sleep(self, seconds):
        self.at += seconds

    def do(self, call):
        return asyncio.run(call)

    async def submit(self, tag="t-1", filename="in.jsonl"):
        data = input_lines(2)
        file_id = await self.provider.upload(lambda: io.BytesIO(data), len(data), filename)
        sent = submission(file_id, Endpoint.CHAT, Tag(tag), {"job": "j"}, data)
        return file_id, await self.provider.create(sent)


@pytest.mark.parametrize(
    ("made", "given", "version", "where"),
    [
        (AzureProvider, "https://r.openai.azure.com", None, "https://r.openai.azure.com/openai/v1"),
        (AzureProvider, "https://r.openai.azure.com/openai/v1/", "v1", "https://r.openai.azure.com/openai/v1"),
        (DatedAzureProvider, "https://r.openai.azure.com/", "2024-10-21", "https://r.openai.azure.com/openai"),
        (DatedAzureProvider, "https://r.openai.azure.com/openai/v1", "2024-10-21", "https://r.openai.azure.com/openai"),
        (GroqProvider, "https://api.groq.com", None, "https://api.groq.com/openai/v1"),
        (GroqProvider, "https://api.groq.com/openai/v1", None, "https://api.groq.com/openai/v1"),
        (MistralProvider, "http://localhost:1/", None, "http://localhost:1/v1"),
        (TogetherProvider, "https://api.together.xyz/v1", None, "https://api.together.xyz/v1"),
    ],
)
def test_where_the_api_is(made, given, version, where):
    provider = made("k", given, version=version)
    assert provider._http.base_url == where


def test_a_file_that_azure_could_not_process():
    stage = Stage("azure", AzureProvider)
    with pytest.raises(ProviderError) as raised:
        stage.provider.is_ready({"status": "error"})
    assert raised.value.failure.kind is FailureKind.PERMANENT


def test_a_file_that_azure_never_processes_is_a_passing_failure():
    stage = Stage("azure", AzureProvider, Quirks(pending=1e9))
    with pytest.raises(ProviderError) as raised:
        stage.do(stage.submit())
    assert (raised.value.failure.kind, raised.value.failure.code) == (FailureKind.TRANSIENT, "file_pending")
    assert "create" not in stage.fake.calls
    assert 1_800 < stage.at - AT < 3_600


def test_a_listing_of_mistral_is_read_page_by_page_to_its_end():
    stage = Stage("mistral", MistralProvider)

    async def story():
        made = [(await stage.submit(f"t-{number}", f"in-{number}.jsonl")) for number in range(205)]
        stage.fake.calls.clear()
        (found,) = await stage.provider.find(Search(Tag("t-204"), None, AT))
        assert found.id == made[-1][1].id
        assert stage.fake.calls.count("batches") == 4  # the last page is empty
        assert await stage.provider.find_files("in-0.jsonl") == [made[0][0]]
        assert await stage.provider.find(Search(Tag("t-0"), None, AT + 3_600)) == []

    stage.do(story())


def component(name):
    document = json.loads(SPEC.read_text())
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def test_what_is_sent_to_mistral_and_what_its_fake_answers_hold_to_the_published_schema():
    stage = Stage("mistral", MistralProvider)

    async def story():
        file_id, batch = await stage.submit()
        sent = stage.provider.asked(submission(file_id, Endpoint.CHAT, Tag("t"), {}, input_lines(1)))
        sent["input_files"] = ["e85980c9-409e-4a46-9304-36588f6292b0"]
        jsonschema_rs.validator_for(component("BatchJobIn")).validate(sent)
        for line in stage.fake.stored[file_id].data.splitlines():
            jsonschema_rs.validator_for(component("BatchRequest")).validate(json.loads(line))
        for path, name in (
            (f"/v1/batch/jobs/{batch.id}", "BatchJobOut"),
            ("/v1/batch/jobs", "BatchJobsOut"),
            (f"/v1/files/{file_id}", "FileSchema"),
            ("/v1/files", "ListFilesOut"),
        ):
            asked = Asked("GET", path, {}, {"authorization": f"Bearer {KEY}"}, b"")
            jsonschema_rs.validator_for(component(name)).validate(json.loads(show(stage.fake, asked).body))

    stage.do(story())


@pytest.mark.parametrize(
    ("flavour", "made"), [("mistral", MistralProvider), ("together", TogetherProvider), ("groq", GroqProvider)]
)
def test_the_cancel_of_a_batch_that_is_over(flavour, made):
    stage = Stage(flavour, made)

    async def story():
        _, batch = await stage.submit()
        stage.at += 3_600
        assert await stage.provider.cancel(batch.id) is None

    stage.do(story())


def test_a_line_that_mistral_refuses_at_upload_proves_that_nothing_was_taken():
    stage = Stage("mistral", MistralProvider)
    data = b'{"custom_id":"a","no":"body"}\n'
    with pytest.raises(ProviderError) as raised:
        stage.do(stage.provider.upload(lambda: io.BytesIO(data), len(data), "in.jsonl"))
    failure = raised.value.failure
    assert (failure.status, failure.kind, failure.proves_refusal) == (422, FailureKind.PERMANENT, True)
    assert "Invalid file format" in failure.message


def test_lines_of_any_length_pass_through_whole():
    data = b"".join(
        b'{"custom_id":"a%d","method":"POST","url":"/v1/chat/completions","body":{"x":"%s"}}\n' % (n, b"y" * n)
        for n in (0, 1, 65_535, 65_536, 300_000)
    )
    content, size = in_other_lines(lambda: io.BytesIO(data), mistral.input_line)
    for _ in range(2):
        with content() as file:
            assert file.read(7) == b'{"custo'
            assert len(file.read()) == size - 7
    with content() as file:
        assert [json.loads(line).keys() for line in file] == [{"custom_id", "body"}] * 5
