"""GGUF files made of what the model packages hold. Runs once per machine, in the child process: numpy and the file's
size in memory stay out of the process that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

_Q8_0: Final = gguf.GGMLQuantizationType.Q8_0
_Q4_1: Final = gguf.GGMLQuantizationType.Q4_1
_MEAN_POOLING: Final = 1
_ALL_Q8_0: Final = 7  # `general.file_type`: mostly Q8_0


def requantise(source: Path, target: Path) -> None:
    """The same model with its Q4_1 tensors as Q8_0: as good as before, and prompts are read twice as fast."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = _ALL_Q8_0 if name == "general.file_type" else field.contents()
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, value, field.types[0], inner)
    for tensor in reader.tensors:
        if tensor.tensor_type == _Q4_1:
            numbers = gguf.quants.dequantize(tensor.data, _Q4_1)
            writer.add_tensor(tensor.name, gguf.quants.quantize(numbers, _Q8_0), raw_dtype=_Q8_0)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _write(writer)


def minilm(weights: Path, vocabulary: Path, target: Path) -> None:
    """all-MiniLM-L6-v2 (a BERT of 6 layers, mean pooling) from its safetensors file and WordPiece vocabulary."""
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_block_count(6)
    writer.add_context_length(512)
    writer.add_embedding_length(384)
    writer.add_feed_forward_length(1536)
    writer.add_head_count(12)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(_MEAN_POOLING))
    writer.add_file_type(_ALL_Q8_0)
    _add_vocabulary(writer, vocabulary.read_text("utf-8").rstrip("\n").split("\n"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, 6)
    for name, numbers in _safetensors(weights):
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:  # position ids and the pooler, which sentence embeddings do not use
            continue
        if numbers.ndim == 2 and not known.startswith(("position_embd", "token_types")):
            writer.add_tensor(known, gguf.quants.quantize(numbers, _Q8_0), raw_dtype=_Q8_0)
        else:
            writer.add_tensor(known, numbers)
    _write(writer)


def _add_vocabulary(writer: Any, words: list[str]) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list([_in_phantom_spaces(word) for word in words])
    kinds = {"[UNK]": gguf.TokenType.UNKNOWN}
    writer.add_token_types(
        [kinds.get(word, gguf.TokenType.CONTROL if _special(word) else gguf.TokenType.NORMAL) for word in words]
    )
    place = {word: index for index, word in enumerate(words)}
    writer.add_bos_token_id(place["[CLS]"])
    writer.add_sep_token_id(place["[SEP]"])
    writer.add_eos_token_id(place["[SEP]"])
    writer.add_unk_token_id(place["[UNK]"])
    writer.add_pad_token_id(place["[PAD]"])
    writer.add_mask_token_id(place["[MASK]"])


def _special(word: str) -> bool:
    return word in {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"}


def _in_phantom_spaces(word: str) -> str:
    """The runtime marks the start of a word by U+2581 where BERT marks its continuation by `##`."""
    if _special(word):
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


def _safetensors(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and numbers of every float32 tensor of the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    for name, told in header.items():
        if name != "__metadata__" and told["dtype"] == "F32":
            start, stop = told["data_offsets"]
            yield name, np.frombuffer(data[start:stop], dtype="<f4").reshape(told["shape"])


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
