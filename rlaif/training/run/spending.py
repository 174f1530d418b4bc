"""What a run may still pay remote judges: over all its processes, and over all the times it was resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from rlaif.core.errors import RlaifError
from rlaif.core.records.spending import StepSpending
from rlaif.core.records.steps import add_calls
from rlaif.core.system.files import append, read_rows
from rlaif.judges.remote.limits import Budget
from rlaif.training.loop.trainer import Callback, Trainer


class Spending(Callback):
    """
    Keeps a budget for a whole run.

    Each process may spend an equal share, and the run ends where one of them needs more than its own. Each writes
    what it spent in a step as a line of `spending.jsonl`, which a resume adds up and never cuts. Only what a killed
    process spent in the step that it did not end is not known; the verdict store keeps those verdicts.

    Args:
        budget: of the whole run; it becomes that of this process.
        path: of `spending.jsonl`.

    """

    def __init__(self, budget: Budget, path: Path) -> None:
        self._budget, self._path = budget, path
        self._written = (0, 0.0)

    @contextmanager
    def watch(self, trainer: Trainer) -> Iterator[None]:
        """Watch a trainer; the first of several processes also has what cannot be shared evenly."""
        processes, budget, (calls, usd) = trainer.processes, self._budget, _sum_spending(self._path)
        if budget.usd is not None:
            budget.usd = max(0.0, budget.usd - usd) / processes.count
        if budget.calls is not None:
            each, rest = divmod(max(0, budget.calls - calls), processes.count)
            budget.calls = each + (rest if processes.is_main else 0)
        trainer.callbacks = (*trainer.callbacks, self)
        try:
            yield
        finally:
            with suppress(RlaifError):  # what ended the run has said that the disk is full
                self.write(trainer.progress.step + 1)  # of a step that was not ended

    def on_begin(self, trainer: Trainer) -> None:
        """Write what was spent before: on the measurement, and by the guard's first check."""
        self.write(trainer.progress.step)

    def on_step(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Write what the step took, and add the calls of all processes to its metrics."""
        made = self.write(trainer.progress.step)
        calls = torch.tensor(float(made), dtype=torch.float64, device=trainer.processes.device)
        add_calls(metrics, int(trainer.processes.reduce(calls)))

    def write(self, step: int) -> int:
        """Write what was spent since the last time, and return the calls; no line where nothing was."""
        now = (self._budget.made, self._budget.spent)
        calls, usd = now[0] - self._written[0], now[1] - self._written[1]
        self._written = now
        if calls:
            append(self._path, json.dumps(StepSpending(step=step, calls=calls, usd=usd).to_json()))
        return calls


def _sum_spending(path: Path) -> tuple[int, float]:
    """Add up the lines of all processes; one that a kill has torn does not count."""
    lines = [StepSpending.from_json(row, str(path), keep_unknown=True) for row in read_rows(path)]
    return sum(line.calls for line in lines), sum((line.usd for line in lines), 0.0)
