"""The process that runs one embedded model: `python -m overnight.upstreams.local_child`.

Standard input: one JSON line with the order (`Order`), then nothing; when it closes, this process ends at once,
whatever the model is doing. Standard output: one JSON line, `{"url": ...}` when the model serves on loopback, or
`{"error": message, "code": word}` when it cannot. The runtime's own log goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import msgspec

from overnight.errors import LocalError, OvernightError
from overnight.upstreams import model_files

WARNINGS: Final = 2  # the runtime's log level: warnings and errors


class Order(msgspec.Struct, frozen=True):
    """What to run. The key goes through the pipe, where no list of processes shows it."""

    key: str
    model: str  # name of an embedded model, or path of a GGUF file
    folder: str  # where model files are kept
    slots: int
    context: int  # tokens per slot
    threads: int


def main() -> None:
    """Serve until standard input closes."""
    report = os.fdopen(os.dup(1), "wb")  # our own way to the parent: the runtime prints to standard output as it likes
    os.dup2(2, 1)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        server = _serve(order)
    except OvernightError as error:
        _tell(report, {"error": str(error), "code": error.code})
        return
    _tell(report, {"url": server.listening_address})
    threading.Event().wait()


def _tell(report: BinaryIO, told: dict[str, str]) -> None:
    report.write(msgspec.json.encode(told) + b"\n")
    report.close()


def _end_with_the_parent() -> None:
    """No clean-up: the runtime's destructors wait for requests in flight, for longer than anybody would."""
    sys.stdin.buffer.read()
    if os.getpgid(0) == os.getpid():  # the parent gave us a group of our own: a download ends with us
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _serve(order: Order) -> Any:
    """The running server, listening. Raises what `model_files.file_of` raises, and `LocalError` for a file that cannot
    be loaded."""
    import xllamacpp

    model = model_files.EMBEDDED.get(order.model) or model_files.own(Path(order.model))
    params = xllamacpp.CommonParams()
    params.model.path = str(model_files.file_of(model, Path(order.folder)))
    params.verbosity = WARNINGS
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order.key]
    params.n_parallel = order.slots
    params.n_ctx = order.slots * order.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order.threads
    params.fit_params = False  # the context is ours to choose
    params.ui = False
    params.endpoint_slots = False  # it would show prompts
    params.cache_ram_mib = 0  # a slot keeps its own prefix; a second store of prompts only costs memory
    if model.task == "embeddings":
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = params.n_ctx  # a text is embedded in one piece
    with _runtime_log() as log:
        try:
            return xllamacpp.Server(params)
        except RuntimeError:
            log.seek(0)
            reason = next((line for line in log.read().splitlines() if " E " in line), "no reason given")
            message = f"{params.model.path}: the model cannot be loaded ({reason.partition(' E ')[2] or reason})"
            raise LocalError(message) from None


@contextmanager
def _runtime_log() -> Iterator[IO[str]]:
    """What goes to standard output and error inside; afterwards both lead nowhere."""
    with tempfile.TemporaryFile("w+", errors="replace") as log, Path(os.devnull).open("w") as nowhere:
        for target in (1, 2):
            os.dup2(log.fileno(), target)
        try:
            yield log
        finally:
            for target in (1, 2):
                os.dup2(nowhere.fileno(), target)


if __name__ == "__main__":
    main()
