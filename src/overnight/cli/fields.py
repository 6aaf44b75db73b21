"""What `run` and `submit` take: a spec file or a source, fields of the spec as flags, and which rows are meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from overnight.spec import Spec
    from overnight.types import PicoUSD, Selection

_ENDPOINTS = ("chat", "responses", "embeddings", "moderations", "completions", "images", "image_edits")

_OPTIONS: Final = (
    click.argument("what", metavar="[SPEC.yaml | SOURCE]", required=False),
    click.option("-m", "--model", metavar="PROVIDER/MODEL", help="Such as openai/gpt-5.4-mini or local/smollm2."),
    click.option("-p", "--prompt", metavar="TEXT", help="What is asked of each row; columns as {{ column }}."),
    click.option("--system", metavar="TEXT", help="System message; columns as in the prompt."),
    click.option("--key", metavar="COLUMN", help="Column that names a row; default the row's number."),
    click.option("--keep", metavar="key|all|COLUMNS", help="Source columns in the output, separated by commas."),
    click.option("--labels", metavar="A,B,...", help="The answer is exactly one of these."),
    click.option("--schema", metavar="FILE", help="JSON Schema of the answer; its properties become columns."),
    click.option("-o", "--output", metavar="FILE", help="Table of answers: .csv, .jsonl (each also .gz) or .parquet."),
    click.option("--name", metavar="NAME", help="The job's name; default the source's."),
    click.option("--endpoint", type=click.Choice(_ENDPOINTS), help="Kind of request; default chat."),
    click.option("--base-url", metavar="URL", help="Where the API is, when not the provider's own."),
    click.option("--with", "extra", metavar="raw,logprobs", help="Further columns of the output."),
    click.option("--raw", is_flag=True, help="The source holds complete batch lines or request bodies."),
    click.option("--allow-unlimited", is_flag=True, help="Raw lines may leave without a limit on their output."),
    click.option(
        "--set", "assignments", metavar="FIELD=VALUE", multiple=True, help="Any field, such as policy.retries=3; again."
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N rows only; the whole job later."),
    click.option("--sample", type=click.IntRange(1), metavar="N", help="N rows drawn from all of the source."),
    click.option("--max-requests", type=click.IntRange(1), metavar="N", help="Send no more than that, ever."),
    click.option(
        "--max-cost", type=click.FloatRange(0, min_open=True), metavar="DOLLARS", help="Spend no more than that, ever."
    ),
    click.option("--new", is_flag=True, help="Start a new job even if there is one of this spec and source."),
    click.option("--print-spec", is_flag=True, help="Show the spec that this command stands for, and stop."),
    click.option("-y", "--yes", is_flag=True, help="Do not ask before sending."),
    click.option("--dry-run", is_flag=True, help="Stop after the preview; nothing is sent or kept."),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `run` and `submit`, as they were given."""

    what: str | None
    model: str | None
    prompt: str | None
    system: str | None
    key: str | None
    keep: str | None
    labels: str | None
    schema: str | None
    output: str | None
    name: str | None
    endpoint: str | None
    base_url: str | None
    extra: str | None
    raw: bool
    allow_unlimited: bool
    assignments: tuple[str, ...]
    limit: int | None
    sample: int | None
    max_requests: int | None
    max_cost: float | None
    new: bool
    print_spec: bool
    yes: bool
    dry_run: bool

    @property
    def selection(self) -> Selection:
        """Which rows are meant."""
        from overnight.types import Selection

        return Selection(self.limit, self.sample)

    @property
    def most_money(self) -> PicoUSD | None:
        """`--max-cost` in pico-dollars."""
        from overnight.types import PicoUSD

        return None if self.max_cost is None else PicoUSD(round(self.max_cost * 1e12))

    def spec(self) -> Spec:
        """The spec, paths absolute. Raises `UsageError`."""
        from overnight.specfile import anchor, apply_set, load_spec, spec_from

        fields = self._fields()
        if self.what is not None and self.what.endswith((".yaml", ".yml")):
            spec = load_spec(Path(self.what), fields)
        else:
            if self.what is not None:
                fields["source"] = self.what
            spec = anchor(spec_from(fields), Path.cwd())
        return apply_set(spec, self.assignments) if self.assignments else spec

    def _fields(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "model": self.model,
            "prompt.user": self.prompt,
            "prompt.system": self.system,
            "key": self.key,
            "keep": self.keep if self.keep in {"key", "all"} else _listed(self.keep),
            "answer.labels": _listed(self.labels),
            "answer.schema": self.schema,
            "output": self.output,
            "name": self.name,
            "endpoint": self.endpoint,
            "base_url": self.base_url,
            "with": _listed(self.extra),
            "raw": self.raw or None,
            "allow_unlimited": self.allow_unlimited or None,
        }
        return {name: value for name, value in given.items() if value is not None}


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def spec_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: give the verb all of these options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
