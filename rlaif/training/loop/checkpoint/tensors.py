"""Tensors in files of the safetensors format, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

# Of https://huggingface.co/docs/safetensors, "Format".
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def to_safetensors(tensors: Mapping[str, torch.Tensor], path: Path) -> Iterator[Any]:
    """
    Yield a safetensors file buffer by buffer, with at most one tensor copied to the CPU at a time.

    The library's own writer refuses tensors that share memory and wants a whole file's on the CPU. Of tensors that
    are the same under several names one is written; the others stand in the metadata, as its `save_model` does it.
    """
    first: dict[Any, str] = {}
    same = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or name == "__metadata__":
            raise TypeError(f"checkpoint {path}: {name!r}, {tensor.layout} of {tensor.dtype}, cannot be written")
        if tensor.numel():
            key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            if (other := first.setdefault(key, name)) != name:
                same[name] = other
    header: dict[str, object] = {"__metadata__": same} if same else {}
    # Large elements first: each tensor begins at a multiple of its element's size.
    order = sorted(tensors.keys() - same.keys(), key=lambda name: (-tensors[name].element_size(), name))
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        yield tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file on the CPU; those that were the same are the same again."""
    # Read, not mapped into memory: what was loaded does not change or vanish with the file.
    with safe_open(path, framework="pt", device="cpu", backend="pread") as file:
        tensors: dict[str, torch.Tensor] = file.get_tensors()
        for name, first in (file.metadata() or {}).items():
            tensors[name] = tensors[first]
    return tensors
