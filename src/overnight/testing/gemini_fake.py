"""A fake Gemini API: files, resumable uploads and batches, a clock that is given, every known quirk a switch, and a log
that tells the truth.

`FakeGemini` is the provider itself. `overnight.testing.gemini_server.serving` puts HTTP in front of it,
`overnight.testing.gemini_direct.DirectGemini` the `Provider` port, for virtual time. Nothing happens by itself: batches
are advanced by the clock whenever somebody calls.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import orjson

from overnight.core.cost import Rates, cost
from overnight.testing.books import Books, Execution, NoAnswer, advance
from overnight.testing.gemini_batches import (
    KEPT,
    OPEN,
    ROOT,
    FakeBatch,
    FakeFile,
    FakeUpload,
    Quirks,
    inline_rows_of,
    rows_of,
)
from overnight.testing.gemini_rows import Answering, Row, echo, end
from overnight.types import Endpoint, PicoUSD
from overnight.wire import gemini as wire
from overnight.wire.custom_ids import split_custom_id
from overnight.wire.gemini.answers import field

__all__ = ["KEY", "RATES", "ROOT", "FakeBatch", "FakeFile", "FakeGemini", "NoAnswer", "Quirks", "Refusal"]

BEST: Final = Quirks()
KEY: Final = "AIza-fake"
RATES: Final = Rates(input=150_000, cached=30_000, output=1_250_000)
"""Batch prices of gemini-2.5-flash."""
GRANULARITY: Final = 262_144
MOST_BYTES: Final = 2 * 1024**3
_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_METHODS: Final = {"batchGenerateContent": Endpoint.GENERATE, "asyncBatchEmbedContent": Endpoint.EMBED}


class Refusal(Exception):
    """A call that is answered with an error."""

    def __init__(self, status: int, message: str, reason: str | None = None, word: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = orjson.dumps(wire.error_envelope(status, message, word, reason))


class FakeGemini(Books):
    """The provider. `now` is its clock; `takes` the seconds that a batch runs; `rows(ordinal, attempt)` the word by
    which a row ends (`gemini_rows`), the attempt counted from 0 over all batches; `accounts` maps keys to accounts;
    `stored` are files and `made` batches by their ids without prefix. Every method takes the caller's key first and
    raises `Refusal` or `NoAnswer`."""

    made: dict[str, FakeBatch]
    stored: dict[str, FakeFile]

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
        self.accounts = {KEY: "fake"} if accounts is None else accounts
        self.root = ROOT
        self.uploads: dict[str, FakeUpload] = {}
        self.results: dict[str, bytes] = {}
        """What batches made, by the id of its file: these files are neither listed nor deleted by themselves."""
        self._serials = itertools.count(1)
        self._numbers: Counter[str] = Counter()
        self._turns: Counter[tuple[str, int]] = Counter()
        self._late: list[tuple[float, FakeBatch]] = []

    # ------------------------------------------------------------------------------------------- files

    def begin(self, key: str, about: Mapping[str, Any], size: int | None) -> str:
        """POST /upload/../files with the command `start`: the upload's id."""
        account, _ = self._enter(key, "begin")
        id = str(about.get("name") or "").removeprefix("files/")
        if id and not _ID.fullmatch(id):
            raise Refusal(400, "file.name: only lowercase letters, digits and dashes, up to 40.")
        if id in self.stored:
            raise Refusal(409, f"Requested entity already exists: files/{id}")
        if size is not None and size > MOST_BYTES:
            raise Refusal(400, "The file is larger than 2 GB.")
        upload_id = f"u{next(self._serials)}"
        self.uploads[upload_id] = FakeUpload(account, {**about, "name": id})
        return upload_id

    def piece(self, upload_id: str, offset: int, data: bytes, final: bool) -> FakeUpload:
        """The next bytes of an upload; its address is its permission. `final`: they are the last."""
        number = self._count("piece")
        if number in self.quirks.forgotten_pieces:
            self.uploads.pop(upload_id, None)
        upload = self.upload(upload_id)
        if upload.final or offset != len(upload.data):
            raise Refusal(400, f"Invalid offset: the upload goes on at {len(upload.data)}.")
        if not final and len(data) % GRANULARITY:
            raise Refusal(400, f"A piece that is not the last must be a multiple of {GRANULARITY} bytes.")
        if number in self.quirks.cut_pieces:
            upload.data += data[: len(data) // 2 // GRANULARITY * GRANULARITY]
            raise NoAnswer
        upload.data += data
        if final:
            upload.final = True
            self._store(upload)
        if number in self.quirks.lost_pieces:
            raise NoAnswer
        return upload

    def upload(self, upload_id: str) -> FakeUpload:
        """How far an upload is."""
        try:
            return self.uploads[upload_id]
        except KeyError:
            raise Refusal(404, "Upload not found.") from None

    def file(self, key: str, id: str) -> dict[str, Any]:
        """GET /files/{id}."""
        account, _ = self._enter(key, "file")
        return self._seen_file(account, id, 403).document(self.root)

    def files(self, key: str, page_size: int = 10, page_token: str = "") -> dict[str, Any]:
        """GET /files, newest first."""
        account, _ = self._enter(key, "files")
        mine = [file for file in reversed(self.stored.values()) if file.account == account]
        page, token = _page(mine, page_size, page_token)
        return {"files": [file.document(self.root) for file in page], **token}

    def delete_file(self, key: str, id: str) -> dict[str, Any]:
        """DELETE /files/{id}."""
        account, _ = self._enter(key, "delete_file")
        if len(id) > 40 or id in self.results:
            raise Refusal(400, "file.name: is not valid.")
        del self.stored[self._seen_file(account, id, self.quirks.gone).id]
        return {}

    def download(self, key: str, id: str, documented: bool = False) -> tuple[bytes, bool]:
        """GET /files/{id}:download, or (`documented`) /download/../files/{id}:download: the bytes, and whether the way
        is cut half way. Only what a batch made can be had."""
        account, number = self._enter(key, "download")
        batch = self.made.get(id.removeprefix("batch-"))
        if (self.quirks.docs_path_only and not documented) or id not in self.results:
            raise _gone(id, 403)
        if batch is not None and batch.account != account:
            raise _gone(id, 403)
        return self.results[id], number in self.quirks.cut_downloads

    # ----------------------------------------------------------------------------------------- batches

    def create(self, key: str, model: str, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /models/{model}:{method}."""
        account, number = self._enter(key, "create")
        if "no-such-model" in model or method not in _METHODS:
            raise Refusal(404, f"models/{model} is not found for API version v1beta, or is not supported for {method}.")
        if number in self.quirks.full_creates:
            raise Refusal(429, "You exceeded your current quota of tokens that wait in batches.")
        asked = field(body, "batch") or {}
        source = field(asked, "inputConfig") or {}
        made = self._asked(account, model, _METHODS[method], asked, source)
        if number in self.quirks.late_creates:
            self._late.append((self.now() + self.quirks.late_creates[number], made))
            raise NoAnswer
        batch = self._accept(made, self.now())
        if number in self.quirks.repeated_creates:
            self._accept(self._asked(account, model, _METHODS[method], asked, source), self.now())
        if number in self.quirks.lost_creates:
            raise NoAnswer
        if number in self.quirks.failed_creates:
            raise Refusal(500, "An internal error has occurred.")
        return batch.document()

    def batch(self, key: str, id: str) -> dict[str, Any]:
        """GET /batches/{id}."""
        account, _ = self._enter(key, "batch")
        return self._seen(account, id).document()

    def batches(self, key: str, page_size: int = 50, page_token: str = "") -> dict[str, Any]:
        """GET /batches, newest first."""
        account, _ = self._enter(key, "batches")
        mine = [batch for batch in reversed(self.made.values()) if batch.account == account and self._visible(batch)]
        page, token = _page(mine, page_size, page_token)
        return {"operations": [batch.document(listed=True) for batch in page], **token}

    def cancel(self, key: str, id: str) -> dict[str, Any]:
        """POST /batches/{id}:cancel: at once, as far as is told."""
        account, _ = self._enter(key, "cancel")
        batch = self._seen(account, id)
        if batch.over:
            raise Refusal(400, f"The batch is over: batches/{id}.", word="FAILED_PRECONDITION")
        if batch.status == "pending":
            batch.status, batch.times["cancelled_at"] = "cancelled", self.now()
            self._finish(batch)
        elif batch.cancel_at is None:
            batch.cancel_at = self.now()
            self.advance()
        return {}

    def delete_batch(self, key: str, id: str) -> dict[str, Any]:
        """DELETE /batches/{id}, with the file that it made. What runs is not stopped by it, and not deleted here."""
        account, _ = self._enter(key, "delete_batch")
        batch = self._seen(account, id)
        if not batch.over:
            raise Refusal(400, f"The batch is not over: batches/{id}.", word="FAILED_PRECONDITION")
        del self.made[id]
        self.results.pop(f"batch-{id}", None)
        return {}

    def advance(self) -> None:
        """Bring everything to what the clock says."""
        now, quirks = self.now(), self.quirks
        late, self._late = self._late, []
        for at, made in sorted(late, key=lambda each: each[0]):
            if at > now:
                self._late.append((at, made))
            elif made.input_file is None or made.input_file.removeprefix("files/") in self.stored:
                self._accept(made, at)
        for id in [id for id, file in self.stored.items() if file.created_at + KEPT <= now]:
            del self.stored[id]
        for batch in self.made.values():
            if batch.status == "pending" and batch.expires_at <= min(now, batch.created_at + quirks.pending):
                batch.status, batch.times["expired_at"] = "expired", batch.expires_at
            elif batch.status == "pending" and now >= (at := batch.created_at + quirks.pending):
                self._start(batch, at)
            if batch.status in OPEN and "in_progress_at" in batch.times:
                advance(batch, now, quirks, self.takes, self._run, self._finish)
            elif batch.status == "cancelled" and quirks.revived_after is not None:
                self._revive(batch, batch.times["cancelled_at"] + quirks.revived_after)

    # ------------------------------------------------------------------------------------------ inside

    def _enter(self, key: str, call: str) -> tuple[str, int]:
        """The caller's account, and the number of this call among its kind."""
        number = self._count(call)
        if key not in self.accounts:
            raise Refusal(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
        return self.accounts[key], number

    def _count(self, call: str) -> int:
        number, total = self._numbers[call], len(self.calls)
        self._numbers[call] += 1
        self.calls.append(call)
        if total in self.quirks.bursts:
            raise Refusal(503, "The model is overloaded. Please try again later.")
        self.advance()
        return number

    def _store(self, upload: FakeUpload) -> None:
        name, mime = field(upload.about, "displayName"), field(upload.about, "mimeType")
        id = upload.about["name"] or f"f{next(self._serials):011d}"
        self.stored[id] = FakeFile(id, upload.account, bytes(upload.data), self.now(), mime or "text/plain", name)

    def _seen_file(self, account: str, id: str, status: int) -> FakeFile:
        file = self.stored.get(id)
        if file is None or file.account != account or self.now() < file.created_at + self.quirks.file_lag:
            raise _gone(id, status)
        return file

    def _seen(self, account: str, id: str) -> FakeBatch:
        batch = self.made.get(id)
        if batch is None or batch.account != account or not self._visible(batch):
            raise Refusal(404, f"Requested entity was not found: batches/{id}")
        return batch

    def _visible(self, batch: FakeBatch) -> bool:
        return self.now() >= batch.created_at + self.quirks.list_lag

    def _asked(
        self, account: str, model: str, endpoint: str, asked: Mapping[str, Any], source: Mapping[str, Any]
    ) -> FakeBatch:
        """The batch that is asked for; one bad row, and nothing is made."""
        name = field(source, "fileName")
        try:
            if isinstance(name, str):
                rows = list(rows_of(self._seen_file(account, name.removeprefix("files/"), 403).data))
            else:
                rows = list(inline_rows_of(field(field(source, "requests"), "requests") or ()))
        except ValueError as wrong:
            raise Refusal(400, str(wrong)) from None
        if not rows:
            raise Refusal(400, "The batch has no requests.")
        batch = FakeBatch(
            id=f"b{next(self._serials):027d}",
            account=account,
            model=model,
            endpoint=endpoint,
            rows=rows,
            input_file=name,
            display_name=field(asked, "displayName"),
            created_at=self.now(),
            window=self.quirks.window,
        )
        if name is None or self.quirks.inline:
            batch.inlined = []
        return batch

    def _accept(self, batch: FakeBatch, at: float) -> FakeBatch:
        batch.created_at = at
        self.made[batch.id] = batch
        return batch

    def _start(self, batch: FakeBatch, at: float) -> None:
        if self.quirks.fails is not None:
            batch.status, batch.times["failed_at"] = "failed", at
            code = list(wire.STATUSES).index(self.quirks.fails) + 1
            batch.error = {"code": code, "message": "The batch could not be processed."}
        else:
            batch.status, batch.times["in_progress_at"] = "in_progress", at

    def _run(self, batch: FakeBatch, row: Row, at: float) -> None:
        parts = split_custom_id(row.key or "")
        key = (parts[0], parts[1]) if parts is not None else (row.key or f"{batch.id}/{batch.done}", 0)
        word = self._word(key[1], self._turns[key])
        self._turns[key] += 1
        lines, tokens = end(row, batch.model, batch.endpoint, word, self.answering)
        price = cost(tokens, self.rates) if tokens is not None else PicoUSD(0)
        self.executions.append(Execution(batch.id, row.key or "", key, at, word, tokens, price, batch.account))
        batch.lines += lines
        batch.succeeded += tokens is not None
        batch.failed += tokens is None

    def _word(self, ordinal: int, attempt: int) -> str:
        quirks = self.quirks
        if quirks.all_fail:
            return "400"
        for every, word in (
            (quirks.keyless_every, "keyless"),
            (quirks.missing_every, "missing"),
            (quirks.error_every, "500"),
        ):
            if every and (ordinal + 1) % every == 0 and attempt == 0:
                return word
        return self.rows(ordinal, attempt)

    def _finish(self, batch: FakeBatch) -> None:
        """Hand the answers out, before anybody can see that the batch is over."""
        if batch.status == "cancelled":
            batch.error = {"code": self.quirks.cancel_code, "message": "The batch was cancelled."}
        if batch.status != "completed" and not (batch.status == "cancelled" and self.quirks.cancel_keeps):
            batch.inlined = None
            return
        lines = list(batch.lines)
        if self.quirks.shuffled:
            Random(batch.id).shuffle(lines)
        if batch.inlined is not None:
            batch.inlined = [_inlined(line) for line in lines]
        else:
            batch.responses_file = f"files/batch-{batch.id}"
            self.results[f"batch-{batch.id}"] = b"".join(lines)

    def _revive(self, batch: FakeBatch, at: float) -> None:
        """It was said to be canceled, and went on all the same."""
        if at > self.now():
            return
        while batch.done < len(batch.rows):
            batch.done += 1
            self._run(batch, batch.rows[batch.done - 1], at)
        batch.status, batch.times["completed_at"], batch.error = "completed", at, None
        self._finish(batch)


def _gone(id: str, status: int) -> Refusal:
    return Refusal(status, f"You do not have permission to access the File {id} or it may not exist.")


def _page(things: list[Any], size: int, token: str) -> tuple[list[Any], dict[str, str]]:
    start = int(token or 0)
    stop = start + min(max(size, 1), 100)
    return things[start:stop], {"nextPageToken": str(stop)} if stop < len(things) else {}


def _inlined(line: bytes) -> dict[str, Any]:
    """An answer as it stands in the operation."""
    try:
        document: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    key = document.pop("key", None)
    return document if key is None else {**document, "metadata": {"key": key}}
