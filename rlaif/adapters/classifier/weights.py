"""Which weights a model has, whatever it is called: a copy of a folder is no second opinion."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass
from pathlib import Path

from rlaif.hub import folder_in_cache

SUFFIXES = (".safetensors", ".bin")


@dataclass(frozen=True, eq=False)
class Weights:
    """
    A model on disk or on the hub; equal to another one that is the same, or whose files hold the same bytes.

    Args:
        model: hub id or folder.
        revision: of the hub's repository.

    """

    model: str
    revision: str

    def __eq__(self, other: object) -> bool:
        """Read no further than to the first difference, and nothing where the sizes differ."""
        if not isinstance(other, Weights):
            return NotImplemented
        if (self.model, self.revision) == (other.model, other.revision):
            return True
        mine, theirs = self._files(), other._files()
        if not mine or [path.stat().st_size for path in mine] != [path.stat().st_size for path in theirs]:
            return False
        return all(filecmp.cmp(a, b, shallow=False) for a, b in zip(mine, theirs, strict=True))

    def __hash__(self) -> int:
        """Be the same for all: a model may come into the cache between two looks, and only its bytes tell."""
        return hash(Weights)

    def _files(self) -> list[Path]:
        folder = Path(self.model) if Path(self.model).is_dir() else folder_in_cache(self.model, self.revision)
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES) if folder else []
