"""Weights of single steps in a folder: each file is there whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError

from rlaif.core.errors import RlaifError
from rlaif.core.schema import reason_of
from rlaif.core.system.files import replace_file, what_to_do
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
        with replace_file(place) as file:
            for part in to_safetensors(weights, place):
                file.write(part)

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
