"""The group of verbs. A verb's module is loaded when it is called: `--help` costs as little as click."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from overnight.config import Config

VERBS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "Jobs": {
        "run": ("run", "Run a job to its end: a table in, a table of answers out."),
        "submit": ("submit", "Send a job's batches and return; `collect` brings the answers home."),
        "collect": ("collect", "Advance every job of this home once: for cron."),
        "watch": ("watch", "Follow a job to its end, or carry it on."),
        "resume": ("control", "Let a held job go on."),
        "cancel": ("control", "Send nothing more, and cancel what is out."),
        "retry": ("retry", "Send rows again that ended without success."),
        "reconcile": ("reconcile", "Decide about submissions whose fate nobody knows."),
    },
    "Answers": {
        "status": ("status", "Where a job stands, batch by batch."),
        "results": ("results", "A job's table of answers."),
        "show": ("show", "One row: its request, every attempt, the raw answers."),
        "jobs": ("jobs", "The jobs of this home."),
        "clean": ("clean", "Remove a finished job's files and records."),
    },
    "Setting up": {
        "init": ("init", "Write a commented spec file."),
        "providers": ("providers", "What each provider's batches take and promise."),
        "doctor": ("doctor", "Settings and where they come from, keys, disk, versions."),
        "serve": ("serve", "A batch API of your own, in front of a model."),
    },
}
"""Verbs by section: module in this package, and what it does."""

MODULES: Final = {verb: module for section in VERBS.values() for verb, (module, _) in section.items()}


@dataclass(slots=True)
class Call:
    """What all verbs have in common: settings given as flags, and whether a machine reads the answer."""

    flags: dict[str, Any] = field(default_factory=dict)
    json: bool = False

    def config(self) -> Config:
        """The settings. Raises `UsageError`."""
        from overnight.config import read_config

        return read_config(self.flags)


def _keep_flag(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None:
        ctx.ensure_object(Call).flags[param.name] = value


def _keep_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Call).json |= value


def _settings(*, hidden: bool) -> list[click.Parameter]:
    """Options of the settings (`config.SETTINGS`, which says the same words at greater cost)."""

    def option(name: str, metavar: str, text: str) -> click.Option:
        return click.Option(
            [f"--{name}"], metavar=metavar, help=text, expose_value=False, callback=_keep_flag, hidden=hidden
        )

    return [
        option("home", "DIR", "Where jobs and results are kept."),
        option("cache", "DIR", "Where fetched models are kept."),
        option("poll", "SECONDS", "Time between looks at a batch, for every job."),
        option("visibility", "SECONDS", "Time after which an accepted batch must be listed, for every job."),
        option("lease", "SECONDS", "Time after which a silent owner of a job is replaced, for every job."),
        option("log-level", "LEVEL", "How much is logged: debug, info, warning or error."),
        option("log-file", "FILE", "Where the log goes; default overnight.log in the home."),
        option("proxy", "URL", "HTTP proxy for providers, never for this machine."),
        option("vertex-bucket", "URL", "Where Vertex AI reads and writes: gs://BUCKET/FOLDER."),
    ]


_OF_EVERY_VERB: Final = (
    click.Option(
        ["--json"],
        is_flag=True,
        help="One JSON document on standard output.",
        expose_value=False,
        callback=_keep_json,
    ),
    *_settings(hidden=True),
)


class Verb(click.Command):
    """A verb. It takes the settings as well, before or after its name, and `--json`."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, then those that every verb has."""
        own = super().get_params(ctx)
        help_option = own.pop()
        return [*own, *_OF_EVERY_VERB, help_option]


class Verbs(click.Group):
    """The verbs of the table, each loaded when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the table."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, loaded; None where there is no such."""
        if cmd_name not in MODULES:
            return None
        found: click.Command = getattr(import_module(f"overnight.cli.{MODULES[cmd_name]}"), cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it; an unknown verb is answered with the one that was meant."""
        if args[0] not in MODULES and not args[0].startswith("-"):
            import difflib

            guess = difflib.get_close_matches(args[0], MODULES, n=1)
            meant = f"did you mean `{guess[0]}`?" if guess else "overnight --help lists them"
            ctx.fail(f"no verb `{args[0]}`: {meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without loading a verb."""
        for section, verbs in VERBS.items():
            with formatter.section(section):
                formatter.write_dl([(verb, text) for verb, (_, text) in verbs.items()])


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from overnight import __version__

        click.echo(f"overnight {__version__}")
        ctx.exit()


command = Verbs(
    name="overnight",
    help=(
        "Batch work with LLMs: thousands to millions of rows through batch APIs at half price; "
        "nothing lost, nothing paid twice.\n\n"
        "\b\n"
        "Example:\n"
        "  overnight run reviews.csv -m openai/gpt-5.4-mini -p 'Sentiment of: {{ text }}' \\\n"
        "      --labels positive,negative,neutral -o answers.csv"
    ),
    params=[
        *_settings(hidden=False),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
"""The command `overnight`."""


def verb(text: str) -> Callable[[Any], click.Command]:
    """Decorator: a function that takes its `Call` and its own options, and returns an exit code, becomes a verb."""

    def made(function: Any) -> click.Command:
        wrapped = click.make_pass_decorator(Call, ensure=True)(function)
        return click.command(cls=Verb, help=text)(wrapped)

    return made
