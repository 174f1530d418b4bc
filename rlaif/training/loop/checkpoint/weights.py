"""Weights of single steps in a folder: each file is there whole or not at all, with its checksum beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError

from rlaif.core.errors import RlaifError
from rlaif.core.schema import reason_of
from rlaif.core.system.files import replace_file, what_to_do, write_atomically
from rlaif.training.loop.checkpoint.tensors import read_tensors, to_safetensors

_NAME = re.compile(r"step-(\d+)\.safetensors")


class WeightsFolder:
    """
    Weights by the step that they are of.

    Args:
        folder: of them; made with the first.

    Raises:
        RlaifError: the folder cannot be written or read; nothing that was there before is lost.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Keep the weights of a step."""
        place = self._place(step)
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RlaifError(f"{self._folder}: cannot be made: {reason_of(error)}; {what_to_do(error)}") from error
        checksum, digest = self._checksum(step), hashlib.sha256()
        checksum.unlink(missing_ok=True)  # so that a kill between the two files leaves no checksum of other weights
        with replace_file(place) as file:
            for part in to_safetensors(weights, place):
                digest.update(part)
                file.write(part)
        write_atomically(checksum, f"{digest.hexdigest()}  {place.name}\n")

    def read(self, step: int) -> dict[str, torch.Tensor]:
        """Return the weights of a step; those of 0.1.0 have no checksum."""
        place, checksum = self._place(step), self._checksum(step)
        try:
            if checksum.exists():
                with place.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if checksum.read_bytes().split()[:1] != [found.encode()]:
                    raise RlaifError(
                        f"{place}: is damaged: its checksum is not that in {checksum.name}; put back a copy, or begin "
                        "another run in another folder"
                    )
            return read_tensors(place)
        except OSError as error:
            raise RlaifError(f"{place}: cannot be read: {reason_of(error)}; {what_to_do(error)}") from error
        except SafetensorError as error:
            raise RlaifError(f"{place}: is damaged: {reason_of(error)}") from error

    def steps(self) -> set[int]:
        """Return the steps of which there are weights."""
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob("step-*.safetensors"))
        return {int(found[1]) for found in names if found}

    def keep_only(self, steps: Collection[int]) -> None:
        """Remove the weights of all other steps."""
        for step in self.steps() - set(steps):
            self._place(step).unlink(missing_ok=True)
            self._checksum(step).unlink(missing_ok=True)

    def _checksum(self, step: int) -> Path:
        """Return the file of a checksum, as `sha256sum` writes and checks it."""
        return self._place(step).with_suffix(".sha256")

    def _place(self, step: int) -> Path:
        return self._folder / f"step-{step:06d}.safetensors"
