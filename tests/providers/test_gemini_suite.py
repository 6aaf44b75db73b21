"""The provider's conformance suite on the Gemini API, over HTTP and without."""

from __future__ import annotations

from contextlib import contextmanager

from overnight.providers.gemini import GeminiProvider
from overnight.testing.gemini_direct import DirectGemini
from overnight.testing.gemini_fake import KEY, FakeGemini, Quirks
from overnight.testing.gemini_server import serving
from overnight.testing.provider_suite import ProviderSuite
from overnight.types import Endpoint, FileId
from tests.providers.worlds import a_world, no_sleep, web_page

FACTS = {
    "downloads": "download",
    "dialect": "gemini",
    "endpoint": Endpoint.GENERATE,
    "no_file": FileId("files/none"),
}


def contents_of(fake):
    """Every file, and what batches made."""
    return lambda: {
        **{f"files/{file.id}": file.data for file in fake.stored.values()},
        **{f"files/{id}": data for id, data in fake.results.items()},
    }


class TestOverHttp(ProviderSuite):
    quirks = Quirks()
    version = None

    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeGemini(lambda: time[0], self.quirks)
        with serving(fake) as url, web_page() as page:
            yield a_world(
                fake,
                time,
                lambda: GeminiProvider(KEY, url, version=self.version, sleep=no_sleep),
                lambda: GeminiProvider("wrong-key", url, version=self.version, sleep=no_sleep),
                contents_of(fake),
                html=lambda: GeminiProvider(KEY, page, sleep=no_sleep),
                **FACTS,
            )


class TestOverHttpOfAnotherVersion(TestOverHttp):
    quirks = Quirks(gone=404, cancel_code=1, docs_path_only=True, cut_cleanly=True, shuffled=True, pending=60.0)
    version = "v1"


class TestDirect(ProviderSuite):
    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeGemini(lambda: time[0])
        yield a_world(
            fake,
            time,
            lambda: DirectGemini(fake),
            lambda: DirectGemini(fake, "wrong-key"),
            contents_of(fake),
            retries_downloads=False,
            **FACTS,
        )
