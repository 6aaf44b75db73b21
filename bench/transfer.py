"""What HTTP alone costs: our own adapter sends request files, creates batches of them and downloads their answers, and
nothing reads either. `transfer.py DIALECT BASE_URL FOLDER`, with request files in the folder and the environment of
the command; prints CPU seconds."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from overnight.blobs.files import FileBlobs
from overnight.ports import Provider, Submission
from overnight.types import Endpoint, FileId, RemoteBatch, Tag

_AT_ONCE = 8
_ENDPOINTS = {"openai": Endpoint.CHAT, "anthropic": Endpoint.MESSAGES}


def provider_of(dialect: str, base_url: str) -> Provider:
    """The adapter."""
    match dialect:
        case "anthropic":
            from overnight.providers.anthropic import AnthropicProvider

            return AnthropicProvider("bench", base_url)
        case "gemini":
            from overnight.providers.gemini import GeminiProvider

            return GeminiProvider("bench", base_url)
        case "vertex":
            from overnight.blobs.objects import google_bucket
            from overnight.providers.google_access import google_access
            from overnight.providers.vertex import VertexProvider

            google = google_access("bench")
            open_bucket = partial(google_bucket, base_url=base_url, credential=google.token)
            place = {"project": "bench", "location": "global", "base_url": base_url}
            return VertexProvider(google, open_bucket, "bucket", "jobs/", **place)
        case _:
            from overnight.providers.openai import OpenAIProvider

            return OpenAIProvider("bench", base_url)


async def _transfer(dialect: str, base_url: str, files: list[Path], scratch: Path) -> dict[str, float]:
    blobs = FileBlobs(scratch)
    turns = asyncio.Semaphore(_AT_ONCE)
    provider = provider_of(dialect, base_url)
    endpoint = _ENDPOINTS.get(dialect, Endpoint.GENERATE)

    async def up(path: Path) -> RemoteBatch:
        content, size, name = partial(path.open, "rb"), path.stat().st_size, f"again-{path.name}"
        async with turns:
            file_id = await provider.upload(content, size, name)
            return await provider.create(
                Submission(file_id, name, "gemini-2.5-flash", endpoint, Tag(path.stem), {}, content, size, 0)
            )

    async def down(file_id: FileId) -> None:
        async with turns:
            with blobs.create(path_of(file_id)) as writer:
                await provider.download(file_id, writer)
                await asyncio.to_thread(writer.commit)

    try:
        begun = time.process_time()
        batches = await asyncio.gather(*map(up, files))
        before = time.process_time()
        outputs = [batch.output_file for batch in batches if batch.output_file is not None]
        assert len(outputs) == len(files)
        ended = time.process_time()
        await asyncio.gather(*map(down, outputs))
        return {"upload": before - begun, "download": time.process_time() - ended}
    finally:
        await provider.close()


def path_of(file_id: FileId) -> str:
    """A name for what a file holds."""
    return "".join(letter if letter.isalnum() else "-" for letter in file_id)


if __name__ == "__main__":
    dialect, base_url, folder = sys.argv[1:]
    with TemporaryDirectory(dir=folder) as scratch:
        found = sorted(Path(folder).glob("*.jsonl"))
        print(json.dumps(asyncio.run(_transfer(dialect, base_url, found, Path(scratch)))))
