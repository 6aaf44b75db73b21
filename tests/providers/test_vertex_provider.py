"""What the adapter of Vertex AI does besides the suite: places, listings, downloads, credentials."""

from __future__ import annotations

import asyncio
import datetime
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import google.auth
import google.auth.credentials
import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from overnight.blobs.objects import google_bucket
from overnight.errors import ProviderError, UsageError
from overnight.ports import DOWNLOAD_SHORT, Search
from overnight.providers.google_access import GoogleAccess, google_access
from overnight.providers.vertex import VertexProvider, base_url_of
from overnight.testing.examples import submission
from overnight.testing.provider_suite import MemoryBlob, input_lines
from overnight.testing.vertex_fake import BUCKET, LOCATION, PROJECT, TOKEN, FakeVertex, Quirks
from overnight.testing.vertex_server import serving
from overnight.types import Endpoint, Failure, FailureKind, FileId, RemoteBatch, RemoteId, RemoteState, Tag
from overnight.wire.vertex.objects import batch_from

Told = TypeVar("Told")
START = 1_800_000_000.0


class Stage:
    """A fake, its clock, and a provider over HTTP whose waits let the clock go on."""

    def __init__(self, **quirks: Any) -> None:
        self.time = START
        self.fake = FakeVertex(lambda: self.time, Quirks(**quirks))
        self.access = google_access(TOKEN)

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    def set(self, **quirks: Any) -> None:
        self.fake.quirks = replace(self.fake.quirks, **quirks)

    def play(self, story: Callable[[VertexProvider], Awaitable[Told]]) -> Told:
        async def told(url: str) -> Told:
            provider = VertexProvider(
                self.access,
                lambda bucket: google_bucket(bucket, url, self.access.token),
                BUCKET,
                project=PROJECT,
                location=LOCATION,
                base_url=url,
                sleep=self.sleep,
                jitter=lambda: 1.0,
            )
            try:
                return await story(provider)
            finally:
                await provider.close()

        with serving(self.fake) as url:
            return asyncio.run(told(url))

    def failure(self, story: Callable[[VertexProvider], Awaitable[object]]) -> Failure:
        with pytest.raises(ProviderError) as raised:
            self.play(story)
        return raised.value.failure


def lines(rows: int = 6) -> bytes:
    return input_lines(rows, spoken="vertex", endpoint=Endpoint.GENERATE)


async def upload(provider: VertexProvider, filename: str = "a.jsonl") -> FileId:
    data = lines()
    return await provider.upload(lambda: io.BytesIO(data), len(data), filename)


async def submit(provider: VertexProvider, tag: str = "t", filename: str = "a.jsonl") -> RemoteBatch:
    file_id = await upload(provider, filename)
    asked = submission(file_id, Endpoint.GENERATE, Tag(tag), {"overnight_job": "j", "odd": "No Label"})
    return await provider.create(replace(asked, filename=filename))


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_where_the_service_is(location: str, url: str) -> None:
    assert base_url_of(location) == url


def test_every_attempt_has_a_folder_of_its_own() -> None:
    stage = Stage()

    async def story(provider: VertexProvider) -> None:
        await submit(provider, "t1", "a.jsonl")
        await submit(provider, "t2", "b.jsonl")

    stage.play(story)
    first, second = (job.asked for job in stage.fake.made.values())
    assert first["outputConfig"]["gcsDestination"]["outputUriPrefix"] == f"gs://{BUCKET}/a/out"
    assert second["outputConfig"]["gcsDestination"]["outputUriPrefix"] == f"gs://{BUCKET}/b/out"
    assert first["labels"] == {"overnight_tag": "t1", "overnight_job": "j"}
    assert (first["displayName"], first["model"]) == ("a.jsonl", "publishers/google/models/m")


def test_a_lost_job_is_asked_for_by_its_label_only() -> None:
    stage = Stage()

    async def story(provider: VertexProvider) -> None:
        await submit(provider, "other")
        made = await submit(provider, "mine")
        assert [batch.id for batch in await provider.find(Search(Tag("mine"), None, START - 9))] == [made.id]

    stage.play(story)
    assert stage.fake.calls.count("jobs") == 1


def test_nothing_found_by_label_is_believed_after_a_look_at_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    asked: list[str] = []
    jobs = stage.fake.jobs

    def deaf(token: str, project: str, wanted: str = "", *window: Any) -> dict[str, Any]:
        """The service finds no label."""
        asked.append(wanted)
        return {} if wanted.startswith("labels.") else jobs(token, project, wanted, *window)

    async def story(provider: VertexProvider) -> None:
        for number in range(205):
            stage.fake.create(TOKEN, PROJECT, LOCATION, ASKED | {"displayName": str(number)})
        made = await submit(provider, "mine")
        stage.time += 60
        monkeypatch.setattr(stage.fake, "jobs", deaf)
        assert [batch.id for batch in await provider.find(Search(Tag("mine"), None, START))] == [made.id]
        assert [batch.id for batch in await provider.find(Search(Tag("x"), made.input_file, START))] == [made.id]
        assert await provider.find(Search(Tag("none"), None, START)) == []

    stage.play(story)
    assert asked[0] == 'labels.overnight_tag="mine"'
    assert asked[1] == 'create_time>="2027-01-15T07:55:00.000000Z"'
    assert len(asked) == 3 * 4, "the label, and three pages of everything"


ASKED = {
    "model": "publishers/google/models/m",
    "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/x"]}},
    "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/y"}},
}


@pytest.mark.parametrize(
    "answers",
    [
        [{"batchPredictionJobs": {}}],
        [{"batchPredictionJobs": [], "unreachable": ["us-east1"]}],
        [{"nextPageToken": "1"}, {"nextPageToken": "1"}],
        [{"nextPageToken": 1}],
        [{"batchPredictionJobs": [{}]}],
    ],
)
def test_a_listing_that_is_not_whole_proves_nothing(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage()
    pages = iter(answers)
    monkeypatch.setattr(stage.fake, "jobs", lambda *asked: next(pages))
    failure = stage.failure(lambda provider: provider.find(Search(Tag("t"), None, START)))
    assert failure.kind is FailureKind.PERMANENT
    assert not failure.proves_refusal


def test_a_partly_finished_job_has_ended() -> None:
    stage = Stage(partial_every=2)

    async def story(provider: VertexProvider) -> RemoteBatch:
        made = await submit(provider)
        stage.time += 120
        return (await provider.status([made.id]))[made.id]

    batch = stage.play(story)
    assert (batch.state, batch.raw_status) == (RemoteState.ENDED, "JOB_STATE_PARTIALLY_SUCCEEDED")


def test_the_cancel_of_a_job_that_has_ended() -> None:
    stage = Stage()

    async def story(provider: VertexProvider) -> None:
        made = await submit(provider)
        stage.time += 30
        assert (await provider.cancel(made.id)).state is RemoteState.ENDED
        assert await provider.cancel(made.id) is None
        with pytest.raises(ProviderError, match="does not exist"):
            await provider.cancel(RemoteId("7"))

    stage.play(story)


def test_the_record_is_deleted_and_may_be_gone() -> None:
    stage = Stage()

    async def story(provider: VertexProvider) -> None:
        made = await submit(provider)
        with pytest.raises(ProviderError, match="has not ended"):
            await provider.delete_batch(made.id)
        stage.time += 120
        await provider.delete_batch(made.id)
        await provider.delete_batch(made.id)
        assert await provider.status([made.id]) == {}

    stage.play(story)


def test_only_the_folder_of_the_answers_is_deleted() -> None:
    stage = Stage()
    folder = f"gs://{BUCKET}/a/out/prediction-model-1"
    kept = [f"gs://{BUCKET}/a/out/prediction-model-10/predictions.jsonl", f"gs://{BUCKET}/b.jsonl"]
    stage.fake.stored |= dict.fromkeys([*kept, f"{folder}/predictions.jsonl", f"{folder}/errors"], b"{}")
    stage.play(lambda provider: provider.delete_file(FileId(f"{folder}/")))
    assert sorted(stage.fake.stored) == sorted(kept)


def test_answers_of_several_files_come_in_the_order_of_their_names_and_nothing_else_does() -> None:
    stage = Stage()
    folder = f"gs://{BUCKET}/out/prediction-model-2026-01-01T00:00:00.000000Z"
    stage.fake.stored |= {
        f"{folder}/predictions_00002.jsonl": b'{"b":1}',
        f"{folder}/predictions_00001.jsonl": b'{"a":1}\n',
        f"{folder}/errors.jsonl": b'{"e":1}\n',
        f"{folder}/prediction.stats": b"7",
    }
    blob = MemoryBlob()
    stage.play(lambda provider: provider.download(FileId(f"{folder}/"), blob))
    assert blob.data == b'{"a":1}\n{"b":1}\n'


def test_a_file_whose_last_line_is_cut_is_said_to_be_short() -> None:
    stage = Stage()
    stage.fake.stored[f"gs://{BUCKET}/out/predictions.jsonl"] = b'{"a":1}\n{"b":'
    blob = MemoryBlob()
    failure = stage.failure(lambda provider: provider.download(FileId(f"gs://{BUCKET}/out/"), blob))
    assert failure.code == DOWNLOAD_SHORT
    assert blob.data.startswith(b'{"a":1}\n{"b":')


@pytest.mark.parametrize("file_id", ["results:1", "gs://bucket", "gs:///x", "s3://b/x"])
def test_what_is_no_object_is_said_to_be_none(file_id: str) -> None:
    failure = Stage().failure(lambda provider: provider.delete_file(FileId(file_id)))
    assert failure.status == 404


def test_a_file_that_changed_its_length_is_not_stored() -> None:
    stage = Stage()
    story = lambda provider: provider.upload(lambda: io.BytesIO(b"12345"), 4, "a.jsonl")  # noqa: E731
    assert "not as long" in stage.failure(story).message
    assert stage.fake.stored == {}


def test_answers_are_read_from_the_bucket_they_are_in() -> None:
    stage = Stage()
    stage.fake.buckets |= {"old-bucket"}
    stage.fake.stored["gs://old-bucket/out/predictions.jsonl"] = b"{}\n"
    blob = MemoryBlob()
    stage.play(lambda provider: provider.download(FileId("gs://old-bucket/out/"), blob))
    assert blob.data == b"{}\n"


def test_our_own_server_is_known_by_its_home() -> None:
    stage = Stage(home="home-1")

    async def story(provider: VertexProvider) -> None:
        account = await provider.identify(None, None, None)
        assert (account.base_url, account.project) == ("overnight:home-1", f"{PROJECT}/{LOCATION}")
        assert provider.short_polling

    stage.play(story)


def test_an_unknown_model_is_refused_at_once_and_a_missing_bucket_later() -> None:
    stage = Stage()

    async def unknown(provider: VertexProvider) -> None:
        await provider.create(submission(FileId(f"gs://{BUCKET}/a.jsonl"), "x", Tag("t"), {}, model="no-such-model"))

    failure = stage.failure(unknown)
    assert (failure.status, failure.kind, failure.proves_refusal) == (404, FailureKind.PERMANENT, True)
    stage.fake.create(TOKEN, PROJECT, LOCATION, ASKED | {"displayName": "d"} | MISSING)
    stage.fake.advance()
    [job] = stage.fake.made.values()
    failed = batch_from(job.document())
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.ACCOUNT


MISSING = {"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://nobodys/x"]}}}

# ------------------------------------------------------------------------------------------ credentials


class Credentials(google.auth.credentials.Credentials):
    """They last an hour from each refresh, and count them."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.refreshed = 0

    def refresh(self, request: object) -> None:
        if self.error is not None:
            raise self.error
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"
        self.expiry = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=1)


def test_a_token_is_refreshed_when_it_is_about_to_end_and_not_before() -> None:
    credentials = Credentials()
    access = GoogleAccess(lambda: credentials)

    async def story() -> None:
        assert [(await access.headers())["authorization"] for _ in range(2)] == ["Bearer token-1"] * 2
        assert credentials.expiry is not None
        credentials.expiry -= datetime.timedelta(hours=1)
        both = await asyncio.gather(access.headers(), access.headers())
        assert [headers["authorization"] for headers in both] == ["Bearer token-2"] * 2

    asyncio.run(story())
    assert access.token()["token"] == "token-2"
    assert access.token()["expires_at"].tzinfo is not None


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RefreshError("revoked: secret"), FailureKind.ACCOUNT), (TransportError("x"), FailureKind.TRANSIENT)],
)
def test_credentials_that_do_not_hold_prove_that_nothing_was_sent(error: Exception, kind: FailureKind) -> None:
    stage = Stage()
    stage.access = GoogleAccess(lambda: Credentials(error))
    failure = stage.failure(lambda provider: provider.create(submission(FileId("gs://b/x"), "e", Tag("t"), {})))
    assert (failure.kind, failure.proves_refusal) == (kind, True)
    assert "secret" not in failure.message
    assert stage.fake.calls == []


def test_where_there_are_no_credentials_it_is_said_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**asked: object) -> None:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(UsageError, match="gcloud auth application-default login"):
        google_access().token()
