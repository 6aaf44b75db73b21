"""`overnight providers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from overnight.cli.asking import answer, document
from overnight.cli.group import Call, verb
from overnight.cli.words import facts, size, table

if TYPE_CHECKING:
    from overnight.access import Access


@verb(
    """What each provider's batches take and promise; with NAME, all that is known of one.

    Job kinds, limits, what is left of a batch that expired or was canceled, how a submission whose answer was lost is
    found, how long answers stay. What nobody has seen is said to be unverified, and nothing relies on it.

    \b
    Examples:
      overnight providers
      overnight providers anthropic
      overnight providers --json
    """
)
@click.argument("name", required=False)
def providers(call: Call, name: str | None) -> int:
    """See its help."""
    from overnight.errors import UsageError

    every = call.config().access
    if name is not None and name not in every:
        raise UsageError(f"no provider {name}: there are {', '.join(sorted(every))}")
    chosen = list(every.values()) if name is None else [every[name]]
    if call.json:
        documents = list(map(_document, chosen))
        document(documents if name is None else documents[0])
    elif name is None:
        answer(_tables(chosen))
    else:
        answer(facts(_facts(chosen[0])))
    return 0


def _tables(every: Sequence[Access]) -> str:
    head = ("provider", "key", "requests", "bytes", "window", "lost batches known by", "kinds")
    known = [access.known for access in every]
    rows = [
        (
            each.name,
            _key(access),
            f"{each.limits.rows:,}",
            size(each.limits.size),
            _hours(access),
            {"tag": "mark", "file": "file", "count": "count, time"}[each.proof],
            ", ".join(each.kinds),
        )
        for access, each in zip(every, known, strict=True)
    ]
    ends = [(each.name, each.expired, each.canceled) for each in known]
    kept = [(each.name, each.kept, each.price) for each in known]
    return "\n\n".join(
        [
            table(head, rows, right=frozenset({2, 3, 4})),
            table(("provider", "of an expired batch", "of a canceled batch"), ends),
            table(("provider", "answers can be had", "price of a batch"), kept),
        ]
    )


def _facts(access: Access) -> list[tuple[str, str]]:
    from overnight.core.catalog import LOST

    known, limits = access.known, access.known.limits
    return [
        ("provider", known.name),
        ("API like", known.like or ""),
        ("key", _key(access)),
        ("variables", ", ".join(variable for variable, _, _ in _variables(access))),
        ("base URL", access.base_url or known.base_url or ""),
        ("kinds", ", ".join(known.kinds)),
        ("batch", f"{limits.rows:,} requests, {size(limits.size)}"),
        ("window", _hours(access)),
        ("also limited", known.queue),
        ("price", known.price),
        ("expired", known.expired),
        ("canceled", known.canceled),
        ("lost submission", f"found {LOST[known.proof]}"),
        ("answers stay", known.kept),
        ("needs", f"pip install 'overnight[{known.extra}]'" if known.extra else ""),
        ("notes", "\n".join(known.notes)),
    ]


def _variables(access: Access) -> list[tuple[str, str, bool]]:
    """Name, what it holds, and whether it is set."""
    known = access.known
    found = [(name, "key", name == access.variable) for name in known.keys]
    found += [(name, "base URL", name == access.base_url_from) for name in known.base_urls]
    for name, what, value in (
        (known.organization, "organisation", access.organization),
        (known.project, "project", access.project),
        (known.location, "location", access.location),
        (known.storage, "base URL of its files", access.storage),
        (known.version, "version of the API", access.version),
    ):
        if name is not None:
            found.append((name, what, value is not None))
    return found


def _key(access: Access) -> str:
    if not access.known.keys:
        return "not needed"
    if access.key is None and access.known.dialect == "vertex":
        return "of Google"  # its libraries find one, as `gcloud auth application-default login` leaves it
    return "present" if access.key is not None else "missing"


def _hours(access: Access) -> str:
    window = f"{access.known.limits.window / 3600:g} h"
    return window if access.known.expires else f"{window}, then on"


def _document(access: Access) -> dict[str, Any]:
    from overnight.core.catalog import LOST

    known, limits = access.known, access.known.limits
    return {
        "name": known.name,
        "like": known.like,
        "dialect": known.dialect,
        "key": _key(access),
        "variables": {name: {"what": what, "set": is_set} for name, what, is_set in _variables(access)},
        "base_url": access.base_url or known.base_url,
        "kinds": list(known.kinds),
        "limits": {
            "requests": limits.rows,
            "bytes": limits.size,
            "window_seconds": limits.window,
            "batches_per_hour": limits.creates_per_hour,
            "also": known.queue,
        },
        "price": known.price,
        "expired": {"expires": known.expires, "finished_rows_kept": known.keeps_expired, "what": known.expired},
        "canceled": {"finished_rows_kept": known.keeps_canceled, "what": known.canceled},
        "lost_submission": {"known_by": known.proof, "what": LOST[known.proof]},
        "answers_stay": {"seconds": limits.retention, "what": known.kept},
        "extra": known.extra,
        "notes": list(known.notes),
    }
