"""The typed spec of a job: what the user writes as YAML or Python. Structs only; `specfile` reads files.

Every field is described where it stands; the descriptions become the published JSON Schema and the comments of
`overnight init`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

OnBad = Literal["stop", "skip"]
OnEmpty = Literal["skip", "send"]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Common settings: frozen, keyword-only, unknown fields refused, defaults not written out."""


class Example(Struct, frozen=True):
    """One earlier turn shown to the model."""

    user: Annotated[str, Meta(description="What the user said (literal text, not a template).")]
    assistant: Annotated[str, Meta(description="What the assistant answered.")]


class Prompt(Struct, frozen=True):
    """What the model is asked, per row."""

    user: Annotated[str, Meta(description="The request of a row; columns as {{ column }} (Jinja2, sandboxed).")] = ""
    system: Annotated[str | None, Meta(description="System message; a template as well.")] = None
    examples: Annotated[tuple[Example, ...], Meta(description="Earlier turns that show the task.")] = ()
    cache: Annotated[
        bool,
        Meta(
            description="Mark what all rows share (system, examples) for the provider's prompt cache (Anthropic: 1 h)."
        ),
    ] = False
    images: Annotated[
        tuple[str, ...], Meta(description="Images of a row: a path (from the source's folder), URL or data URL each.")
    ] = ()
    documents: Annotated[tuple[str, ...], Meta(description="PDFs of a row, in the same ways.")] = ()


class Answer(Struct, frozen=True):
    """What a good answer is. At most one of `labels` and `schema`; neither: text."""

    labels: Annotated[tuple[str, ...] | None, Meta(description="The answer is exactly one of these.")] = None
    schema: Annotated[
        dict[str, Any] | str | None,
        Meta(description="A JSON Schema (inline, or path of a .json file); its properties become columns."),
    ] = None


class Expect(Struct, frozen=True):
    """What the finished rows should look like; where it does not hold the job is held."""

    rows: Annotated[
        int | tuple[int, int] | None, Meta(description="Number of rows of the source, or [least, most].")
    ] = None
    labels: Annotated[
        dict[str, tuple[float, float]] | None,
        Meta(description="Share of the succeeded rows per label: {label: [least, most]}, 0 to 1."),
    ] = None


class Rows(Struct, frozen=True):
    """What happens to rows that cannot or need not be sent."""

    on_bad: Annotated[OnBad, Meta(description="A record that cannot be read: stop, or skip it.")] = "stop"
    on_empty: Annotated[OnEmpty, Meta(description="All prompt columns empty: skip the row, or send it.")] = "skip"
    expect: Annotated[Expect | None, Meta(description="What must hold, else the job is held.")] = None


class BatchSize(Struct, frozen=True):
    """How rows are cut into batches; unset: from the job's size and the provider's limits."""

    rows: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Most requests in one batch.")] = None
    bytes: Annotated[Annotated[int, Meta(ge=1000)] | None, Meta(description="Most bytes in one batch file.")] = None
    tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Most estimated input tokens in one batch.")
    ] = None
    in_flight: Annotated[int, Meta(ge=1, description="Batches at the provider at the same time.")] = 8


class Brake(Struct, frozen=True):
    """Stops submitting when the rows ended so far fail the same way."""

    after: Annotated[int, Meta(ge=1, description="Judge from this many ended rows on.")] = 20
    share: Annotated[float, Meta(gt=0, le=1, description="Share of rows that failed the same way.")] = 0.5


class Policy(Struct, frozen=True):
    """How failures, waiting and the provider's files are treated."""

    retries: Annotated[int, Meta(ge=0, le=20, description="Further attempts of a row where they can help.")] = 2
    max_paid: Annotated[int, Meta(ge=1, le=50, description="Most attempts of one row that are paid, ever.")] = 4
    brake: Annotated[Brake | None, Meta(description="null: no brake.")] = Brake()
    poll: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Seconds between looks; unset: 5 to 60 by age.")
    ] = None
    visibility: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Seconds after which a batch that was accepted must be listed; unset: 60."),
    ] = None
    fence: Annotated[bool, Meta(description="Delete the input file before a submission is declared absent.")] = True
    exclusive: Annotated[
        bool,
        Meta(
            description="Nobody but this home makes batches in the account's workspace. Where a batch carries no mark "
            "of ours (Anthropic), a lost one is then known by its number of requests, and may be canceled at once."
        ),
    ] = False
    lease: Annotated[float, Meta(ge=1, description="Seconds after which a silent owner of a job is replaced.")] = 60
    follow_up_after: Annotated[
        float, Meta(ge=0, description="Longest wait in seconds before failed rows go out again.")
    ] = 3600
    keep_remote: Annotated[bool, Meta(description="Do not delete our files at the provider in the end.")] = False
    delete_batches: Annotated[
        bool, Meta(description="Delete the records of collected batches as well, where the API can (Anthropic).")
    ] = False
    create_timeout: Annotated[float, Meta(gt=0, description="Seconds a create call may take.")] = 120


class Spec(Struct, frozen=True):
    """A job. The same spec over the same source is the same job."""

    model: Annotated[str, Meta(description="provider/model, e.g. openai/gpt-5.4-mini or local/smollm2.")]
    source: Annotated[str | tuple[str, ...], Meta(description="CSV, JSONL or Parquet: a path or a glob, .gz too.")] = ""
    name: Annotated[str | None, Meta(description="For people; default: the source's name.")] = None
    project: Annotated[str | None, Meta(description="For grouping of costs.")] = None
    tags: Annotated[tuple[str, ...], Meta(description="For finding jobs again.")] = ()
    key: Annotated[str | None, Meta(description="Column that names a row; unset: the row's number.")] = None
    base_url: Annotated[str | None, Meta(description="Where the API is, when not the provider's own.")] = None
    api_version: Annotated[
        str | None,
        Meta(description="Version of the API, where it has several (Anthropic: the header; Gemini: v1beta)."),
    ] = None
    betas: Annotated[
        tuple[str, ...], Meta(description="Beta features to ask for (Anthropic: output-300k-2026-03-24 and others).")
    ] = ()
    endpoint: Annotated[
        Literal["chat", "responses", "embeddings", "moderations", "completions", "images", "image_edits"] | None,
        Meta(description="Job kind; default chat. `overnight providers` says who has which."),
    ] = None
    prompt: Annotated[Prompt, Meta(description="What the model is asked.")] = Prompt()
    parameters: Annotated[
        dict[str, Any], Meta(description="Passed to the model: max_output_tokens, temperature, seed, ...")
    ] = {}
    answer: Annotated[Answer, Meta(description="What a good answer is; default text.")] = Answer()
    rows: Annotated[Rows, Meta(description="Bad and empty rows, and what is expected.")] = Rows()
    batch: Annotated[BatchSize, Meta(description="How rows are cut into batches.")] = BatchSize()
    policy: Annotated[Policy, Meta(description="Retries, brake, polling, cleaning.")] = Policy()
    output: Annotated[str | None, Meta(description="Where the table of answers goes: .csv, .jsonl or .parquet.")] = None
    keep: Annotated[
        Literal["key", "all"] | tuple[str, ...], Meta(description="Columns of the source in the output.")
    ] = "key"
    extra: Annotated[tuple[Literal["raw", "logprobs"], ...], Meta(description="Further columns: raw, logprobs.")] = (
        msgspec.field(default=(), name="with")
    )
    raw: Annotated[bool, Meta(description="The source holds complete batch lines or request bodies.")] = False
    allow_unlimited: Annotated[bool, Meta(description="Raw lines may leave without a limit on their output.")] = False
