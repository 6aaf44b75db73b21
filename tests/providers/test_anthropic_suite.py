"""The provider's conformance suite on Anthropic, over HTTP and without."""

from contextlib import contextmanager

from overnight.providers.anthropic import AnthropicProvider
from overnight.testing.anthropic_direct import DirectAnthropic
from overnight.testing.anthropic_fake import KEY, FakeAnthropic, Quirks
from overnight.testing.anthropic_server import serving
from overnight.testing.provider_suite import ProviderSuite
from overnight.types import Endpoint, FileId
from tests.providers.worlds import a_world, no_sleep, web_page

START = 1_800_000_000.0
FACTS = {
    "downloads": "results",
    "dialect": "anthropic",
    "endpoint": Endpoint.MESSAGES,
    "files": False,
    "no_file": FileId("results:msgbatch_none"),
}


def contents_of(fake):
    return lambda: {f"results:{batch.id}": b"".join(reversed(batch.lines)) for batch in fake.made.values()}


class TestOverHttp(ProviderSuite):
    quirks = Quirks()

    def provider(self, key, url, now):
        return AnthropicProvider(key, url, sleep=no_sleep, now=now)

    @contextmanager
    def world(self):
        time = [START]
        fake = FakeAnthropic(lambda: time[0], self.quirks)
        with serving(fake) as url, web_page() as page:
            yield a_world(
                fake,
                time,
                lambda: self.provider(KEY, url, fake.now),
                lambda: self.provider("wrong-key", url, fake.now),
                contents_of(fake),
                html=lambda: self.provider(KEY, page, fake.now),
                **FACTS,
            )


class TestOverHttpOfAnApiThatNamesNoAccount(TestOverHttp):
    quirks = Quirks(names_account=False, cut_cleanly=True, foreign_url=True, counters_move=True, cancel_refused=False)

    def provider(self, key, url, now):
        betas = ("output-300k-2026-03-24",)
        return AnthropicProvider(
            key, f"{url}/v1", bearer=True, version="2026-10-21", betas=betas, sleep=no_sleep, now=now
        )


class TestDirect(ProviderSuite):
    @contextmanager
    def world(self):
        time = [START]
        fake = FakeAnthropic(lambda: time[0])
        yield a_world(
            fake,
            time,
            lambda: DirectAnthropic(fake),
            lambda: DirectAnthropic(fake, "wrong-key"),
            contents_of(fake),
            retries_downloads=False,
            **FACTS,
        )
