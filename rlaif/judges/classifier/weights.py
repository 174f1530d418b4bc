"""Which weights a classifier has: equal tensors are the same judge, in whatever folder, file format and dtype."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.system.files import write_atomically
from rlaif.core.system.home import home

if TYPE_CHECKING:
    from torch import Tensor

_MODULUS = 2**256
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, UnpicklingError,
               SafetensorError)  # fmt: skip
"""What damaged files raise."""


class Weights:
    """
    The weights in some files; equal to those with the same names, shapes and numbers, each number as bfloat16.

    Only names and shapes are read at first. Numbers are compared where those are equal, by a checksum that is kept in
    `RLAIF_HOME` for as long as a file has the same size and time of change. Tensors of integers do not count: they are
    positions, which only some file formats hold. Files that cannot be read are equal to themselves only; what is wrong
    with them is said when the model is loaded.

    Args:
        files: safetensors files, or torch's own.

    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(path.resolve() for path in files)

    def __repr__(self) -> str:
        """Return the files' names."""
        return f"Weights({', '.join(map(str, self._files))})"

    def __eq__(self, other: object) -> bool:
        """Whether the other has the same tensors."""
        if not isinstance(other, Weights):
            return NotImplemented
        return self._files == other._files or (self._shapes == other._shapes and self.checksum == other.checksum)

    def __hash__(self) -> int:
        """Return a hash of names and shapes."""
        return hash(self._shapes)

    @cached_property
    def checksum(self) -> str:
        """Of all tensors, in hex; it depends neither on their order nor on how they are spread over files."""
        try:
            return f"{sum(int(_checksum_of(path), 16) for path in self._files) % _MODULUS:064x}"
        except _UNREADABLE:
            return repr(self)

    @cached_property
    def _shapes(self) -> frozenset[tuple[str, tuple[int, ...]]]:
        try:
            return frozenset(pair for path in self._files for pair in _read_shapes(path))
        except _UNREADABLE:
            return frozenset({(repr(self), ())})


def _read_shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes; of a safetensors file from its header (huggingface.co/docs/safetensors, "Format")."""
    if path.suffix != ".safetensors":
        yield from ((name, tuple(tensor.shape)) for name, tensor in _read_tensors(path))
        return
    with path.open("rb") as file:
        header: Mapping[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    for name, tensor in header.items():
        if name != "__metadata__" and tensor["dtype"].startswith(("F", "BF")):
            yield name, tuple(tensor["shape"])


def _read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of numbers with a fraction, one in memory at a time."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118, it is no mapping
                if (tensor := file.get_tensor(name)).is_floating_point():
                    yield name, tensor
        return
    for name, value in torch.load(path, map_location="cpu", weights_only=True).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            yield name, value


def _checksum_of(path: Path) -> str:
    """Return the checksum of a file's tensors, from `RLAIF_HOME` where the file has not changed since."""
    status = path.stat()
    now = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    known = _read_known()
    entry = known.get(str(path))
    if isinstance(entry, dict) and {**entry, **now} == entry and isinstance(entry.get("sum"), str):
        return str(entry["sum"])
    found = f"{sum(_digest_of(name, tensor) for name, tensor in _read_tensors(path)) % _MODULUS:064x}"
    known = {file: entry for file, entry in known.items() if Path(file).exists()} | {str(path): {**now, "sum": found}}
    with suppress(InputError, RlaifError):  # what cannot be kept is read again the next time
        write_atomically(home() / "weights.json", json.dumps(known, indent=1))
    return found


def _read_known() -> dict[str, Any]:
    try:
        known = json.loads((home() / "weights.json").read_text(encoding="utf-8"))
    except (InputError, OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _digest_of(name: str, tensor: Tensor) -> int:
    import torch

    numbers = tensor.to(torch.bfloat16).contiguous().reshape(-1).view(torch.uint8).numpy()
    return int.from_bytes(hashlib.sha256(f"{name}\0{list(tensor.shape)}\0".encode() + numbers.tobytes()).digest())
