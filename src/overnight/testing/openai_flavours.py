"""What APIs made after OpenAI's do otherwise, for the fake: paths, words and objects of Azure, Mistral, Groq, Together.

Inside, the fake thinks as OpenAI does. A flavour turns what comes in into OpenAI's words, and what goes out into its
own; it takes from a client nothing but what the API is known to take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from overnight.wire.openai.refusal import Refusal

Query = Mapping[str, str]
ANY: Final = 1_000_000


class Flavour:
    """OpenAI itself."""

    name = "openai"
    root = "/v1"
    batches = "/batches"
    uploads = "/files"
    purpose = "batch"
    lines_name_url = True
    writes_empty_files = False  # an error file without a line
    takes_any_file = True  # a batch of a file that is not there is accepted, and fails
    expires = True

    def key(self, headers: Mapping[str, str]) -> str:
        """The caller's key; header names are in small letters."""
        return headers.get("authorization", "").removeprefix("Bearer ")

    def check_query(self, query: Query, listing: bool) -> None:
        """Raises `Refusal` for parameters of an address that the API does not take."""

    def endpoint(self, name: object) -> object:
        """OpenAI's endpoint of what a create or a line calls so."""
        return name

    def check_lines(self, data: bytes) -> None:
        """Raises `Refusal` for a file that is not taken."""

    def asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a create."""
        return dict(body)

    def fault(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Why a batch failed."""
        return entry

    def row(self, line: bytes) -> bytes:
        """A line of an output or error file; nothing where the API writes none."""
        return line

    def file(self, document: dict[str, Any]) -> dict[str, Any]:
        """A file object."""
        return document

    def batch(self, document: dict[str, Any]) -> dict[str, Any]:
        """A batch object."""
        return document

    def made(self, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer to a create."""
        return 200, self.batch(document)

    def window(self, query: Query, most: int) -> tuple[str | None, int]:
        """Behind which entry a page begins, and how many it may hold."""
        return query.get("after"), min(int(query.get("limit", 20)), most)

    def file_list(self, page: dict[str, Any], query: Query) -> Any:
        """A page of files, newest first."""
        return {**page, "data": [self.file(each) for each in page["data"]]}

    def batch_list(self, page: dict[str, Any], query: Query) -> Any:
        """A page of batches, newest first."""
        return {**page, "data": [self.batch(each) for each in page["data"]]}

    def error(self, refusal: Refusal) -> bytes:
        """The body of an error answer."""
        return refusal.body()


class Azure(Flavour):
    """The v1 API. `value_lists`: lists are `{"value": [...]}`, and no batch has counts."""

    name = "azure"
    root = "/openai/v1"
    writes_empty_files = True
    expires = False
    codes: Final = {"invalid_url": "url_mismatch", "mismatched_model": "model_mismatch"}

    def __init__(self, value_lists: bool = False) -> None:
        self.value_lists = value_lists

    def key(self, headers: Mapping[str, str]) -> str:
        """The caller's key."""
        return headers.get("api-key", "")

    def fault(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Why a batch failed."""
        return {**entry, "code": self.codes.get(entry["code"], entry["code"])}

    def batch(self, document: dict[str, Any]) -> dict[str, Any]:
        """A batch object."""
        return {**document, "request_counts": None} if self.value_lists else document

    def file_list(self, page: dict[str, Any], query: Query) -> Any:
        """A page of files, newest first."""
        page = super().file_list(page, query)
        return {"value": page["data"]} if self.value_lists else page

    def batch_list(self, page: dict[str, Any], query: Query) -> Any:
        """A page of batches, newest first."""
        page = super().batch_list(page, query)
        return {"value": page["data"]} if self.value_lists else page


class DatedAzure(Azure):
    """The API of a date: `api-version` in every address, endpoints without `/v1`."""

    root = "/openai"

    def check_query(self, query: Query, listing: bool) -> None:
        """Raises `Refusal` where no version is named."""
        if not query.get("api-version"):
            raise Refusal("Missing required query parameter: api-version", status=404)

    def endpoint(self, name: object) -> object:
        """OpenAI's endpoint of what a create or a line calls so."""
        return "?" if str(name).startswith("/v1") else f"/v1{name}"

    def asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a create."""
        return {**body, "endpoint": self.endpoint(body.get("endpoint"))}


class Mistral(Flavour):
    """Batch jobs with words of their own; a file is checked when it comes."""

    name = "mistral"
    batches = "/batch/jobs"
    lines_name_url = False
    takes_any_file = False
    statuses: Final = {
        "validating": "QUEUED",
        "in_progress": "RUNNING",
        "finalizing": "RUNNING",
        "completed": "SUCCESS",
        "failed": "FAILED",
        "expired": "TIMEOUT_EXCEEDED",
        "cancelling": "CANCELLATION_REQUESTED",
        "cancelled": "CANCELLED",
    }
    listing: Final = {"page", "page_size", "created_after", "order_by", "purpose"}

    def check_query(self, query: Query, listing: bool) -> None:
        """Raises `Refusal` for parameters that no list has."""
        if not self.listing >= query.keys():
            raise Refusal("Unknown query parameter", status=422)

    def check_lines(self, data: bytes) -> None:
        """Raises `Refusal` where a line is not `{"custom_id", "body"}`."""
        for line in data.splitlines():
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:
                document = {}
            if document.keys() - {"custom_id"} != {"body"}:
                raise Refusal("Invalid file format.", status=422)

    def asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a create."""
        files = body.get("input_files")
        if not isinstance(files, list) or len(files) != 1 or not 1 <= body.get("timeout_hours", 24) <= 168:
            raise Refusal("Input should be a valid list", status=422)
        return {**body, "input_file_id": files[0], "completion_window": "24h"}

    def row(self, line: bytes) -> bytes:
        """A line of an output or error file: the body of a refused row is a text."""
        document = orjson.loads(line)
        if document["error"] is not None:
            return b""
        response = {"status_code": document["response"]["status_code"], "body": document["response"]["body"]}
        if response["status_code"] >= 300:
            refused = {"object": "error", **response["body"].get("error", {})}
            response["body"] = orjson.dumps(refused).decode()
        return orjson.dumps({**document, "response": response}) + b"\n"

    def file(self, document: dict[str, Any]) -> dict[str, Any]:
        """A file object."""
        kept = {name: document[name] for name in ("id", "object", "bytes", "created_at", "filename")}
        return {**kept, "purpose": "batch", "sample_type": "batch_request", "source": "upload", "expires_at": None}

    def batch(self, document: dict[str, Any]) -> dict[str, Any]:
        """A batch job."""
        counts, errors = document["request_counts"], (document["errors"] or {"data": []})["data"]
        ends = [document[name] for name in ("completed_at", "failed_at", "expired_at", "cancelled_at")]
        return {
            "id": document["id"],
            "object": "batch",
            "input_files": [document["input_file_id"]],
            "endpoint": document["endpoint"],
            "model": document["model"],
            "agent_id": None,
            "metadata": document["metadata"],
            "output_file": document["output_file_id"],
            "error_file": document["error_file_id"],
            "errors": [{"message": error["message"], "count": 1} for error in errors],
            "outputs": None,
            "status": self.statuses[document["status"]],
            "created_at": document["created_at"],
            "started_at": document["in_progress_at"],
            "completed_at": next((at for at in ends if at is not None), None),
            "total_requests": counts["total"],
            "completed_requests": counts["completed"] + counts["failed"],
            "succeeded_requests": counts["completed"],
            "failed_requests": counts["failed"],
        }

    def window(self, query: Query, most: int) -> tuple[str | None, int]:
        """All: its pages are made here."""
        return None, ANY

    def file_list(self, page: dict[str, Any], query: Query) -> Any:
        """A page of files."""
        return self._numbered([self.file(each) for each in page["data"]], query)

    def batch_list(self, page: dict[str, Any], query: Query) -> Any:
        """A page of jobs, newest first unless asked otherwise."""
        since = query.get("created_after")
        least = datetime.fromisoformat(since).timestamp() if since else 0.0
        jobs = [self.batch(each) for each in page["data"] if each["created_at"] >= least]
        return self._numbered(jobs if query.get("order_by") != "created" else jobs[::-1], query)

    def error(self, refusal: Refusal) -> bytes:
        """The body of an error answer."""
        return orjson.dumps({"detail": "Invalid API Key" if refusal.status == 401 else refusal.message})

    @staticmethod
    def _numbered(documents: Sequence[dict[str, Any]], query: Query) -> dict[str, Any]:
        page, size = int(query.get("page", 0)), int(query.get("page_size", 100))
        return {"data": documents[page * size : (page + 1) * size], "object": "list", "total": len(documents)}


class Groq(Flavour):
    """OpenAI's objects without usage and model; lists take no parameters and come whole."""

    name = "groq"
    root = "/openai/v1"

    def check_query(self, query: Query, listing: bool) -> None:
        """Raises `Refusal` for any parameter."""
        if query:
            raise Refusal("unknown query parameter")

    def batch(self, document: dict[str, Any]) -> dict[str, Any]:
        """A batch object."""
        return {name: value for name, value in document.items() if name not in {"usage", "model"}}

    def window(self, query: Query, most: int) -> tuple[str | None, int]:
        """All."""
        return None, ANY

    def file_list(self, page: dict[str, Any], query: Query) -> Any:
        """All files."""
        return {"object": "list", "data": [self.file(each) for each in page["data"]]}

    def batch_list(self, page: dict[str, Any], query: Query) -> Any:
        """All batches."""
        return {"object": "list", "data": [self.batch(each) for each in page["data"]]}


class Together(Groq):
    """Jobs without counters and marks; what is not known is absent, times are text."""

    name = "together"
    root = "/v1"
    uploads = "/files/upload"
    purpose = "batch-api"
    lines_name_url = False
    statuses: Final = {"finalizing": "IN_PROGRESS", "cancelling": "CANCELING"}

    def check_lines(self, data: bytes) -> None:
        """Raises `Refusal` where a line is not `{"custom_id", "body"}`."""
        for line in data.splitlines():
            if line and orjson.loads(line).keys() != {"custom_id", "body"}:
                raise Refusal("invalid file format")

    def asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a create: what it does not know, a mark too, is not taken."""
        unknown = body.keys() - {"input_file_id", "endpoint", "completion_window", "model_id", "priority"}
        if unknown:
            raise Refusal("unknown field")
        return {**body, "completion_window": "24h", "metadata": None}

    def row(self, line: bytes) -> bytes:
        """A line of an output or error file."""
        document = orjson.loads(line)
        response, told = document["response"], {"id": document["id"], "custom_id": document["custom_id"]}
        if response is None:
            return b""
        if response["status_code"] >= 300:
            error = response["body"].get("error", {})
            return (
                orjson.dumps({**told, "error": {"code": "batch_client_error", "message": error.get("message")}}) + b"\n"
            )
        return orjson.dumps({**told, "response": {"status_code": 200, "body": response["body"]}}) + b"\n"

    def file(self, document: dict[str, Any]) -> dict[str, Any]:
        """A file object."""
        kept = {name: document[name] for name in ("id", "object", "bytes", "created_at", "filename")}
        return {**kept, "purpose": "batch-api", "Processed": True, "FileType": "jsonl", "LineCount": 0}

    def batch(self, document: dict[str, Any]) -> dict[str, Any]:
        """A job."""
        status, errors = document["status"], (document["errors"] or {"data": []})["data"]
        ends = [document[name] for name in ("completed_at", "failed_at", "expired_at", "cancelled_at")]
        told = {
            "id": document["id"],
            "user_id": "user-1",
            "input_file_id": document["input_file_id"],
            "file_size_bytes": 0,
            "status": self.statuses.get(status, status.upper()),
            "job_deadline": _moment(document["expires_at"]),
            "created_at": _moment(document["created_at"]),
            "completed_at": _moment(next((at for at in ends if at is not None), None)),
            "endpoint": document["endpoint"],
            "progress": 100.0 if status == "completed" else 0.0,
            "model_id": document["model"],
            "output_file_id": document["output_file_id"],
            "error_file_id": document["error_file_id"],
            "error": errors[0]["message"] if errors else None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def made(self, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer to a create."""
        return 201, {"job": self.batch(document)}

    def file_list(self, page: dict[str, Any], query: Query) -> Any:
        """All files."""
        return {"data": [self.file(each) for each in page["data"]]}

    def batch_list(self, page: dict[str, Any], query: Query) -> Any:
        """All jobs, in a bare array."""
        return [self.batch(each) for each in page["data"]]

    def error(self, refusal: Refusal) -> bytes:
        """The body of an error answer."""
        return orjson.dumps({"error": "Job not found" if refusal.status == 404 else refusal.message})


OPENAI: Final = Flavour()
FLAVOURS: Final[Mapping[str, Flavour]] = {
    "openai": OPENAI,
    "azure": Azure(),
    "azure, dated": DatedAzure(),
    "azure, value": DatedAzure(value_lists=True),
    "mistral": Mistral(),
    "groq": Groq(),
    "together": Together(),
}
"""By name; the forms of Azure apart."""


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
