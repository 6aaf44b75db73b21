"""A fake Anthropic: message batches, a clock that is given, every known quirk a switch, and a log that tells the truth.

`FakeAnthropic` is the provider itself. `overnight.testing.anthropic_server.serving` puts HTTP in front of it,
`overnight.testing.anthropic_direct.DirectAnthropic` the `Provider` port, for virtual time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from overnight.core.cost import Rates, cost
from overnight.testing.anthropic_batches import FakeBatch, Quirks, rows_of
from overnight.testing.anthropic_rows import SPEND_LIMIT, Cache, Row, end
from overnight.testing.books import Books, Execution, NoAnswer, advance
from overnight.testing.openai_rows import Answering, echo
from overnight.types import PicoUSD, Tokens
from overnight.wire import anthropic as wire
from overnight.wire.custom_ids import split_custom_id

__all__ = ["KEY", "RATES", "FakeAnthropic", "FakeBatch", "NoAnswer", "Quirks", "Refusal"]

BEST = Quirks()
KEY = "sk-ant-fake"
RATES = Rates(input=500_000, cached=50_000, output=2_500_000, written=1_000_000)
"""Batch prices of claude-haiku-4-5."""
ROOT = "https://api.anthropic.com"


class Refusal(Exception):
    """A call that is answered with an error of this type."""

    def __init__(self, type: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = wire.STATUSES[type]
        self.body = orjson.dumps(wire.error_envelope(type, message, "req_fake", details))


class FakeAnthropic(Books):
    """The provider. `now` is its clock; `takes` the seconds from created to ended; `rows(ordinal, attempt)` the word by
    which a row ends (`anthropic_rows`), the attempt counted from 0 over all batches; `accounts` maps keys to
    workspaces. Every method takes the caller's key first and raises `Refusal` or `NoAnswer`."""

    def __init__(
        self,
        now: Callable[[], float],
        quirks: Quirks = BEST,
        *,
        takes: float = 60.0,
        rows: Callable[[int, int], str] = lambda ordinal, attempt: "ok",
        answering: Answering = echo,
        rates: Rates = RATES,
        accounts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.now = now
        self.quirks = quirks
        self.takes = takes
        self.rows = rows
        self.answering = answering
        self.rates = rates
        self.accounts = {KEY: "wrkspc-fake"} if accounts is None else accounts
        self.root = ROOT
        self.made: dict[str, FakeBatch] = {}
        self.deleted: list[str] = []
        self.usage = Tokens()
        self._cache = Cache(quirks.cache_hits, quirks.least_cached)
        self._serials = itertools.count(1)
        self._numbers: Counter[str] = Counter()
        self._turns: Counter[tuple[str, int]] = Counter()
        self._late: list[tuple[float, str, list[Row]]] = []

    def create(self, key: str, body: bytes) -> dict[str, Any]:
        """POST /v1/messages/batches."""
        account, number = self._enter(key, "create")
        quirks = self.quirks
        if len(body) > quirks.most_bytes:
            raise Refusal("request_too_large", "Request exceeds the maximum size")
        if quirks.spend_limit_after is not None and number >= quirks.spend_limit_after:
            raise Refusal("rate_limit_error", "You have reached your spend limit.", SPEND_LIMIT)
        try:
            document = orjson.loads(body)
            rows = rows_of(document["requests"])
        except orjson.JSONDecodeError as wrong:
            raise Refusal("invalid_request_error", f"The request body is not valid JSON: {wrong}") from None
        except (KeyError, TypeError):
            raise Refusal("invalid_request_error", "requests: Field required") from None
        except ValueError as wrong:
            raise Refusal("invalid_request_error", str(wrong)) from None
        if number in quirks.late_creates:
            self._late.append((self.now() + quirks.late_creates[number], account, rows))
            raise NoAnswer
        batch = self.accept(account, rows, self.now())
        if number in quirks.lost_creates:
            raise NoAnswer
        if number in quirks.failed_creates:
            raise Refusal("api_error", "Internal server error")
        return batch.document(quirks, self.root)

    def batch(self, key: str, id: str) -> dict[str, Any]:
        """GET /v1/messages/batches/{id}."""
        account, _ = self._enter(key, "batch")
        return self._seen(account, id).document(self.quirks, self.root)

    def batches(self, key: str, after: str | None, limit: int) -> dict[str, Any]:
        """GET /v1/messages/batches, newest first."""
        account, _ = self._enter(key, "batches")
        mine = [batch for batch in reversed(self.made.values()) if batch.account == account and self._visible(batch)]
        ids = [batch.id for batch in mine]
        if after is not None and after not in ids:
            raise Refusal("invalid_request_error", "after_id: no such batch")
        start = 0 if after is None else ids.index(after) + 1
        page = [batch.document(self.quirks, self.root) for batch in mine[start : start + min(limit, 1_000)]]
        return wire.list_object(page, len(mine) > start + len(page))

    def results(self, key: str, id: str) -> tuple[bytes, bool]:
        """GET /v1/messages/batches/{id}/results: the lines, in no order, and whether the way is cut half way."""
        account, number = self._enter(key, "results")
        batch = self._seen(account, id)
        if batch.ended_at is None or self.now() < batch.ended_at + self.quirks.results_lag:
            raise Refusal("not_found_error", f"Message Batch {id} has no available results.")
        data = b"" if self.quirks.empty_results else b"".join(reversed(batch.lines))
        return data, number in self.quirks.cut_downloads

    def cancel(self, key: str, id: str) -> dict[str, Any]:
        """POST /v1/messages/batches/{id}/cancel."""
        account, _ = self._enter(key, "cancel")
        batch = self._seen(account, id)
        if batch.over:
            if self.quirks.cancel_refused:
                raise Refusal("invalid_request_error", f"Message Batch {id} has already ended.")
        elif batch.cancel_at is None:
            batch.cancel_at = self.now()
            self.advance()
        return batch.document(self.quirks, self.root)

    def delete(self, key: str, id: str) -> dict[str, Any]:
        """DELETE /v1/messages/batches/{id}."""
        account, _ = self._enter(key, "delete")
        if not self._seen(account, id).over:
            raise Refusal(
                "invalid_request_error", "In progress batches cannot be deleted. Consider canceling the batch."
            )
        del self.made[id]
        self.deleted.append(id)
        return wire.deleted_object(id)

    def advance(self) -> None:
        """Bring everything to what the clock says."""
        now = self.now()
        late, self._late = self._late, []
        for at, account, rows in sorted(late, key=lambda each: each[0]):
            if at > now:
                self._late.append((at, account, rows))
            else:
                self.accept(account, rows, at)
        for batch in list(self.made.values()):
            if not batch.over:
                advance(batch, now, self.quirks, self.takes, self._run, self._finish)

    def accept(self, account: str, rows: list[Row], at: float) -> FakeBatch:
        """A batch of the workspace, whoever made it."""
        batch = FakeBatch(f"msgbatch_{next(self._serials):08d}", account, at, rows, self.quirks.window)
        batch.times["in_progress_at"] = at
        self.made[batch.id] = batch
        return batch

    # ------------------------------------------------------------------------------------------- inside

    def _enter(self, key: str, call: str) -> tuple[str, int]:
        """The caller's workspace, and the number of this call among its kind."""
        number, total = self._numbers[call], len(self.calls)
        self._numbers[call] += 1
        self.calls.append(call)
        if total in self.quirks.bursts:
            raise Refusal("overloaded_error", "Overloaded")
        if key not in self.accounts:
            raise Refusal("authentication_error", "API key is invalid.")
        self.advance()
        return self.accounts[key], number

    def _seen(self, account: str, id: str) -> FakeBatch:
        batch = self.made.get(id)
        if batch is None or batch.account != account or not self._visible(batch):
            raise Refusal("not_found_error", f"Message Batch {id} not found.")
        return batch

    def _visible(self, batch: FakeBatch) -> bool:
        return self.now() >= batch.created_at + self.quirks.list_lag

    def _run(self, batch: FakeBatch, row: Row, at: float) -> None:
        parts = split_custom_id(row.custom_id)
        key = (parts[0], parts[1]) if parts is not None else (row.custom_id, 0)
        word = self._word(key[1], self._turns[key])
        self._turns[key] += 1
        batch.rows[batch.done - 1] = Row(row.custom_id, {})  # what has run is not looked at again, and may be long
        serial = f"{batch.id.removeprefix('msgbatch_')}{batch.done:06d}"
        ended = end(row, word, serial, self.answering, self._cache)
        price = cost(ended.tokens, self.rates) if ended.tokens is not None else PicoUSD(0)
        self.executions.append(Execution(batch.id, row.custom_id, key, at, word, ended.tokens, price, batch.account))
        self.usage += ended.tokens or Tokens()
        batch.lines.append(ended.lines)
        if ended.tokens is not None:
            batch.succeeded += 1
        else:
            batch.errored += 1

    def _word(self, ordinal: int, attempt: int) -> str:
        quirks = self.quirks
        if quirks.all_fail:
            return "400"
        if quirks.spend_rows_after is not None and len(self.executions) >= quirks.spend_rows_after:
            return "spend"
        for every, word in ((quirks.missing_every, "missing"), (quirks.error_every, "500")):
            if every and (ordinal + 1) % every == 0 and attempt == 0:
                return word
        return self.rows(ordinal, attempt)

    def _finish(self, batch: FakeBatch) -> None:
        """What did not run has a line as well."""
        line = wire.canceled_line if batch.status == "cancelled" else wire.expired_line
        batch.lines += [line(row.custom_id) for row in batch.rows[batch.done :]]
