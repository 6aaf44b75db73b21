"""The provider's conformance suite on OpenAI, over HTTP and without."""

from contextlib import contextmanager

from overnight.providers.openai import OpenAIProvider
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.openai_fake import KEY, FakeOpenAI, Quirks
from overnight.testing.openai_server import serving
from overnight.testing.provider_suite import ProviderSuite
from tests.providers.worlds import a_world, no_sleep, web_page


def contents_of(fake):
    return lambda: {file.id: file.data for file in fake.stored.values()}


class TestOverHttp(ProviderSuite):
    quirks = Quirks()

    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeOpenAI(lambda: time[0], self.quirks)
        with serving(fake) as url, web_page() as page:
            yield a_world(
                fake,
                time,
                lambda: OpenAIProvider(KEY, url, sleep=no_sleep),
                lambda: OpenAIProvider("wrong-key", url, sleep=no_sleep),
                contents_of(fake),
                html=lambda: OpenAIProvider(KEY, page, sleep=no_sleep),
            )


class TestOverHttpOfAnApiThatNamesNoAccount(TestOverHttp):
    quirks = Quirks(names_account=False, cut_cleanly=True, empty_ids=True)


class TestDirect(ProviderSuite):
    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeOpenAI(lambda: time[0])
        yield a_world(
            fake,
            time,
            lambda: DirectProvider(fake),
            lambda: DirectProvider(fake, "wrong-key"),
            contents_of(fake),
            retries_downloads=False,
        )
