"""Reads the folder of a run, complete or not, so that a run that is still going or was killed has a report too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from rlaif.core.config.old_keys import rename_old_keys
from rlaif.core.errors import InputError
from rlaif.core.records import EvaluationRecord, GuardCheck, SampleRow, Step
from rlaif.core.records.judge_figures import JudgeFigures
from rlaif.core.records.spending import StepSpending
from rlaif.core.schema import reason_of
from rlaif.core.system.files import read_jsonl

Row = Mapping[str, object]

FILES = ("run.yaml", "metrics.jsonl", "guard.jsonl", "samples.jsonl", "evaluation.json")
"""Files that a report is made from. A folder without any of them is not the folder of a run."""


@dataclass(frozen=True)
class RunFolder:
    """
    The files that a run has written so far.

    Args:
        folder: the folder of the run.
        name: name of the run in the report, different from those of other runs.
        settings: content of run.yaml with old keys renamed; empty if there is none.
        settings_text: run.yaml as it was written.
        metrics: metrics.jsonl, one record per step.
        checks: guard.jsonl, one record per check of the guard.
        samples: samples.jsonl, the test prompts with their completions; `after` is None until it is measured.
        evaluation: evaluation.json, or None before the end of the run.
        spending: spending.jsonl, calls and USD of remote judges.
        starts: environment.jsonl, one record each time that the run was started or resumed.
        notes: which files could not be read, and why.

    """

    folder: Path
    name: str
    settings: Row
    settings_text: str
    metrics: Sequence[Step]
    checks: Sequence[GuardCheck]
    samples: Sequence[SampleRow]
    evaluation: EvaluationRecord | None
    spending: Sequence[StepSpending]
    starts: Sequence[Row]
    notes: Sequence[str]

    @property
    def step(self) -> int:
        """Number of steps that are done."""
        return max((step.step for step in self.metrics), default=0)

    @property
    def judges(self) -> Mapping[str, JudgeFigures]:
        """Figures of each judge in evaluation.json; empty before the end of the run."""
        return self.evaluation.judges if self.evaluation else {}

    @property
    def steps(self) -> int | None:
        """Number of steps in the settings."""
        steps = get_number(self.settings, "training", "steps")
        return None if steps is None else int(steps)

    @property
    def written(self) -> datetime | None:
        """Time of the last write to a file of the run, in UTC."""
        times = [(self.folder / name).stat().st_mtime for name in FILES if (self.folder / name).is_file()]
        return datetime.fromtimestamp(max(times), UTC).replace(microsecond=0) if times else None

    @property
    def alarms(self) -> list[tuple[int, str]]:
        """Step and text of each alarm, without repetitions."""
        in_steps = {(step.step, alarm) for step in self.metrics for alarm in step.alarms}
        return sorted(in_steps | {(check.step, alarm) for check in self.checks for alarm in check.alarms})


def read(folders: Sequence[Path]) -> list[RunFolder]:
    """Read the folders of runs. Raises `InputError` if a folder holds no run."""
    return [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


def get_number(row: Any, *path: str) -> float | None:
    """Return the number at a path of keys, or None if there is no finite number."""
    value = get_value(row, *path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def get_value(row: Any, *path: str) -> Any:
    """Return the value at a path of keys, or None."""
    for key in path:
        row = row.get(key) if isinstance(row, Mapping) else None
    return row


def get_mapping(row: Any, *path: str) -> Row:
    """Return the mapping at a path of keys, or an empty one."""
    found = get_value(row, *path)
    return found if isinstance(found, Mapping) else {}


def _read(folder: Path, name: str) -> RunFolder:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name the folder of a run, as runs/quickstart")
    if not any((folder / file).is_file() for file in FILES):
        raise InputError(f"{folder}: holds no run: none of {', '.join(FILES)}; name the folder of a run")
    notes: list[str] = []
    text = _text(folder / "run.yaml", notes)
    evaluation = _read_json(folder / "evaluation.json", notes)

    def read_lines(name: str) -> Iterator[Row]:
        return _lines(folder / name, notes)

    return RunFolder(
        folder=folder,
        name=name,
        settings=_settings(text, notes),
        settings_text=text,
        metrics=[step for row in read_lines("metrics.jsonl") if (step := Step.salvage(row)).step],
        checks=[GuardCheck.salvage(row) for row in read_lines("guard.jsonl")],
        samples=[SampleRow.salvage(row) for row in read_lines("samples.jsonl")],
        evaluation=EvaluationRecord.salvage(evaluation) if evaluation else None,
        spending=[StepSpending.salvage(row) for row in read_lines("spending.jsonl")],
        starts=list(read_lines("environment.jsonl")),
        notes=notes,
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Return short names that differ: as many last parts of the paths as needed."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(folder for folder, part in zip(folders, parts, strict=True) if parts.count(part) > 1)
    raise InputError(f"{twice}: is named twice; name each run once")


def _text(path: Path, notes: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {reason_of(error)}")
        return ""


def _settings(text: str, notes: list[str]) -> Row:
    try:
        keys, _ = rename_old_keys(yaml.safe_load(text), "run.yaml")
        return get_mapping({"": keys}, "")
    except (yaml.YAMLError, ValueError, RecursionError, InputError) as error:
        notes.append(f"run.yaml cannot be read: {reason_of(error)}")
        return {}


def _read_json(path: Path, notes: list[str]) -> Row:
    if not (text := _text(path, notes)):
        return {}
    try:
        return get_mapping({"": json.loads(text)}, "")
    except (ValueError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read: {reason_of(error)}")
        return {}


def _lines(path: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the complete lines. The last line may be incomplete if the process was killed while writing."""
    if not path.is_file():
        return
    torn = 0
    try:
        with path.open("rb") as file:
            for line in read_jsonl(file):
                if line.row is None:
                    torn += 1
                else:
                    yield line.row
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {reason_of(error)}")
    if torn:
        notes.append(f"{path.name}: {torn} {'line is' if torn == 1 else 'lines are'} incomplete and left out")
