"""Where the metrics of steps are written: metrics.jsonl, and the trackers of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.system.distributed import Processes
from rlaif.core.system.files import append, cut_back, finite
from rlaif.training.loop.step_metrics import flat


class MetricsFile:
    """
    `metrics.jsonl` of a run: a line for each step.

    Args:
        output: folder of the run.
        processes: of the run. The main one writes; what is no finite number becomes null.

    """

    def __init__(self, output: Path, processes: Processes) -> None:
        self._path, self._processes = output / "metrics.jsonl", processes

    def refuse_taken(self) -> None:
        """Raise `InputError` where the folder holds a run already."""
        if self._path.exists():
            raise InputError(
                f"{self._path.parent}: holds a run already; go on with it by --resume (resume_from_checkpoint=True), "
                "or name another folder by --output (output_dir)"
            )

    def begin_at(self, step: int) -> None:
        """Make the folder and the file, without the lines of steps that will be made again."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_back(self._path, step)
        self._path.touch()

    def write(self, metrics: Mapping[str, object], step: int) -> None:
        """Write the line of a step, and report it to the trackers."""
        row = finite(metrics)
        if self._processes.is_main:
            append(self._path, json.dumps(row, allow_nan=False))
        self._processes.log(flat(row), step)

    def __str__(self) -> str:
        return str(self._path)
