"""The one table of parameters: neutral names in the spec, each endpoint's own names on the wire.

`parameters` of a spec takes the neutral names (`max_output_tokens`, `temperature`, ...) and, for the limit of the
output, each endpoint's own spelling. A name that is not in the table is refused; what stands under `extra` is sent as
it is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from overnight.core.catalog import PROVIDERS
from overnight.core.families import ADA, EMBEDDING, GENERIC, Family, Thinking, family, official
from overnight.errors import UsageError
from overnight.spec import Spec
from overnight.types import Endpoint

LIMIT: Final = "max_output_tokens"
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
LEAST_RESPONSES_LIMIT: Final = 16  # the responses endpoint refuses less
LONGEST_OUTPUT: Final = 128_000  # of any model of Anthropic
LONG_OUTPUT: Final = 300_000  # with the feature of that name, in batches
LONG_OUTPUT_BETA: Final = "output-300k-2026-03-24"

_CHAT, _RESPONSES, _EMBEDDINGS = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.EMBEDDINGS
_MESSAGES, _GENERATE, _EMBED = Endpoint.MESSAGES, Endpoint.GENERATE, Endpoint.EMBED
GENERATING: Final = frozenset({_CHAT, _RESPONSES, _MESSAGES, _GENERATE})
"""Endpoints whose answers are text that a model writes, and whose output is limited."""
_WRITTEN_BY_OPENAI: Final = frozenset({_CHAT, _RESPONSES})
LIMITED: Final = GENERATING | {Endpoint.COMPLETIONS}
"""Endpoints whose output is limited, in tokens."""
_IMAGES: Final = frozenset({Endpoint.IMAGES, Endpoint.IMAGE_EDITS})
_OPENAI: Final = {
    "chat": _CHAT,
    "responses": _RESPONSES,
    "embeddings": _EMBEDDINGS,
    "moderations": Endpoint.MODERATIONS,
    "completions": Endpoint.COMPLETIONS,
    "images": Endpoint.IMAGES,
    "image_edits": Endpoint.IMAGE_EDITS,
}
_ENDPOINTS: Final[Mapping[str, Mapping[str, Endpoint]]] = {
    "openai": _OPENAI,
    "anthropic": {"chat": _MESSAGES},
    "gemini": {"chat": _GENERATE, "embeddings": _EMBED},
    "vertex": {"chat": _GENERATE},
}
_SAMPLING: Final = frozenset(
    {"temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias"}
)
_ALIASES: Final = {"max_tokens": LIMIT, "max_completion_tokens": LIMIT}

Check = Callable[[Any], str | None]
"""None where the value is fine, else what it must be."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where a parameter may stand, and what its value must be."""

    endpoints: frozenset[Endpoint]
    check: Check


def _number(least: float, most: float | None = None, whole: bool = False) -> Check:
    kind = "a whole number" if whole else "a number"
    wanted = f"{kind} of at least {least:g}" if most is None else f"{kind} from {least:g} to {most:g}"

    def check(value: Any) -> str | None:
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        return None if fits and value >= least and (most is None or value <= most) else wanted

    return check


def _of_type(kind: type, wanted: str) -> Check:
    return lambda value: None if isinstance(value, kind) else wanted


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"one of {', '.join(words)}"


def _stop(value: Any) -> str | None:
    texts = value if isinstance(value, list | tuple) else [value]
    fits = 1 <= len(texts) <= 4 and all(isinstance(text, str) and text for text in texts)
    return None if fits else "a text, or a list of one to four texts"


def _whole(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"


_text = _of_type(str, "text")
_switch = _of_type(bool, "true or false")
_mapping = _of_type(dict, "a mapping")
_list = _of_type(list, "a list")
_anything: Check = lambda value: None  # noqa: E731

TABLE: Final[Mapping[str, Parameter]] = {
    LIMIT: Parameter(LIMITED, _number(1, whole=True)),
    "temperature": Parameter(LIMITED, _number(0, 2)),
    "top_p": Parameter(LIMITED, _number(0, 1)),
    "top_k": Parameter(frozenset({_MESSAGES, _GENERATE}), _number(1, whole=True)),
    "seed": Parameter(frozenset({_CHAT, Endpoint.COMPLETIONS, _GENERATE}), _whole),
    "stop": Parameter(frozenset({_CHAT, Endpoint.COMPLETIONS, _MESSAGES, _GENERATE}), _stop),
    "presence_penalty": Parameter(frozenset({_CHAT, Endpoint.COMPLETIONS, _GENERATE}), _number(-2, 2)),
    "frequency_penalty": Parameter(frozenset({_CHAT, Endpoint.COMPLETIONS, _GENERATE}), _number(-2, 2)),
    "logit_bias": Parameter(frozenset({_CHAT, Endpoint.COMPLETIONS}), _mapping),
    "logprobs": Parameter(GENERATING - {_MESSAGES}, _switch),
    "top_logprobs": Parameter(GENERATING - {_MESSAGES}, _number(0, 20, whole=True)),
    "reasoning_effort": Parameter(GENERATING, _one_of(*EFFORTS)),
    "verbosity": Parameter(_WRITTEN_BY_OPENAI, _one_of("low", "medium", "high")),
    "tools": Parameter(GENERATING, _list),
    "tool_choice": Parameter(GENERATING, _anything),
    "parallel_tool_calls": Parameter(GENERATING - {_GENERATE}, _switch),
    "store": Parameter(_WRITTEN_BY_OPENAI, _switch),
    "metadata": Parameter(_WRITTEN_BY_OPENAI, _mapping),
    "prompt_cache_key": Parameter(_WRITTEN_BY_OPENAI, _text),
    "safety_identifier": Parameter(GENERATING - {_GENERATE}, _text),
    "truncation": Parameter(frozenset({_RESPONSES}), _one_of("auto", "disabled")),
    "dimensions": Parameter(frozenset({_EMBEDDINGS, _EMBED}), _number(1, whole=True)),
    "size": Parameter(_IMAGES, _text),
    "quality": Parameter(_IMAGES, _text),
    "background": Parameter(_IMAGES, _one_of("auto", "transparent", "opaque")),
    "output_format": Parameter(_IMAGES, _one_of("png", "jpeg", "webp")),
    "output_compression": Parameter(_IMAGES, _number(0, 100, whole=True)),
    "moderation": Parameter(_IMAGES, _one_of("auto", "low")),
    "input_fidelity": Parameter(frozenset({Endpoint.IMAGE_EDITS}), _one_of("high", "low")),
    "user": Parameter(frozenset({*_OPENAI.values(), _MESSAGES}), _text),
}

_REFUSED: Final = {
    "model": "set `model` of the spec",
    "messages": "set `prompt` of the spec",
    "input": "set `prompt` of the spec",
    "instructions": "set `prompt.system` of the spec",
    "response_format": "set `answer` of the spec",
    "text": "set `answer` of the spec (and `verbosity` here)",
    "service_tier": "batches have one tier: leave it out",
    "encoding_format": "overnight chooses it: leave it out",
    "images": "set `prompt.images` of the spec",
}
"""Fields of a request that something else of the spec stands for."""


def endpoint_of(spec: Spec, provider: str) -> Endpoint:
    """The endpoint of the spec's job kind at the provider; chat where it names none. Raises `UsageError` for a kind
    that the provider's batches do not have."""
    known, kind = PROVIDERS[provider], spec.endpoint or "chat"
    if kind not in known.kinds:
        raise UsageError(f"`endpoint`: batches of {provider} have no {kind}; they have {', '.join(known.kinds)}")
    return _ENDPOINTS[known.dialect][kind]


def checked(spec: Spec, provider: str, model: str, base_url: str | None = None) -> dict[str, Any]:
    """`spec.parameters` under their neutral names, without `extra`, the log probabilities of `with: [logprobs]` added.
    Raises `UsageError` for a name that is not known, a value out of range, and what endpoint or model family refuse."""
    endpoint, kind = endpoint_of(spec, provider), family(provider, model, base_url)
    if kind in {EMBEDDING, ADA} and endpoint in GENERATING:
        raise UsageError(f"`endpoint`: model {model} makes embeddings; set `endpoint: embeddings`")
    given: dict[str, Any] = {}
    for name, value in spec.parameters.items():
        if name == "extra":
            _require(name, _mapping(value))
            continue
        for neutral, plain in _neutral(name, value):
            if neutral in given:
                raise UsageError(f"`parameters.{name}`: `{neutral}` is given twice; keep one of them")
            _check(neutral, plain, name, endpoint)
            given[neutral] = plain
    if "logprobs" in spec.extra and endpoint in GENERATING - TABLE["logprobs"].endpoints:
        raise UsageError(f"`with`: {endpoint.value} gives no log probabilities; leave logprobs out")
    if "logprobs" in spec.extra and endpoint in GENERATING:
        given.setdefault("logprobs", True)
    _family_takes(given, kind, model)
    _api_has(spec, provider)
    if PROVIDERS[provider].dialect == "anthropic" and kind is not GENERIC:
        _messages_take(given, spec)
    if official(provider, base_url) and endpoint is _RESPONSES and given.get(LIMIT, 16) < LEAST_RESPONSES_LIMIT:
        raise UsageError(f"`parameters.{LIMIT}`: /v1/responses takes {LEAST_RESPONSES_LIMIT} or more")
    return given


def sent(spec: Spec, provider: str, model: str, base_url: str | None = None) -> dict[str, Any]:
    """The parameters of a request under their neutral names (`wire.conversation.Asked.parameters`): without the limit
    of the output, which `core.limits.output_limit` has."""
    given = checked(spec, provider, model, base_url)
    given.pop(LIMIT, None)
    return given


def _neutral(name: str, value: Any) -> list[tuple[str, Any]]:
    if name == "reasoning" and isinstance(value, dict) and value.keys() == {"effort"}:
        return [("reasoning_effort", value["effort"])]
    if name in {"stream", "n"} and (value is False or (name == "n" and value == 1)):
        return []  # what a batch does anyway
    if name == "stream":
        raise UsageError("`parameters.stream`: a batch cannot stream; leave it out")
    if name == "n":
        raise UsageError("`parameters.n`: a row has one answer; leave it out")
    if name in _REFUSED:
        raise UsageError(f"`parameters.{name}`: {_REFUSED[name]}")
    return [(_ALIASES.get(name, name), value)]


def _check(neutral: str, value: Any, written: str, endpoint: Endpoint) -> None:
    known = TABLE.get(neutral)
    if known is None:
        guess = difflib.get_close_matches(neutral, [*TABLE, *_ALIASES], n=1)
        hint = f"did you mean `{guess[0]}`?" if guess else f"known: {', '.join(sorted(TABLE))}"
        raise UsageError(
            f"`parameters.{written}`: unknown parameter; {hint} (what stands under `parameters.extra` is sent as it is)"
        )
    if endpoint not in known.endpoints:
        raise UsageError(f"`parameters.{written}`: {endpoint.value} does not take it; leave it out")
    _require(written, known.check(value))


def _require(name: str, wanted: str | None) -> None:
    if wanted is not None:
        raise UsageError(f"`parameters.{name}`: must be {wanted}")


def _family_takes(given: Mapping[str, Any], kind: Family, model: str) -> None:
    if kind.thinking is Thinking.ALWAYS and given.get("reasoning_effort") == "none":
        raise UsageError(f"`parameters.reasoning_effort`: model {model} ({kind.name}) always reasons; name an effort")
    for name in given:
        if name in kind.refused:
            raise UsageError(f"`parameters.{name}`: model {model} ({kind.name}) does not take it; leave it out")
        if name in _SAMPLING and not kind.samples and _thinks(kind, given.get("reasoning_effort")):
            remedy = "leave it out"
            if kind.thinking is not Thinking.ALWAYS:
                remedy += " or set `reasoning_effort: none`"
            raise UsageError(
                f"`parameters.{name}`: model {model} ({kind.name}) does not take it while it reasons; {remedy}"
            )


def _api_has(spec: Spec, provider: str) -> None:
    """Features and versions that an API can be asked for."""
    dialect = PROVIDERS[provider].dialect
    for name, having in (("betas", {"anthropic"}), ("api_version", {"anthropic", "gemini", "azure"})):
        if getattr(spec, name) and having.isdisjoint({dialect, provider}):
            raise UsageError(f"`{name}`: the API of {provider} has no such thing; leave it out")
    if dialect == "gemini" and spec.api_version and not re.fullmatch(r"v\d+(alpha|beta)?", spec.api_version):
        raise UsageError(f"`api_version`: {provider} has versions like v1 and v1beta")


def _messages_take(given: Mapping[str, Any], spec: Spec) -> None:
    """What Anthropic takes of any of its models."""
    most = LONG_OUTPUT if LONG_OUTPUT_BETA in spec.betas else LONGEST_OUTPUT
    if given.get(LIMIT, 0) > most:
        more = "" if most == LONG_OUTPUT else f", and {LONG_OUTPUT:,} with `betas: [{LONG_OUTPUT_BETA}]`"
        raise UsageError(f"`parameters.{LIMIT}`: no model of Anthropic writes more than {most:,} tokens{more}")
    if {"temperature", "top_p"} <= given.keys():
        raise UsageError("`parameters.top_p`: models of Anthropic take it or `temperature`; leave one of them out")


def _thinks(kind: Family, effort: str | None) -> bool:
    """Whether the model certainly reasons."""
    match kind.thinking:
        case Thinking.ALWAYS:
            return True
        case Thinking.NEVER:
            return False
        case Thinking.ON:
            return effort != "none"
        case Thinking.OFF | Thinking.UNSURE:
            return effort not in {None, "none"}
