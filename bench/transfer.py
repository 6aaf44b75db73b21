"""What HTTP alone costs: our own adapter uploads request files and downloads the answers to them, and nothing reads
either. `transfer.py BASE_URL FOLDER`, with request files in the folder; prints CPU seconds."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from overnight.blobs.files import FileBlobs
from overnight.providers.openai import OpenAIProvider
from overnight.testing.examples import submission
from overnight.types import FileId, Tag

_AT_ONCE = 8


async def _transfer(base_url: str, files: list[Path], scratch: Path) -> dict[str, float]:
    blobs = FileBlobs(scratch)
    turns = asyncio.Semaphore(_AT_ONCE)
    provider = OpenAIProvider("bench", base_url)

    async def up(path: Path) -> FileId:
        async with turns:
            return await provider.upload(lambda: path.open("rb"), path.stat().st_size, path.name)

    async def down(file_id: FileId) -> None:
        async with turns:
            with blobs.create(file_id) as writer:
                await provider.download(file_id, writer)
                await asyncio.to_thread(writer.commit)

    try:
        begun = time.process_time()
        uploaded = await asyncio.gather(*map(up, files))
        sent = time.process_time()
        marks = ((submission(file_id, "/v1/chat/completions", Tag(file_id), {})) for file_id in uploaded)
        batches = [await provider.create(each) for each in marks]
        outputs = [batch.output_file for batch in batches if batch.output_file is not None]
        assert len(outputs) == len(files)
        before = time.process_time()
        await asyncio.gather(*map(down, outputs))
        return {"upload": sent - begun, "download": time.process_time() - before}
    finally:
        await provider.close()


if __name__ == "__main__":
    with TemporaryDirectory(dir=sys.argv[2]) as scratch:
        found = sorted(Path(sys.argv[2]).glob("*.jsonl"))
        print(json.dumps(asyncio.run(_transfer(sys.argv[1], found, Path(scratch)))))
