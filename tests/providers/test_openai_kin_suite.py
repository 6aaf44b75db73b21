"""The provider's conformance suite on Azure, Mistral, Groq and Together, over HTTP."""

from contextlib import contextmanager
from typing import ClassVar

from overnight.providers.azure import AzureProvider, DatedAzureProvider
from overnight.providers.groq import GroqProvider
from overnight.providers.mistral import MistralProvider
from overnight.providers.together import TogetherProvider
from overnight.testing.openai_fake import KEY, FakeOpenAI, Quirks
from overnight.testing.openai_flavours import FLAVOURS
from overnight.testing.openai_server import serving
from overnight.testing.provider_suite import ProviderSuite
from tests.providers.worlds import a_world, no_sleep, web_page


class OfAFlavour(ProviderSuite):
    flavour: str
    made: type
    more: ClassVar[dict[str, str]] = {}
    counts = True

    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeOpenAI(lambda: time[0], Quirks(), flavour=FLAVOURS[self.flavour])
        line = self.made.line

        def stored(data):
            return data if line is None else b"".join(map(line, data.splitlines(keepends=True)))

        def opened(key, url):
            return self.made(key, url, name=self.flavour, sleep=no_sleep, **self.more)

        with serving(fake) as url, web_page() as page:
            yield a_world(
                fake,
                time,
                lambda: opened(KEY, url),
                lambda: opened("wrong-key", url),
                lambda: {file.id: file.data for file in fake.stored.values()},
                html=lambda: opened(KEY, page),
                stored=stored,
                counts=self.counts,
            )


class TestAzure(OfAFlavour):
    flavour, made = "azure", AzureProvider


class TestAzureOfADate(OfAFlavour):
    flavour, made, more = "azure, dated", DatedAzureProvider, {"version": "2025-03-01-preview"}


class TestAzureWithoutCounts(OfAFlavour):
    flavour, made, more, counts = "azure, value", DatedAzureProvider, {"version": "2024-10-21"}, False


class TestMistral(OfAFlavour):
    flavour, made = "mistral", MistralProvider


class TestGroq(OfAFlavour):
    flavour, made = "groq", GroqProvider


class TestTogether(OfAFlavour):
    flavour, made, counts = "together", TogetherProvider, False


del OfAFlavour
