"""Which job a spec is: the hash of what is asked and of what is read, and of nothing else.

Account, output, kept columns, batch sizes, policy, polling and selection are not part of it: changing them changes the
same job.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from overnight.spec import Spec
from overnight.types import Job, JobId


def identity(spec: Spec, schema: Mapping[str, Any] | None, locator: str, salt: int) -> str:
    """Hexadecimal sha256. `schema` is the answer's JSON Schema as loaded, so that an edited schema file is another job;
    `locator` is the source's; `salt` counts the times that the user asked to start over."""
    told = [
        spec.model,
        spec.endpoint or "chat",
        spec.raw,
        msgspec.to_builtins(spec.prompt),
        msgspec.to_builtins(spec.parameters),
        list(spec.answer.labels) if spec.answer.labels is not None else None,
        schema,
        locator,
        salt,
    ]
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


def job_id(name: str, identity: str) -> JobId:
    """For people and file names: the job's name in small letters, and enough of its identity."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24].strip("-") or "job"
    return JobId(f"{slug}-{identity[:10]}")


def run_tag(job: Job) -> str:
    """The eight characters that begin every `custom_id` of a job. Where an answer's id is all that tells whose a batch
    is, the same spec run from another home must not look like this one: so the moment of its making is part of it."""
    return hashlib.sha256(f"{job.identity} {job.created_at!r}".encode()).hexdigest()[:8]
