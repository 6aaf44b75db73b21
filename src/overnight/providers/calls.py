"""Calls whose answers are JSON objects, and lists of batches that are read page by page: what the APIs with a cursor
have in common. Every failure says what was being done, and never shows the key."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from overnight.errors import ProviderError
from overnight.http import Answer, Http
from overnight.types import Failure, FailureKind, RemoteBatch, RemoteId


class Spoken(Protocol):
    """What a dialect says of answers."""

    def error_failure(self, status: int, body: bytes, retry_after: float | None = None) -> Failure:
        """What an error answer means."""

    def not_json_failure(self, status: int, body: bytes) -> Failure:
        """What a success without a JSON object means."""

    def batch_from(self, document: object) -> RemoteBatch:
        """A batch object. Raises ValueError."""


class Calls:
    """One API. `batches` is the path of its list of batches, `cursor` the parameter that names the last id of the page
    before (`page`: the number of the page), `limit` how many batches a page may hold, `limited_by` the parameter that
    says so; None: lists take no parameters and come whole."""

    def __init__(
        self,
        http: Http,
        spoken: Spoken,
        key: str,
        batches: str,
        cursor: str,
        limit: int,
        limited_by: str | None = "limit",
    ) -> None:
        self.http = http
        self._spoken = spoken
        self._key = key
        self._batches = batches
        self._cursor = cursor
        self._limit = limit
        self._limited_by = limited_by

    async def newest(self, since: float, doing: str) -> AsyncGenerator[RemoteBatch, None]:
        """Every batch made at or after `since`, and some before. The list has no filter; it is read newest first until
        it is older than that, and to its end where it turns out not to be sorted so."""
        newest_first, last = True, float("inf")
        async with aclosing(self.pages(self._batches, {}, doing, self._limit)) as pages:
            async for page in pages:
                for batch in (self.batch(document, doing) for document in page):
                    yield batch
                    newest_first = newest_first and batch.created_at is not None and batch.created_at <= last
                    last = batch.created_at if batch.created_at is not None else last
                if newest_first and last < since:
                    break

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now: pages of the list as long as a page brings more than one of them, then one by
        one what is left."""
        doing = "look at the batches"
        wanted, found = set(ids), dict[RemoteId, RemoteBatch]()
        if len(wanted) > 1:
            async with aclosing(self.pages(self._batches, {}, doing, 100)) as pages:
                async for page in pages:
                    batches = [self.batch(document, doing) for document in page]
                    new = {batch.id: batch for batch in batches if batch.id in wanted}
                    found |= new
                    wanted -= new.keys()
                    if len(new) < 2 or len(wanted) < 2:
                        break
        for remote_id in sorted(wanted):
            answer = await self.http.get(self.path_of(remote_id))
            if answer.status != 404:
                found[remote_id] = self.batch(self.document(answer, doing), doing)
        return found

    def path_of(self, remote_id: str) -> str:
        """Where a batch is."""
        return f"{self._batches}/{quoted(remote_id)}"

    async def pages(
        self, path: str, query: Mapping[str, str], doing: str, limit: int
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Every page of a list, of at most `limit` entries. Raises where a page is no list or brings again what came
        before: then what was read is no complete listing."""
        seen: set[str] = set()
        asked = {} if self._limited_by is None else {**query, self._limited_by: str(limit)}
        for number in itertools.count(1):
            page, more = self._page(await self.http.get(path, asked), doing)
            fresh = [each for each in page if each["id"] not in seen]
            if more and not fresh:
                raise self.error(Failure(FailureKind.PERMANENT, "the list does not go on"), doing)
            seen.update(str(each["id"]) for each in fresh)
            if fresh:
                yield fresh
            if not fresh or more is False or self._limited_by is None:
                return
            asked[self._cursor] = str(number) if self._cursor == "page" else str(page[-1]["id"])

    def _page(self, answer: Answer, doing: str) -> tuple[list[dict[str, Any]], bool | None]:
        """The entries, bare or in an object, and whether there are more, where it says."""
        told = self._json(answer, doing)
        page, more = told, None
        if isinstance(told, dict):
            page = told["data"] if "data" in told else told.get("value")  # Azure has either
            more = told.get("has_more")
        if not isinstance(page, list) or not all(isinstance(each, dict) and each.get("id") for each in page):
            raise self.error(Failure(FailureKind.PERMANENT, "the answer is no list object"), doing)
        return page, more

    async def tokened(self, query: Mapping[str, str], name: str, doing: str) -> AsyncGenerator[RemoteBatch, None]:
        """Every batch of a list of Google's, which stands under `name` and leads on by tokens. Raises where a page is
        no list, or leads to one that was read: then what was read is no complete listing."""
        token, seen = "", set[str]()
        while True:
            asked = {**query, "pageSize": str(self._limit), **({self._cursor: token} if token else {})}
            document = self.document(await self.http.get(self._batches, asked), doing)
            page, told = document.get(name, []), document.get("nextPageToken") or ""
            if not isinstance(page, list) or document.get("unreachable"):
                raise self.error(Failure(FailureKind.PERMANENT, "the answer is no whole list of batches"), doing)
            for batch in page:
                yield self.batch(batch, doing)
            if not told:
                return
            if not isinstance(told, str) or told in seen:
                raise self.error(Failure(FailureKind.PERMANENT, "the list does not go on"), doing)
            seen.add(told)
            token = told

    def batch(self, document: object, doing: str) -> RemoteBatch:
        """The batch. Raises `ProviderError` where it is none."""
        try:
            return self._spoken.batch_from(document)
        except ValueError as error:
            raise self.error(Failure(FailureKind.PERMANENT, f"the answer is {error}"), doing) from None

    def document(self, answer: Answer, doing: str) -> dict[str, Any]:
        """The JSON object of a 2xx answer. Raises `ProviderError` for everything else."""
        document = self._json(answer, doing)
        if not isinstance(document, dict):
            raise self.error(self._spoken.not_json_failure(answer.status, answer.body), doing)
        return document

    def _json(self, answer: Answer, doing: str) -> Any:
        if not 200 <= answer.status < 300:
            raise self.error(self.refusal(answer), doing)
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            raise self.error(self._spoken.not_json_failure(answer.status, answer.body), doing) from None

    def refusal(self, answer: Answer) -> Failure:
        """What an answer that is no 2xx means."""
        return self._spoken.error_failure(answer.status, answer.body, answer.retry_after)

    def error(self, failure: Failure, doing: str) -> ProviderError:
        """The failure with what was being done, and where."""
        told = failure.message.replace(self._key, "***") if self._key else failure.message
        return ProviderError(replace(failure, message=f"cannot {doing} ({self.http.host}): {told}"))


def quoted(id: str) -> str:
    """An id as part of a path."""
    return quote(id, safe="")
