"""Weights of single steps in a folder: each file is there whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError

from rlaif.checkpoint.files import sync, what_to_do, write_file
from rlaif.checkpoint.tensors import as_safetensors, read_tensors
from rlaif.errors import RlaifError
from rlaif.schema import reason_of

_NAME = re.compile(r"step-(\d+)\.safetensors")


class Weights:
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
        writing = place.with_name(f".{place.name}.writing")
        try:
            self._folder.mkdir(exist_ok=True)
            try:
                write_file(writing, as_safetensors(weights, writing))
                writing.replace(place)
            except BaseException:
                writing.unlink(missing_ok=True)
                raise
            sync(self._folder)
        except OSError as error:
            raise RlaifError(f"{place}: cannot be written: {reason_of(error)}; {what_to_do(error)}") from error

    def read(self, step: int) -> dict[str, torch.Tensor]:
        """Return the weights of a step."""
        place = self._place(step)
        try:
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

    def _place(self, step: int) -> Path:
        return self._folder / f"step-{step:06d}.safetensors"
