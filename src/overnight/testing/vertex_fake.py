"""A fake Vertex AI: batch prediction jobs over objects in buckets, a clock that is given, known quirks as switches, and
a log that tells the truth.

`FakeVertex` is the service itself. `overnight.testing.vertex_server.serving` puts HTTP in front of it (the jobs of
`/v1` and `/v1beta1`, and the few calls of Cloud Storage that they need), `overnight.testing.vertex_direct` the
`Provider` port, for virtual time. Nothing happens by itself: jobs are advanced by the clock whenever somebody calls.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from overnight.core.cost import Rates, cost
from overnight.testing.books import Books, Execution, NoAnswer, advance
from overnight.testing.gemini_rows import Answering, echo
from overnight.testing.vertex_jobs import OPEN, CannotImport, FakeJob, Quirks, rows_of
from overnight.testing.vertex_rows import Row, end
from overnight.types import PicoUSD
from overnight.wire import vertex as wire
from overnight.wire.custom_ids import split_custom_id
from overnight.wire.vertex.objects import seconds

__all__ = ["BUCKET", "LOCATION", "PROJECT", "TOKEN", "FakeVertex", "NoAnswer", "NoObject", "Quirks", "Refused"]

BEST: Final = Quirks()
TOKEN: Final = "ya29.fake"  # noqa: S105 - of the fake
PROJECT: Final = "fake-project"
LOCATION: Final = "us-central1"
BUCKET: Final = "fake-bucket"
NUMBER: Final = "123456789"
RATES: Final = Rates(input=150_000, cached=30_000, output=1_250_000)
_TERM = re.compile(r'(NOT )?(display_name|state|create_time|labels\.[a-z0-9_-]+)(=|!=|<=|>=|<|>|:)"?([^"]*)"?')


class Refused(Exception):
    """A call that is answered with an error: HTTP code, status in words, message."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status, self.message = code, status, message

    def document(self) -> dict[str, Any]:
        """Google's error envelope."""
        return {"error": {"code": self.code, "message": self.message, "status": self.status}}


class NoObject(Exception):
    """There is no such object, or bucket."""


class FakeVertex(Books):
    """The service. `now` is its clock; `takes` the seconds that a job runs; `rows(ordinal, attempt)` the word by which
    a row ends (`vertex_rows`), the attempt counted from 0 over all jobs; `accounts` maps tokens to projects; `stored`
    `gs://` names to objects. Every method takes the caller's token first and raises `Refused` or `NoAnswer`."""

    made: dict[str, FakeJob]
    stored: dict[str, bytes]

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
        buckets: frozenset[str] = frozenset({BUCKET}),
    ) -> None:
        super().__init__()
        self.now = now
        self.quirks = quirks
        self.takes = takes
        self.rows = rows
        self.answering = answering
        self.rates = rates
        self.accounts = {TOKEN: PROJECT} if accounts is None else accounts
        self.buckets = buckets
        self._serials = itertools.count(1)
        self._numbers: Counter[str] = Counter()
        self._turns: Counter[tuple[str, int]] = Counter()
        self._late: list[tuple[float, str, str, dict[str, Any]]] = []

    # ----------------------------------------------------------------------------------------- objects

    def put(self, token: str, bucket: str, name: str, data: bytes) -> None:
        """Store an object; one of that name is replaced."""
        self._enter(token, "put")
        self._bucket(bucket)
        self.stored[f"gs://{bucket}/{name}"] = data

    def read(self, token: str, bucket: str, name: str) -> tuple[bytes, bool]:
        """The bytes, and whether the way is cut half way. Raises `NoObject`."""
        number = self._enter(token, "read")
        return self._object(bucket, name), number in self.quirks.cut_downloads

    def size(self, token: str, bucket: str, name: str) -> int:
        """Bytes of an object. Raises `NoObject`."""
        self._enter(token, "size")
        return len(self._object(bucket, name))

    def names(self, token: str, bucket: str, prefix: str) -> dict[str, int]:
        """Names in the bucket that start so, in order, with their sizes."""
        self._enter(token, "names")
        self._bucket(bucket)
        start = f"gs://{bucket}/"
        found = sorted(name.removeprefix(start) for name in self.stored if name.startswith(start + prefix))
        return {name: len(self.stored[start + name]) for name in found}

    def delete(self, token: str, bucket: str, name: str) -> None:
        """Remove an object. Raises `NoObject`."""
        self._enter(token, "delete")
        self._object(bucket, name)
        del self.stored[f"gs://{bucket}/{name}"]

    # -------------------------------------------------------------------------------------------- jobs

    def create(self, token: str, project: str, location: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST …/batchPredictionJobs."""
        number = self._enter(token, "create", project)
        asked = _checked(body)
        parent = f"projects/{NUMBER}/locations/{location}"
        account, now = self.accounts[token], self.now()
        if number in self.quirks.late_creates:
            self._late.append((now + self.quirks.late_creates[number], parent, account, asked))
            raise NoAnswer
        job = self._accept(parent, account, asked, now)
        if number in self.quirks.repeated_creates:
            self._accept(parent, account, asked, now)
        if number in self.quirks.lost_creates:
            raise NoAnswer
        if number in self.quirks.failed_creates:
            raise Refused(500, "INTERNAL", "Internal error encountered.")
        return job.document()

    def job(self, token: str, project: str, id: str) -> dict[str, Any]:
        """GET …/batchPredictionJobs/{id}."""
        self._enter(token, "job", project)
        return self._seen(token, id).document()

    def jobs(
        self, token: str, project: str, wanted: str = "", page_size: int = 100, page_token: str = ""
    ) -> dict[str, Any]:
        """GET …/batchPredictionJobs, newest first, with the filter that the discovery document tells of."""
        self._enter(token, "jobs", project)
        mine = [job for job in reversed(self.made.values()) if job.account == project and self._visible(job)]
        documents = [document for document in (job.document() for job in mine) if _holds(document, wanted)]
        start = int(page_token or 0)
        stop = start + min(page_size, 100)
        return wire.list_object(documents[start:stop], str(stop) if stop < len(documents) else None)

    def cancel(self, token: str, project: str, id: str) -> dict[str, Any]:
        """POST …/batchPredictionJobs/{id}:cancel."""
        self._enter(token, "cancel", project)
        job = self._seen(token, id)
        if job.status not in OPEN:
            raise Refused(400, "FAILED_PRECONDITION", f"The job is in state {job.document()['state']}.")
        if job.status == "pending":
            job.status, job.times["cancelled_at"] = "cancelled", self.now()
        elif job.cancel_at is None:
            job.cancel_at, job.status = self.now(), "cancelling"
            self.advance()
        return {}

    def delete_job(self, token: str, project: str, id: str) -> dict[str, Any]:
        """DELETE …/batchPredictionJobs/{id}: an operation that is done."""
        self._enter(token, "delete_job", project)
        job = self._seen(token, id)
        if job.status in OPEN:
            raise Refused(400, "FAILED_PRECONDITION", "The job has not ended.")
        del self.made[job.id]
        return {"name": f"{job.parent}/operations/{next(self._serials)}", "done": True}

    def advance(self) -> None:
        """Bring everything to what the clock says."""
        now = self.now()
        late, self._late = self._late, []
        for at, parent, account, asked in sorted(late, key=lambda each: each[0]):
            if at > now:
                self._late.append((at, parent, account, asked))
            else:
                self._accept(parent, account, asked, at)
        for job in list(self.made.values()):
            if job.status == "pending" and job.expires_at <= min(now, job.created_at + self.quirks.queue):
                job.status, job.times["expired_at"] = "expired", job.expires_at
            elif job.status == "pending" and now >= (at := job.created_at + self.quirks.queue):
                self._import(job, at)
            if job.status in OPEN and "in_progress_at" in job.times:
                advance(job, now, self.quirks, self.takes, self._run, self._finish)

    # ------------------------------------------------------------------------------------------ inside

    def _enter(self, token: str, call: str, project: str | None = None) -> int:
        """The number of this call among its kind."""
        number, total = self._numbers[call], len(self.calls)
        self._numbers[call] += 1
        self.calls.append(call)
        if total in self.quirks.bursts:
            raise Refused(503, "UNAVAILABLE", "The service is currently unavailable.")
        if token not in self.accounts:
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if project not in {None, self.accounts[token]}:
            raise Refused(403, "PERMISSION_DENIED", "Permission 'aiplatform.batchPredictionJobs' denied on resource.")
        self.advance()
        return number

    def _bucket(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise NoObject(bucket)

    def _object(self, bucket: str, name: str) -> bytes:
        try:
            return self.stored[f"gs://{bucket}/{name}"]
        except KeyError:
            raise NoObject(name) from None

    def _seen(self, token: str, id: str) -> FakeJob:
        job = self.made.get(id)
        if job is None or job.account != self.accounts[token] or not self._visible(job):
            raise Refused(404, "NOT_FOUND", "The BatchPredictionJob does not exist.")
        return job

    def _visible(self, job: FakeJob) -> bool:
        return self.now() >= job.created_at + self.quirks.list_lag

    def _accept(self, parent: str, account: str, asked: Mapping[str, Any], at: float) -> FakeJob:
        job = FakeJob(
            f"{next(self._serials):019d}".replace("0", "7", 1), parent, account, asked, at, self.quirks.window
        )
        self.made[job.id] = job
        return job

    def _import(self, job: FakeJob, at: float) -> None:
        prefix = job.asked["outputConfig"]["gcsDestination"]["outputUriPrefix"]
        for url in (job.source, prefix):
            if url.removeprefix("gs://").partition("/")[0] not in self.buckets:
                job.fail(at, 9, f"Failed to get GCS bucket location for {url}.")
                return
        if self.quirks.no_bucket_access:
            job.fail(at, 7, "The service agent lacks storage.objects.create on the bucket.")
            return
        if job.source not in self.stored:
            job.fail(at, 3, f"Failed to import data. Not found: URI {job.source} was not found.")
            return
        try:
            job.rows = list(rows_of(self.stored[job.source], self.quirks))
        except CannotImport as error:
            job.fail(at, 3, f"Failed to import data. {error}.")
            return
        job.status, job.times["in_progress_at"] = "in_progress", at

    def _run(self, job: FakeJob, row: Row, at: float) -> None:
        parts = split_custom_id(row.custom_id)
        key = (parts[0], parts[1]) if parts is not None else (row.custom_id, 0)
        word = self._word(key[1], self._turns[key])
        self._turns[key] += 1
        lines, tokens = end(row, job.model, word, self.answering, total=not self.quirks.no_total)
        price = cost(tokens, self.rates) if tokens is not None else PicoUSD(0)
        self.executions.append(Execution(job.id, row.custom_id, key, at, word, tokens, price, job.account))
        job.output.append(lines)
        job.succeeded += tokens is not None
        job.failed += tokens is None

    def _word(self, ordinal: int, attempt: int) -> str:
        quirks = self.quirks
        for every, word in (
            (quirks.partial_every, "missing"),
            (quirks.missing_every, "missing"),
            (quirks.error_every, "500"),
        ):
            if every and (ordinal + 1) % every == 0 and attempt == 0:
                return word
        return self.rows(ordinal, attempt)

    def _finish(self, job: FakeJob) -> None:
        """Export, before anybody can see that the job is over."""
        at = max(job.times.values())
        if self.quirks.export_fails:
            job.fail(at, 13, "Failed to export data to the output directory.")
            return
        if job.status == "completed" and b"" in job.output and self.quirks.partial_every:
            job.status = "partial"
        lines = [line for line in job.output if line]
        job.output = []
        if not lines:
            return
        if self.quirks.shuffled:
            Random(job.id).shuffle(lines)
        prefix = job.asked["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        unique = "" if self.quirks.folders_collide else f"-{job.id}"
        job.folder = f"{prefix}/prediction-model-{wire.timestamp(job.created_at)}{unique}"
        files = self.quirks.files
        for number in range(files):
            name = "predictions.jsonl" if files == 1 else f"predictions_{number + 1:05d}-of-{files:05d}.jsonl"
            self.stored[f"{job.folder}/{name}"] = b"".join(lines[number::files])


def _checked(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a job is asked for. Raises `Refused` for what the service refuses at once."""
    for name in ("displayName", "model", "inputConfig", "outputConfig"):
        if not body.get(name):
            raise Refused(400, "INVALID_ARGUMENT", f"{name} is missing.")
    given, wanted = body["inputConfig"], body["outputConfig"]
    uris = (given.get("gcsSource") or {}).get("uris") or []
    prefix = (wanted.get("gcsDestination") or {}).get("outputUriPrefix", "")
    if given.get("instancesFormat") != "jsonl" or wanted.get("predictionsFormat") != "jsonl" or len(uris) != 1:
        raise Refused(400, "INVALID_ARGUMENT", "Only one JSON Lines file in Cloud Storage is taken here.")
    if not all(url.startswith("gs://") for url in (*uris, prefix)):
        raise Refused(400, "INVALID_ARGUMENT", "A URI must start with gs://.")
    if "no-such-model" in body["model"]:
        raise Refused(404, "NOT_FOUND", f"Publisher Model `{body['model']}` was not found.")
    labels = body.get("labels") or {}
    if len(body["displayName"]) > 128 or any(not re.fullmatch(r"[a-z0-9_-]{0,63}", text) for text in labels.values()):
        raise Refused(400, "INVALID_ARGUMENT", "Invalid display name or label.")
    return dict(body)


def _holds(document: Mapping[str, Any], wanted: str) -> bool:
    """Whether a job is let through by a filter: terms, AND before OR."""
    if not wanted:
        return True
    return any(all(_term(document, term) for term in part.split(" AND ")) for part in wanted.split(" OR "))


def _term(document: Mapping[str, Any], term: str) -> bool:
    matched = _TERM.fullmatch(term.strip())
    if matched is None:
        raise Refused(400, "INVALID_ARGUMENT", "Invalid list filter.")
    negated, field, operator, value = matched.groups()
    labels = document.get("labels") or {}
    known = {"display_name": document["displayName"], "state": document["state"], "create_time": document["createTime"]}
    have = labels.get(field.removeprefix("labels.")) if field.startswith("labels.") else known[field]
    return _compared(have, operator, value, field == "create_time") != bool(negated)


def _compared(have: str | None, operator: str, value: str, is_time: bool) -> bool:
    if operator == ":":
        return have is not None and re.fullmatch(re.escape(value).replace(r"\*", ".*"), have) is not None
    if not is_time:
        return (have == value) == (operator == "=")
    left, right = seconds(have) or 0.0, seconds(value) or 0.0
    return {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]
