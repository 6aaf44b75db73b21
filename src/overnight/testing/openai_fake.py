"""A fake OpenAI: files and batches, a clock that is given, every known quirk a switch, and a log that tells the truth.

`FakeOpenAI` is the provider itself. `overnight.testing.openai_server.serving` puts HTTP in front of it,
`overnight.testing.openai_direct.DirectProvider` the `Provider` port, for virtual time. Nothing happens by itself:
batches are advanced by the clock whenever somebody calls.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from overnight.core.cost import Rates, cost
from overnight.testing.books import Books, Execution, NoAnswer, advance
from overnight.testing.openai_batches import OPEN, FakeBatch, Quirks, token_limit_error, validation_error
from overnight.testing.openai_flavours import OPENAI, Flavour
from overnight.testing.openai_rows import Answering, Row, echo, end
from overnight.types import Endpoint, PicoUSD, Tokens
from overnight.wire import openai as wire
from overnight.wire.custom_ids import split_custom_id
from overnight.wire.openai.refusal import Refusal

__all__ = ["Execution", "FakeFile", "FakeOpenAI", "NoAnswer", "Quirks", "Refusal"]

ENDPOINTS = frozenset(endpoint.value for endpoint in Endpoint if endpoint.value.startswith("/v1/")) - {
    Endpoint.MESSAGES
}
BEST = Quirks()
KEY = "sk-fake"
RATES = Rates(input=125_000, cached=62_500, output=1_000_000)


@dataclass(frozen=True, slots=True)
class FakeFile:
    """A stored file."""

    id: str
    account: str
    filename: str
    purpose: str
    data: bytes
    created_at: float

    def document(self, status: str = "processed") -> dict[str, Any]:
        """The file object."""
        return wire.file_object(
            status=status,
            id=self.id,
            size=len(self.data),
            created_at=int(self.created_at),
            filename=self.filename,
            purpose=self.purpose,
            expires_at=int(self.created_at) + 30 * 86_400,
        )


class FakeOpenAI(Books):
    """The provider. `now` is its clock; `takes` the seconds from validated to completed; `rows(ordinal, attempt)` the
    word by which a row ends (`openai_rows`), the attempt counted from 0 over all batches; `accounts` maps keys to
    organisations. Every method takes the caller's key first and raises `Refusal` or `NoAnswer`."""

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
        flavour: Flavour = OPENAI,
    ) -> None:
        super().__init__()
        self.now = now
        self.quirks = quirks
        self.takes = takes
        self.rows = rows
        self.answering = answering
        self.rates = rates
        self.flavour = flavour
        self.accounts = {KEY: "org-fake"} if accounts is None else accounts
        self.stored: dict[str, FakeFile] = {}
        self.made: dict[str, FakeBatch] = {}
        self.deleted: list[str] = []
        self._serials = itertools.count(1)
        self._numbers: Counter[str] = Counter()
        self._turns: Counter[tuple[str, int]] = Counter()
        self._late: list[tuple[float, str, dict[str, Any]]] = []

    # ------------------------------------------------------------------------------------------- files

    def upload(self, key: str, filename: str, data: bytes, purpose: str) -> dict[str, Any]:
        """POST /files."""
        account, number = self._enter(key, "upload")
        if not filename.endswith(".jsonl"):
            raise Refusal("Invalid file format for Batch API. Must be .jsonl")
        if self.quirks.too_large == "upload" and len(data) > self.quirks.most_bytes:
            raise Refusal("File is too large.", status=413)
        file = self._store(account, filename, purpose, data, self.now())
        if number in self.quirks.lost_uploads:
            raise NoAnswer
        return file.document()

    def file(self, key: str, id: str) -> dict[str, Any]:
        """GET /files/{id}."""
        account, _ = self._enter(key, "file")
        file = self._seen_file(account, id)
        return file.document("pending" if self._is_pending(file) else "processed")

    def files(self, key: str, after: str | None, limit: int, purpose: str | None) -> dict[str, Any]:
        """GET /files, newest first."""
        account, _ = self._enter(key, "files")
        mine = [file for file in reversed(self.stored.values()) if file.account == account]
        return _page([file.document() for file in mine if purpose in (None, file.purpose)], after, limit)

    def content(self, key: str, id: str) -> tuple[bytes, bool]:
        """GET /files/{id}/content: the bytes, and whether the way is cut half way."""
        account, number = self._enter(key, "content")
        return self._seen_file(account, id).data, number in self.quirks.cut_downloads

    def delete_file(self, key: str, id: str) -> dict[str, Any]:
        """DELETE /files/{id}."""
        account, _ = self._enter(key, "delete_file")
        if id not in self.stored or self.stored[id].account != account:
            raise _no_file(id)
        del self.stored[id]
        self.deleted.append(id)
        return {"id": id, "object": "file", "deleted": True}

    # ----------------------------------------------------------------------------------------- batches

    def create(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /batches."""
        account, number = self._enter(key, "create")
        _check_create(body)
        self._check_file(account, str(body["input_file_id"]))
        self._check_limits(account, body)
        asked = dict(body)
        if number in self.quirks.late_creates:
            self._late.append((self.now() + self.quirks.late_creates[number], account, asked))
            raise NoAnswer
        batch = self._accept(account, asked, self.now())
        if number in self.quirks.repeated_creates:
            self._accept(account, asked, self.now())
        if number in self.quirks.lost_creates:
            raise NoAnswer
        if number in self.quirks.failed_creates:
            raise Refusal("The server had an error while processing your request.", status=500)
        return batch.document(self.quirks)

    def batch(self, key: str, id: str) -> dict[str, Any]:
        """GET /batches/{id}."""
        account, _ = self._enter(key, "batch")
        return self._seen_batch(account, id).document(self.quirks)

    def batches(self, key: str, after: str | None, limit: int) -> dict[str, Any]:
        """GET /batches, newest first."""
        account, _ = self._enter(key, "batches")
        mine = [batch for batch in reversed(self.made.values()) if batch.account == account and self._visible(batch)]
        return _page([batch.document(self.quirks) for batch in mine], after, limit)

    def cancel(self, key: str, id: str) -> dict[str, Any]:
        """POST /batches/{id}/cancel."""
        account, _ = self._enter(key, "cancel")
        batch = self._seen_batch(account, id)
        if batch.status == "validating":
            self._validate(batch, self.now())
        if batch.status not in OPEN:
            if self.quirks.cancel_conflict:
                raise Refusal(f"Cannot cancel a batch with status '{batch.status}'.", status=409)
        elif batch.cancel_at is None:
            batch.cancel_at = batch.times["cancelling_at"] = self.now()
            batch.status = "cancelling"
            self.advance()
        return batch.document(self.quirks)

    def advance(self) -> None:
        """Bring everything to what the clock says."""
        now = self.now()
        late, self._late = self._late, []
        for at, account, asked in sorted(late, key=lambda each: each[0]):
            if at > now:
                self._late.append((at, account, asked))
            elif self.quirks.late_orphans == "fail" or asked["input_file_id"] in self.stored:
                self._accept(account, asked, at)
        for batch in list(self.made.values()):
            if batch.status == "validating" and now >= (at := batch.created_at + self.quirks.validating):
                self._validate(batch, at)
            if batch.status in OPEN and "in_progress_at" in batch.times:
                advance(batch, now, self.quirks, self.takes, self._run, self._finish)

    # ------------------------------------------------------------------------------------------- inside

    def _enter(self, key: str, call: str) -> tuple[str, int]:
        """The caller's account, and the number of this call among its kind."""
        number, total = self._numbers[call], len(self.calls)
        self._numbers[call] += 1
        self.calls.append(call)
        if total in self.quirks.bursts:
            raise Refusal("The server is overloaded, try again later.", status=503)
        if key not in self.accounts:
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")
        self.advance()
        return self.accounts[key], number

    def _store(self, account: str, filename: str, purpose: str, data: bytes, at: float) -> FakeFile:
        file = FakeFile(f"file-{next(self._serials):08d}", account, filename, purpose, data, at)
        self.stored[file.id] = file
        return file

    def _seen_file(self, account: str, id: str) -> FakeFile:
        file = self.stored.get(id)
        if file is None or file.account != account or self._too_fresh(file, self.now()):
            raise _no_file(id)
        return file

    def _too_fresh(self, file: FakeFile, at: float) -> bool:
        return file.purpose == "batch" and at < file.created_at + self.quirks.file_lag

    def _seen_batch(self, account: str, id: str) -> FakeBatch:
        batch = self.made.get(id)
        if batch is None or batch.account != account or not self._visible(batch):
            raise Refusal(f"No batch found with id '{id}'.", status=404)
        return batch

    def _visible(self, batch: FakeBatch) -> bool:
        return self.now() >= batch.created_at + self.quirks.list_lag

    def _is_pending(self, file: FakeFile) -> bool:
        return self.now() < file.created_at + self.quirks.pending

    def _check_file(self, account: str, id: str) -> None:
        file = self.stored.get(id)
        if not self.flavour.takes_any_file and (file is None or file.account != account):
            raise Refusal(f"File {id} not found", status=404)
        if file is not None and self._is_pending(file):
            raise Refusal("The input file is not processed yet.", param="input_file_id")

    def _check_limits(self, account: str, body: Mapping[str, Any]) -> None:
        """What may be refused at once instead of after acceptance."""
        file = self.stored.get(body["input_file_id"])
        if file is not None and self.quirks.too_large == "create" and len(file.data) > self.quirks.most_bytes:
            raise Refusal("File is too large.")
        limit = self.quirks.token_limit
        if file is None or limit is None or not self.quirks.token_limit_at_create:
            return
        probe = FakeBatch("", account, body["endpoint"], file.id, None, 0.0, file.data, 0.0)
        if (
            validation_error(probe, self.quirks, self.flavour) is None
            and self._enqueued(account) + probe.enqueued > limit
        ):
            error = token_limit_error(probe.rows[0].body["model"], account, limit)
            raise Refusal(error["message"], status=429, code=error["code"])

    def _enqueued(self, account: str) -> int:
        return sum(batch.enqueued for batch in self.made.values() if batch.account == account)

    def _accept(self, account: str, asked: Mapping[str, Any], at: float) -> FakeBatch:
        file = self.stored.get(str(asked["input_file_id"]))
        seen = file is not None and file.account == account and file.purpose == "batch"
        batch = FakeBatch(
            id=f"batch_{next(self._serials):08d}",
            account=account,
            endpoint=str(asked["endpoint"]),
            input_file=str(asked["input_file_id"]),
            metadata=asked.get("metadata"),
            created_at=at,
            data=file.data if file is not None and seen and not self._too_fresh(file, at) else None,
            window=self.quirks.window if self.flavour.expires else float("inf"),
        )
        self.made[batch.id] = batch
        return batch

    def _validate(self, batch: FakeBatch, at: float) -> None:
        others = self._enqueued(batch.account)
        error = validation_error(batch, self.quirks, self.flavour)
        limit = self.quirks.token_limit
        if error is None and limit is not None and others + batch.enqueued > limit:
            error = token_limit_error(batch.rows[0].body.get("model"), batch.account, limit)
        if error is not None:
            batch.fail(at, self.flavour.fault(error))
            return
        batch.status = "in_progress"
        batch.times["in_progress_at"] = at

    def _run(self, batch: FakeBatch, row: Row, at: float) -> None:
        parts = split_custom_id(row.custom_id)
        key = (parts[0], parts[1]) if parts is not None else (row.custom_id, 0)
        word = self._word(key[1], self._turns[key])
        self._turns[key] += 1
        serial = f"{batch.id.removeprefix('batch_')}{batch.done:06d}"
        ended = end(row, batch.endpoint, word, serial, self.answering)
        price = cost(ended.tokens, self.rates) if ended.tokens is not None else PicoUSD(0)
        done = Execution(batch.id, row.custom_id, key, at, word, ended.tokens, price, batch.account)
        self.executions.append(done)
        batch.usage = batch.usage + (ended.tokens or Tokens())
        batch.output.append(ended.output)
        batch.error.append(ended.error)
        if ended.tokens is not None:
            batch.completed += 1
        else:
            batch.failed += 1

    def _word(self, ordinal: int, attempt: int) -> str:
        quirks = self.quirks
        if quirks.all_fail:
            return "400"
        if quirks.model_missing:
            return "404"
        if quirks.quota_after is not None and len(self.executions) >= quirks.quota_after:
            return "quota"
        for every, word in (
            (quirks.missing_every, "missing"),
            (quirks.zero_every, "zero"),
            (quirks.error_every, "500"),
            (quirks.overlap_every, "both"),
        ):
            if every and (ordinal + 1) % every == 0 and attempt == 0:
                return word
        return self.rows(ordinal, attempt)

    def _finish(self, batch: FakeBatch) -> None:
        """Write the files, before anybody can see that the batch is over."""
        if batch.status == "cancelled" and self.quirks.cancel_loses:
            batch.output, batch.completed = [], 0
        left = batch.rows[batch.done :]
        code, message = {
            "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
            "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
        }.get(batch.status, ("", ""))
        batch.error += [wire.error_line("batch_req_none", row.custom_id, code, message) for row in left]
        at = max(batch.times.values())
        for lines, name in ((batch.output, "output"), (batch.error, "error")):
            data = b"".join(map(self._shown, lines))
            if data or (name == "error" and self.flavour.writes_empty_files):
                file = self._store(batch.account, f"{batch.id}_{name}.jsonl", "batch_output", data, at)
                setattr(batch, f"{name}_file", file.id)
        batch.output, batch.error = [], []

    def _shown(self, rows: bytes) -> bytes:
        """Rows of a file as the API writes them; what is no JSON stays as it is."""
        if type(self.flavour).row is Flavour.row:
            return rows
        return b"".join(self.flavour.row(line) if _is_row(line) else line for line in rows.splitlines(keepends=True))


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _no_file(id: str) -> Refusal:
    return Refusal(f"No such File object: {id}", status=404, param="id")


def _check_create(body: Mapping[str, Any]) -> None:
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str):
            message = f"Missing required parameter: '{name}'."
            raise Refusal(message, param=name, code="missing_required_parameter")
    if body["endpoint"] not in ENDPOINTS:
        raise Refusal(f"Invalid value: '{body['endpoint']}'.", param="endpoint", code="invalid_value")
    if body["completion_window"] != "24h":
        raise Refusal("Invalid completion_window: must be 24h.", param="completion_window", code="invalid_value")
    metadata = body.get("metadata") or {}
    if len(metadata) > 16 or any(len(name) > 64 or len(value) > 512 for name, value in metadata.items()):
        raise Refusal("Invalid 'metadata': at most 16 pairs of 64 and 512 characters.", param="metadata")


def _page(documents: list[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    ids = [each["id"] for each in documents]
    if after is not None and after not in ids:
        raise Refusal(f"No such object: {after}", param="after")
    start = 0 if after is None else ids.index(after) + 1
    return wire.list_object(documents[start : start + limit], len(documents) > start + limit)
