"""Model families: what each takes, as far as it is certain. The rest passes and is left to the provider.

Sources: OpenAI's guides for reasoning models, the latest model and deployment; Anthropic's for models, adaptive
thinking and migration; Google's for models and thinking (as of November 2026); their answers to refused parameters.
Models behind another base URL belong to no family.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

HOSTS: Final = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
    "vertex": "googleapis.com",
    "azure": "azure.com",
    "mistral": "api.mistral.ai",
    "groq": "api.groq.com",
    "together": "api.together.ai",
}


class Thinking(Enum):
    """Whether a family spends output tokens on reasoning before it answers."""

    NEVER = "never"
    OFF = "off"  # unless `reasoning_effort` asks for it
    UNSURE = "unsure"  # it can; whether it does by default is not known
    ON = "on"  # unless `reasoning_effort: none`
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Family:
    """A group of models with the same rules. `longest`: output tokens that every model of it takes."""

    name: str
    thinking: Thinking
    limit_name: str  # field of chat completions that limits the output
    longest: int = 16_384
    refused: frozenset[str] = frozenset()  # parameters refused whatever else is set
    samples: bool = False  # takes parameters of sampling even while it reasons


_NO_EFFORT: Final = frozenset({"reasoning_effort"})
GENERIC: Final = Family("of another server", Thinking.NEVER, "max_tokens")
UNKNOWN: Final = Family("of no known family", Thinking.UNSURE, "max_completion_tokens")
MISTRAL: Final = Family(
    "of Mistral",
    Thinking.NEVER,
    "max_tokens",
    refused=frozenset({"seed", "logprobs", "top_logprobs", "logit_bias", "user", "dimensions"}),
)
"""Has other names for some of them: `random_seed`, `output_dimension`."""
EMBEDDING: Final = Family("text-embedding", Thinking.NEVER, "max_tokens")
ADA: Final = Family("text-embedding-ada-002", Thinking.NEVER, "max_tokens", refused=frozenset({"dimensions"}))
OLD: Final = Family("gpt-3.5 and gpt-4", Thinking.NEVER, "max_tokens", longest=4_096, refused=_NO_EFFORT)
GPT_4O: Final = Family("gpt-4o and gpt-4.1", Thinking.NEVER, "max_tokens", refused=_NO_EFFORT)
O_SERIES: Final = Family("o-series", Thinking.ALWAYS, "max_completion_tokens", 65_536)
GPT_5: Final = Family("gpt-5", Thinking.ALWAYS, "max_completion_tokens", 128_000)
GPT_5_CHAT: Final = Family("gpt-5-chat", Thinking.NEVER, "max_completion_tokens", refused=_NO_EFFORT)
GPT_5_OFF: Final = Family("gpt-5.1, 5.2 and 5.4", Thinking.OFF, "max_completion_tokens", 128_000)
GPT_5_LATER: Final = Family("later gpt-5", Thinking.UNSURE, "max_completion_tokens", 128_000)
GPT_6: Final = Family("gpt-6 and later", Thinking.ON, "max_completion_tokens", 128_000)

_NO_SAMPLING: Final = frozenset({"temperature", "top_p", "top_k"})
CLAUDE_3: Final = Family("claude-3", Thinking.NEVER, "max_tokens", 4_096, _NO_EFFORT)
CLAUDE_4: Final = Family("claude up to 4.1", Thinking.OFF, "max_tokens", 32_000)
CLAUDE_4_5: Final = Family("claude-4.5", Thinking.OFF, "max_tokens", 64_000)
CLAUDE_4_6: Final = Family("claude-4.6", Thinking.OFF, "max_tokens", 128_000)
CLAUDE_4_7: Final = Family("claude 4.7 and 4.8", Thinking.OFF, "max_tokens", 128_000, _NO_SAMPLING)
CLAUDE_5: Final = Family("claude-5", Thinking.UNSURE, "max_tokens", 128_000, _NO_SAMPLING)
CLAUDE_THINKING: Final = Family("claude that always thinks", Thinking.ALWAYS, "max_tokens", 128_000, _NO_SAMPLING)

GEMINI_2: Final = Family("gemini up to 2.0", Thinking.NEVER, "max_tokens", 8_192, _NO_EFFORT)
GEMINI_LITE: Final = Family("gemini-2.5-flash-lite", Thinking.OFF, "max_tokens", 65_536, samples=True)
GEMINI_FLASH: Final = Family("gemini-2.5-flash", Thinking.ON, "max_tokens", 65_536, samples=True)
GEMINI_PRO: Final = Family("gemini-2.5-pro", Thinking.ALWAYS, "max_tokens", 65_536, samples=True)
GEMINI_3: Final = Family("gemini-3 and later", Thinking.ALWAYS, "max_tokens", 65_536, samples=True)

_GEMINI = re.compile(r"gemini-(\d+)(?:\.(\d+))?(?:-(.+))?")
_CLAUDE = re.compile(r"claude-([a-z]+)-(\d+)(?:-(\d{1,2}))?(?:-.*)?")
_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(o?)(?:-(.+))?")
_O = re.compile(r"o\d+(?:-.+)?")
_OFF_BY_DEFAULT = frozenset({1, 2, 4})  # minor versions of gpt-5 whose effort is `none` when not set


def official(provider: str, base_url: str | None) -> bool:
    """Whether requests go to the provider itself (its regional hosts included), of those whose models are known."""
    host = HOSTS.get(provider)
    if host is None or base_url is None:
        return host is not None
    given = base_url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
    return given == host or given.endswith("." + host)


def family(provider: str, model: str, base_url: str | None = None) -> Family:
    """The family of a model, by its name; fine-tuned models belong to the model they were made of. A deployment of
    Azure is taken for the model that it is named after."""
    if not official(provider, base_url) or provider in {"groq", "together"}:
        return GENERIC
    if provider == "mistral":
        return MISTRAL
    if provider == "anthropic":
        return _claude(model)
    if provider in {"gemini", "vertex"}:
        return _gemini(model.rpartition("/")[2])
    name = model.removeprefix("ft:").partition(":")[0]
    if name.startswith("text-embedding-"):
        return ADA if name.startswith("text-embedding-ada") else EMBEDDING
    if _O.fullmatch(name):
        return O_SERIES
    matched = _GPT.fullmatch(name)
    if matched is None:
        return UNKNOWN
    major, minor, omni, variant = int(matched[1]), int(matched[2] or 0), bool(matched[3]), matched[4] or ""
    if major <= 4:
        return GPT_4O if omni or (major, minor) >= (4, 1) else OLD
    return GPT_6 if major > 5 else _gpt_5(minor, variant)


def _gpt_5(minor: int, variant: str) -> Family:
    if variant.startswith("chat"):
        return GPT_5_CHAT if minor == 0 else GPT_5_LATER
    if minor == 0 or variant.startswith(("pro", "codex")):
        return GPT_5
    return GPT_5_OFF if minor in _OFF_BY_DEFAULT else GPT_5_LATER


def _gemini(model: str) -> Family:
    """By the version; a name without one (`gemini-flash-latest`) is that of a late model."""
    if "embedding" in model:
        return EMBEDDING
    matched = _GEMINI.fullmatch(model)
    if matched is None:
        return GEMINI_3
    version, variant = (int(matched[1]), int(matched[2] or 0)), matched[3] or ""
    if version >= (3, 0):
        return GEMINI_3
    if version < (2, 5):
        return GEMINI_2
    if variant.startswith("flash-lite"):
        return GEMINI_LITE
    return GEMINI_PRO if variant.startswith("pro") else GEMINI_FLASH


def _claude(model: str) -> Family:
    matched = _CLAUDE.fullmatch(model)
    if matched is None:
        return CLAUDE_3 if model.startswith("claude-3") else CLAUDE_THINKING if "mythos" in model else CLAUDE_5
    line, version = matched[1], (int(matched[2]), int(matched[3] or 0))
    if line in {"fable", "mythos"} or (line == "opus" and version >= (5, 5)):
        return CLAUDE_THINKING
    if version >= (5, 0):
        return CLAUDE_5
    if version >= (4, 7):
        return CLAUDE_4_7
    return CLAUDE_4_6 if version == (4, 6) else CLAUDE_4_5 if version == (4, 5) else CLAUDE_4
