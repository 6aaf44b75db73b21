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
    kept: str  # how long answers can be downloaded, for people
    queue: str  # what else is limited, for people
    price: str  # of batches beside real time, for people
    notes: tuple[str, ...] = ()
    small: str | None = None  # a cheap model that every account has
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


LOST: Final[Mapping[Proof, str]] = {
    "tag": "by our mark on the batch, in a complete list: exact",
    "file": "by the input file it was made of, in a complete list: exact",
    "count": "by its number of requests and its time: probable; exact by its first answer, once it is over; "
    "held where several fit",
}
"""How a submission whose answer was lost is found, and how sure that is, by what proves it."""
UNVERIFIED: Final = "as at OpenAI; unverified"

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
    kept="30 days",
    queue="2,000 batches made an hour; enqueued prompt tokens by model and tier",
    price="half; input from the cache is halved as well from gpt-5 on",
    small="gpt-5.4-mini",
    organization="OPENAI_ORG_ID",
    project="OPENAI_PROJECT_ID",
)
_KIN: Final = replace(_OPENAI, small=None, organization=None, project=None)
"""An API made after OpenAI's."""
_OURS: Final = replace(
    _KIN,
    kinds=_OWN_KINDS,
    keys=(),
    base_urls=(),
    base_url=None,
    own=True,
    expired="finished rows are kept, the rest can be sent again",
    canceled="finished rows are kept, the rest can be sent again",
    kept="until they are deleted",
    queue="the machine",
    price="nothing is billed",
)
"""Our own server."""

PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider
    for provider in (
        _OPENAI,
        Provider(
            name="anthropic",
            small="claude-haiku-4-5",
            dialect="anthropic",
            keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
            base_urls=("ANTHROPIC_BASE_URL",),
            base_url="https://api.anthropic.com",
            kinds=("chat",),
            limits=Limits(rows=100_000, size=240_000_000, window=DAY, creates_per_hour=None, retention=29 * DAY),
            proof="count",
            expired="finished rows are kept and paid, the rest can be sent again",
            canceled="finished rows are kept and paid, the rest can be sent again",
            kept="29 days from the creation of the batch",
            queue="queued requests by tier",
            price="half, on everything; cache multipliers apply to that",
            notes=(
                "a fresh batch may be unknown for seconds, its counters may stay 0 until the end",
                "files do not exist: the requests go with the call that makes the batch",
            ),
        ),
        Provider(
            name="gemini",
            small="gemini-2.5-flash",
            dialect="gemini",
            keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            base_urls=("GOOGLE_GEMINI_BASE_URL",),
            base_url="https://generativelanguage.googleapis.com",
            kinds=("chat", "embeddings"),
            limits=Limits(rows=1_000_000, size=1_900_000_000, window=2 * DAY, creates_per_hour=None, retention=None),
            proof="tag",
            expired="nothing is given back: all rows would be bought again",
            canceled="best effort: finished rows may be lost",
            kept="not stated; gone with the batch's record",
            queue="100 batches at once; enqueued tokens by model and tier; 20 GB of files",
            price="half; what is read from the cache not always",
            notes=("a batch may be stuck for a day and expire as a whole at 48 h",),
            keeps_expired=False,
            keeps_canceled=False,
        ),
        Provider(
            name="vertex",
            small="gemini-2.5-flash",
            dialect="vertex",
            keys=("CLOUDSDK_AUTH_ACCESS_TOKEN",),  # not needed: there are application default credentials
            base_urls=("GOOGLE_VERTEX_BASE_URL",),
            base_url=None,
            kinds=("chat",),
            limits=Limits(rows=200_000, size=950_000_000, window=4 * DAY, creates_per_hour=None, retention=None),
            proof="tag",
            expired="finished rows are exported and paid; after 72 h in the queue nothing has run",
            canceled="finished rows are exported and paid",
            kept="as long as you keep them: they are in your bucket",
            queue="none of its own: a pool is shared",
            price="half; what is read from the cache has the cache's discount instead",
            notes=("up to 72 h in the queue, then 24 h to run",),
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
            canceled="finished rows are kept and paid",
            expires=False,
            kept="until they are deleted; 500 batch files an account, 10,000 with an expiry",
            queue="enqueued tokens by kind of subscription",
            price="half, for models that have a batch deployment",
            notes=(
                "the model is the name of a GlobalBatch or DataZoneBatch deployment",
                "the mark is exact where your version of the API gives metadata back",
            ),
        ),
        replace(
            _KIN,
            name="mistral",
            small="mistral-small-latest",
            keys=("MISTRAL_API_KEY",),
            base_urls=("MISTRAL_BASE_URL",),
            base_url="https://api.mistral.ai/v1",
            kinds=("chat", "embeddings", "moderations"),
            limits=Limits(rows=1_000_000, size=480_000_000, window=DAY, creates_per_hour=None, retention=None),
            expired="finished rows are kept; unverified",
            canceled="finished rows are kept and paid",
            kept="they do not expire",
            queue="1,000,000 requests pending in a workspace",
            price="half",
            notes=("up to 168 h can be asked for: hours under [providers.mistral] of the settings",),
        ),
        replace(
            _KIN,
            name="groq",
            small="openai/gpt-oss-20b",
            keys=("GROQ_API_KEY",),
            base_urls=("GROQ_BASE_URL",),
            base_url="https://api.groq.com/openai/v1",
            kinds=("chat",),
            limits=Limits(rows=50_000, size=95_000_000, window=DAY, creates_per_hour=None, retention=None),
            expired=UNVERIFIED,
            canceled=UNVERIFIED,
            kept="not known",
            queue="a pool apart from real time",
            price="half, where the price list has a batch price",
            notes=("newer pages say 200 MB a file: bytes under [providers.groq] of the settings",),
        ),
        replace(
            _KIN,
            name="together",
            small="meta-llama/Llama-3.3-70B-Instruct-Turbo",
            keys=("TOGETHER_API_KEY",),
            base_urls=("TOGETHER_BASE_URL",),
            base_url="https://api.together.ai/v1",
            kinds=("chat",),
            limits=Limits(rows=50_000, size=95_000_000, window=DAY, creates_per_hour=None, retention=None),
            proof="file",
            expired=UNVERIFIED,
            canceled=UNVERIFIED,
            kept="not stated",
            queue="30 billion enqueued tokens a model",
            price="half for two models only, full for the rest",
            notes=("its batches have no counters: progress is told by time",),
        ),
        replace(_OURS, name="local", small="smollm2"),
        replace(_OURS, name="fake", small="echo"),
    )
}
