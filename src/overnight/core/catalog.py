"""The catalogue of providers: what each batch API takes, promises and does not, as far as it is known.

Sources: contracts of the providers as of November 2026 (their documentation, SDKs, and what was seen on live services).
What nobody has seen is said to be unverified, and nothing relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from overnight.types import Limits, Proof

HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `keys` are the variables that may hold its key, the first that is set counts, likewise `base_urls`;
    `kinds` the job kinds of a spec that its batches take, the first is the default; `like` the provider of this
    catalogue whose API it speaks, for one that the settings add."""

    name: str
    dialect: str
    keys: tuple[str, ...]
    base_urls: tuple[str, ...]  # variables that may hold its base URL
    base_url: str | None
    kinds: tuple[str, ...]
    limits: Limits
    proof: Proof
    expired: str  # what is left of a batch that expired, for people
    canceled: str  # of one that was canceled
    expires: bool = True
    keeps_expired: bool = True  # finished rows of an expired batch can be had
    keeps_canceled: bool = True
    extra: str | None = None  # the extra of the package that it needs
    like: str | None = None
    organization: str | None = None  # variable that names the organisation
    project: str | None = None  # variable that names the project
    location: str | None = None  # variable that names the place where it runs
    storage: str | None = None  # variable that may hold the base URL of the service that keeps its files
    version: str | None = None  # variable that names the version of the API
    own: bool = False  # our own server, started as a child

    @property
    def speaks(self) -> str:
        """The provider of this catalogue whose API it speaks."""
        return self.like or self.name

    @property
    def can_be_like(self) -> bool:
        """Whether other services may have the same API: reached by base URL and key, and nothing else."""
        return not self.own and self.location is None


_OPENAI_KINDS: Final = (
    "chat",
    "responses",
    "embeddings",
    "moderations",
    "completions",
    "images",
    "image_edits",
)
_OWN_KINDS: Final = ("chat", "responses", "embeddings")
_OPENAI: Final = Provider(
    name="openai",
    dialect="openai",
    keys=("OPENAI_API_KEY",),
    base_urls=("OPENAI_BASE_URL",),
    base_url="https://api.openai.com/v1",
    kinds=_OPENAI_KINDS,
    # OpenAI takes 209,715,200 bytes a file; the margin is for what else counts.
    limits=Limits(rows=50_000, size=190_000_000, window=DAY, creates_per_hour=2_000, retention=30 * DAY),
    proof="tag",
    expired="finished rows are kept and paid, the rest can be sent again",
    canceled="finished rows are kept and paid as a rule; some were seen lost",
    organization="OPENAI_ORG_ID",
    project="OPENAI_PROJECT_ID",
)
_KIN: Final = replace(_OPENAI, organization=None, project=None)
"""An API made after OpenAI's."""

PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider
    for provider in (
        _OPENAI,
        Provider(
            name="anthropic",
            dialect="anthropic",
            keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
            base_urls=("ANTHROPIC_BASE_URL",),
            base_url="https://api.anthropic.com",
            kinds=("chat",),
            limits=Limits(rows=100_000, size=240_000_000, window=DAY, creates_per_hour=None, retention=29 * DAY),
            proof="count",
            expired="finished rows are kept and paid, the rest can be sent again",
            canceled="finished rows are kept and paid, the rest can be sent again",
        ),
        Provider(
            name="gemini",
            dialect="gemini",
            keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            base_urls=("GOOGLE_GEMINI_BASE_URL",),
            base_url="https://generativelanguage.googleapis.com",
            kinds=("chat", "embeddings"),
            limits=Limits(rows=1_000_000, size=1_900_000_000, window=2 * DAY, creates_per_hour=None, retention=None),
            proof="tag",
            expired="nothing is given back: all rows would be bought again",
            canceled="best effort: finished rows may be lost",
            keeps_expired=False,
            keeps_canceled=False,
        ),
        Provider(
            name="vertex",
            dialect="vertex",
            keys=("CLOUDSDK_AUTH_ACCESS_TOKEN",),  # not needed: there are application default credentials
            base_urls=("GOOGLE_VERTEX_BASE_URL",),
            base_url=None,
            kinds=("chat",),
            limits=Limits(rows=200_000, size=950_000_000, window=4 * DAY, creates_per_hour=None, retention=None),
            proof="tag",
            expired="finished rows are exported and paid; after 72 h in the queue nothing has run",
            canceled="finished rows are exported and paid",
            extra="vertex",
            project="GOOGLE_CLOUD_PROJECT",
            location="GOOGLE_CLOUD_LOCATION",
            storage="STORAGE_EMULATOR_HOST",
        ),
        replace(
            _KIN,
            name="azure",
            keys=("AZURE_OPENAI_API_KEY",),
            base_urls=("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"),
            base_url=None,
            version="OPENAI_API_VERSION",
            kinds=("chat", "responses"),
            limits=Limits(rows=100_000, size=190_000_000, window=DAY, creates_per_hour=None, retention=None),
            expired="does not expire: it runs on after its 24 h",
            expires=False,
        ),
        replace(
            _KIN,
            name="mistral",
            keys=("MISTRAL_API_KEY",),
            base_urls=("MISTRAL_BASE_URL",),
            base_url="https://api.mistral.ai/v1",
            kinds=("chat", "embeddings", "moderations"),
            limits=Limits(rows=1_000_000, size=480_000_000, window=DAY, creates_per_hour=None, retention=None),
            canceled="finished rows are kept and paid",
        ),
        replace(
            _KIN,
            name="groq",
            keys=("GROQ_API_KEY",),
            base_urls=("GROQ_BASE_URL",),
            base_url="https://api.groq.com/openai/v1",
            kinds=("chat",),
            limits=Limits(rows=50_000, size=95_000_000, window=DAY, creates_per_hour=None, retention=None),
            expired="as at OpenAI; unverified",
            canceled="as at OpenAI; unverified",
        ),
        replace(
            _KIN,
            name="together",
            keys=("TOGETHER_API_KEY",),
            base_urls=("TOGETHER_BASE_URL",),
            base_url="https://api.together.ai/v1",
            kinds=("chat",),
            limits=Limits(rows=50_000, size=95_000_000, window=DAY, creates_per_hour=None, retention=None),
            proof="file",
            expired="as at OpenAI; unverified",
            canceled="as at OpenAI; unverified",
        ),
        replace(_KIN, name="local", kinds=_OWN_KINDS, keys=(), base_urls=(), base_url=None, own=True),
        replace(_KIN, name="fake", kinds=_OWN_KINDS, keys=(), base_urls=(), base_url=None, own=True),
    )
}
