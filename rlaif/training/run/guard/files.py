"""Where the guard writes: guard.jsonl, a line for each check, and best/, weights that may be kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.steps import Step, StepGuard, add_guard
from rlaif.core.system.distributed import Processes
from rlaif.core.system.files import cut_back, finite, read_rows, write_atomically
from rlaif.training.loop.checkpoint.weights import WeightsFolder


class GuardFiles:
    """
    The guard's files in the folder of a run. The main process writes, all read.

    Args:
        folder: of the run.

    """

    def __init__(self, folder: Path) -> None:
        self.path, self.best = folder / "guard.jsonl", folder / "best"
        self._metrics, self._checkpoints = folder / "metrics.jsonl", folder / "checkpoints"
        self._weights = WeightsFolder(self.best)

    def read_checks(self, step: int, processes: Processes) -> list[GuardCheck]:
        """Return the checks up to a step; later ones are removed, for their steps will be made again."""
        with processes.raise_on_all_ranks():
            if processes.is_main:
                cut_back(self.path, step)
        processes.wait()
        return [GuardCheck.from_json(row, str(self.path)) for row in read_rows(self.path)]

    def write(self, checks: Sequence[GuardCheck], weights: Mapping[str, Tensor], processes: Processes) -> None:
        """
        Write all checks, and the weights of the last one where it is the best.

        Weights are written before the line, so that each line of a model that may be kept has them.
        """
        with processes.raise_on_all_ranks():
            if processes.is_main:
                best = best_of(checks)
                if best is checks[-1]:
                    self._weights.write(best.step, weights)
                write_atomically(self.path, "".join(_line(check.to_json()) for check in checks))
                self._weights.keep_only(self._steps_to_keep(checks))

    def add_to_metrics(self, check: GuardCheck, processes: Processes) -> None:
        """Add a check to the line of its step, which was written without it."""
        with processes.raise_on_all_ranks():
            if processes.is_main:
                rows = read_rows(self._metrics)
                for row in rows:
                    if Step.salvage(row).step == check.step:
                        add_guard(row, step_guard(check), check.alarms)
                write_atomically(self._metrics, "".join(map(_line, rows)))

    def read_weights(self, step: int) -> dict[str, Tensor]:
        """Return the weights of the model that a check kept."""
        return self._weights.read(step)

    def has_weights(self, step: int) -> bool:
        """Whether the weights of a step are there."""
        return step in self._weights.steps()

    def _steps_to_keep(self, checks: Sequence[GuardCheck]) -> set[int]:
        """Return the steps whose weights may be wanted: the best, and the best as of a checkpoint to resume from."""
        places = self._checkpoints.glob("*step-*")  # those too that are being replaced
        resumable = {int(found[1]) for path in places if (found := re.search(r"step-(\d+)", path.name))}
        up_to = [[check for check in checks if check.step <= step] for step in resumable]
        return {best_of(some).step for some in [checks, *up_to]}


def best_of(checks: Sequence[GuardCheck]) -> GuardCheck:
    """Return the check whose model is to be kept: the earliest of the highest scores within all bands."""
    return max((check for check in checks if check.fit), key=lambda check: check.score or 0.0)


def step_guard(check: GuardCheck) -> StepGuard:
    """Return what metrics.jsonl says of a check."""
    return StepGuard(
        judges=check.judges,
        score=check.score,
        distinct_2=check.distinct_2,
        length=check.length,
        perplexity=check.perplexity,
    )


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(finite(row), allow_nan=False) + "\n"
