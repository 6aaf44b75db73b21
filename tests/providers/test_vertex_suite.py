"""The conformance suite of providers, run on Vertex AI over HTTP and objects, and on the fake itself."""

from __future__ import annotations

from contextlib import contextmanager

from overnight.blobs.objects import google_bucket
from overnight.providers.google_access import google_access
from overnight.providers.vertex import VertexProvider
from overnight.testing.provider_suite import ProviderSuite
from overnight.testing.vertex_direct import DirectVertex
from overnight.testing.vertex_fake import BUCKET, LOCATION, PROJECT, TOKEN, FakeVertex, Quirks
from overnight.testing.vertex_server import serving
from overnight.types import Endpoint, FileId
from tests.providers.worlds import a_world, no_sleep, web_page

SPOKEN = {
    "dialect": "vertex",
    "endpoint": Endpoint.GENERATE,
    "no_file": FileId(f"gs://{BUCKET}/none/"),
}


def contents(fake):
    """Every object, and for every folder of predictions all of its files, one after the other."""
    found = dict(fake.stored)
    for name in sorted(fake.stored):
        folder, _, file = name.rpartition("/")
        if file.startswith("prediction"):
            found[f"{folder}/"] = found.get(f"{folder}/", b"") + fake.stored[name]
    return found


def vertex(url, storage, token=TOKEN):
    access = google_access(token)
    return VertexProvider(
        access,
        lambda bucket: google_bucket(bucket, storage, access.token),
        BUCKET,
        "jobs/",
        project=PROJECT,
        location=LOCATION,
        base_url=url,
        sleep=no_sleep,
    )


class TestOverHttp(ProviderSuite):
    quirks = Quirks()

    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeVertex(lambda: time[0], self.quirks)
        with serving(fake) as url, web_page() as page:
            yield a_world(
                fake,
                time,
                lambda: vertex(url, url),
                lambda: vertex(url, url, "wrong-key"),
                lambda: contents(fake),
                "read",
                html=lambda: vertex(page, page),
                **SPOKEN,
            )


class TestOverHttpWithManyFilesInAnyOrder(TestOverHttp):
    quirks = Quirks(shuffled=True, files=3, no_total=True, list_lag=0.0, queue=60.0)


class TestDirect(ProviderSuite):
    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeVertex(lambda: time[0])
        yield a_world(
            fake,
            time,
            lambda: DirectVertex(fake),
            lambda: DirectVertex(fake, "wrong-key"),
            lambda: contents(fake),
            "read",
            retries_downloads=False,
            **SPOKEN,
        )
