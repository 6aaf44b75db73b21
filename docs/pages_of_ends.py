"""Pages about how things end: exit codes, errors, holds, failures, and the quirks of a provider."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from pages import ROOT, SOURCE, comments, doc, product_modules, table, told_of

from overnight.errors import HoldError, OvernightError

HOLDS: Final = {
    "brake": "at least `policy.brake.share` of the rows that ended failed the same way",
    "expect": "`rows.expect` does not hold",
    "limit": "the next batch would cross `--max-requests` or `--max-cost`, or the limit cannot be kept",
    "account": "billing, a spend limit, or the key: the provider refuses this account",
    "undecidable": "a submission cannot be told from others at the provider: `overnight reconcile` decides",
}


def exit_codes() -> str:
    """Exit codes, errors, holds, failures."""
    from overnight.cli import ends, finish

    for module in product_modules():
        import_module(module)
    codes = (
        (finish.SUCCEEDED, "every row succeeded, or was skipped by the user's own rule; or there was nothing to do"),
        (ends.LOCAL, "this machine: disk, home, output; or a bug of ours"),
        (ends.USAGE, "usage: spec, source, template, schema, key variable, another account"),
        (finish.FAILED_ROWS, "finished, with failed rows"),
        (finish.TROUBLE, "the provider or the account stopped or paused the job"),
        (HoldError.exit_code, "held by a rule of the job (below)"),
        (ends.INTERRUPTED, "interrupted; what goes on at the provider and how to go on is said"),
    )
    errors = (
        (f"`{kind.code}`", f"`{kind.__name__}`", str(kind.exit_code), doc(kind))
        for kind in _kinds(OvernightError)
        if kind is not OvernightError
    )
    raised = _raised_holds()
    assert raised.keys() == HOLDS.keys(), f"describe {raised.keys() ^ HOLDS.keys()}"
    holds = ((f"`{kind}`", str(raised[kind]), why) for kind, why in HOLDS.items())
    return (
        "# Exit codes and errors\n\n"
        f"{table(('exit code', 'meaning'), ((str(code), text) for code, text in codes))}\n"
        "`overnight collect` ends with the worst code of the jobs that moved. Running a finished job again shows it, "
        "with the same code, and sends nothing.\n\n"
        "## Errors\n\n"
        'One line on standard error: what, where, what to do. With `--json` also `{"error": {"code", "message", '
        '"exit_code"}}` on standard output. No message holds a prompt, an answer or a key.\n\n'
        f"{table(('code', 'in Python', 'exit code', 'meaning'), errors)}\n"
        "## Why a job is held\n\n"
        "Nothing more is sent; what is out is collected. `overnight resume` goes on, a limit by the same command with "
        "a higher one.\n\n"
        f"{table(('kind', 'exit code', 'why'), holds)}\n"
        "## Why a row failed\n\n"
        "`error_kind` of the output, and `--kind` of `overnight retry`. *Again*: a follow-up sends the row by itself. "
        "*Counts*: the attempt is one of `policy.retries`; whatever ran counts for `policy.max_paid`. The last column "
        "is for a batch that is refused as a whole, so that nothing of it ran (times by the default policy).\n\n"
        f"{table(('kind', 'meaning', 'again', 'counts', 'refused as a whole'), _failures())}"
    )


def _kinds(kind: type[OvernightError]) -> Iterator[type[OvernightError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _raised_holds() -> dict[str, int]:
    """Kinds of the holds that the code makes, with their exit codes."""
    found: dict[Any, Any] = {}
    for path in SOURCE.glob("[!t]*/**/*.py"):  # all but overnight.testing
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("Hold"), [ast.Constant(kind), _, ast.Constant(code)]):
                    found[kind] = code
                case _:
                    pass
    return found


def _failures() -> Iterator[tuple[str, str, str, str, str]]:
    from overnight.core.retry import treatment
    from overnight.types import FailureKind

    for value, text in told_of(FailureKind).items():
        kind = FailureKind(value)
        told = treatment(kind)
        again = ("after `resume`" if told.pauses else "yes") if told.again else ""
        yield f"`{value}`", text, again, "yes" if told.burns else "", _put_back(kind)


def _put_back(kind: Any) -> str:
    from overnight.core.retry import fate_of_shard
    from overnight.spec import Policy
    from overnight.types import Failure

    many = 30
    fates = [fate_of_shard(Failure(kind, ""), [kind] * tries, Policy()) for tries in range(many)]
    delays = [fate.delay for fate in fates if fate is not None]
    if not delays:
        return "its rows end so"
    if not any(delays):
        return "sent again after `resume`"
    times = "until it is taken" if len(delays) == many else f"{len(delays)} times"
    return f"sent again after {delays[0]:,.0f} s, later up to {max(delays):,.0f} s, {times}"


QUIRKY = (
    ("OpenAI's Batch API", "test_quirks", "openai_fake"),
    ("Anthropic's Message Batches", "test_anthropic_quirks", "anthropic_fake"),
    ("The Gemini API's batches", "test_gemini_quirks", "gemini_fake"),
    ("Vertex AI's batch prediction", "test_vertex_quirks", "vertex_fake"),
    ("Azure OpenAI, Mistral, Groq, Together", "test_openai_kin_quirks", None),
)
"""Title, module of the tests, module of the fake (None: the switches of the first)."""


def quirks() -> str:
    """What comes of each quirk of each provider."""
    sys.path.insert(0, str(ROOT))
    return (
        "# Quirks\n\n"
        "What the providers do besides their best, seen or reported, each a switch of a fake in `overnight.testing`, "
        "and what comes of it for a job of 12 rows in small batches. The tables are those that the tests run; *booked* "
        "is checked against the fake's own bill, to the last digit. An empty cell is not looked at.\n\n"
        + "\n".join(_quirks_of(title, import_module(f"tests.engine.{tests}"), fake) for title, tests, fake in QUIRKY)
    )


def _quirks_of(title: str, tested: ModuleType, fake: str | None) -> str:
    switches = comments(tested.Quirks)
    others = [name.removeprefix("test_quirk_") for name in vars(tested) if name.startswith("test_quirk_")]
    rows = []
    for name, case in tested.CASES.items():
        used = [field.name for field in dataclasses.fields(tested.Quirks) if _is_set(case.quirk, field)]
        number, _, what = name.partition(" ") if name.startswith("Q-") else ("", "", name)
        rows.append(
            (
                number,
                what + (": " + ", ".join(f"`{one}`" for one in used) if used else ""),
                _listed(case.statuses),
                str(case.creates),
                _listed(case.kinds),
                "what ran" + (f", {case.unknown} unknown" if case.unknown else ""),
            )
        )
    head = ("", "quirk", "rows end", "batches asked for", "failures, by attempt", "booked")
    plays = "".join(f"* Q-{name.partition('_')[0].upper()}: {_sentence(name)}\n" for name in others)
    told = f"## {title}\n\n{table(head, rows)}\n"
    if fake is None:
        return f"{told}In these flavours the fake OpenAI has the switches of the first table.\n"
    return (
        told
        + (f"Tested by a play of their own:\n\n{plays}\n" if plays else "")
        + f"The switches, `overnight.testing.{fake}.Quirks`; numbers of calls count from 0:\n\n"
        f"{table(('switch', 'what the provider does'), ((f'`{name}`', text) for name, text in switches.items()))}"
    )


def _is_set(quirk: object, field: dataclasses.Field[Any]) -> bool:
    value = getattr(quirk, field.name)
    return bool(value != field.default if field.default is not dataclasses.MISSING else value)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows} {name}" for name, rows in counts.items())


def _sentence(name: str) -> str:
    return name.partition("_")[2].replace("_", " ")
