"""A finished run, read by another judge: its samples stay as they are, and what they show is computed again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.files import read_jsonl
from rlaif.core.types import Judge, Sample
from rlaif.evaluation.compare.comparison import SIDES
from rlaif.evaluation.roles import Role, roles_of
from rlaif.judges.asking import PendingJudgements, Poll
from rlaif.judges.registry import load_judge
from rlaif.judges.scoring import judgement_to_dict
from rlaif.judges.session import Session

Row = dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """
    The folder of a run, or of an earlier comparison.

    Args:
        folder: where.
        rows: of samples.jsonl, with both sides.
        told: what its evaluation.json says; empty where there is none.
        config: its run file; None for a comparison.

    """

    folder: Path
    rows: Sequence[Row]
    told: Mapping[str, Any]
    config: RunConfig | None

    def roles(self, judges: Sequence[Judge], session: Session) -> list[Role]:
        """Return the judges of the run and further ones, each with its part: another name makes no other judge."""
        training, guards, measuring = judges_of_run(self.config, session) if self.config else ([], [], [])
        return roles_of(training, guards, [*measuring, *judges])

    def unread(self, roles: Sequence[Role], judges: Sequence[Judge], *, fresh: bool) -> list[Judge]:
        """
        Return the judges that have not read the samples yet.

        Raises:
            InputError: one of them reads a column, which samples.jsonl does not hold.

        """
        again = {(judge.identity, judge.name) for judge in judges} if fresh else set()
        waiting = [
            role.judge for role in roles
            if (role.judge.identity, role.name) in again or not all(self._holds(row, role.name) for row in self.rows)
        ]  # fmt: skip
        for judge in waiting:
            if missing := sorted(judge.reads - {"prompt"}):
                raise InputError(
                    f"judge {judge.name} needs the column {missing[0]!r} of the data, and {self.folder}/samples.jsonl "
                    "holds prompts and completions only"
                )
        return waiting

    def read_by(self, judges: Sequence[Judge], patience: float, poll: Poll) -> list[Row]:
        """Have judges read both sides, and return the rows with what they said."""
        rows: list[Row] = [{**row, **{side: {**row[side]} for side in SIDES}} for row in self.rows]
        sides = [(row["prompt"], row[side]) for side in SIDES for row in rows]
        there = [i for i, (_, side) in enumerate(sides) if not side.get("missing")]
        with PendingJudgements(judges) as pending:
            pending.add(there, [Sample(sides[i][1]["completion"], sides[i][0]) for i in there])
            said = pending.judgements_by_row(patience=patience, poll=poll)
        for i, (_, side) in enumerate(sides):
            new = (
                {name: judgement_to_dict(judgement) for name, judgement in said[i].items()}
                if i in said
                else _silent(side, judges)
            )
            side["judgements"] = {**side["judgements"], **new}
        return rows

    @staticmethod
    def _holds(row: Row, judge: str) -> bool:
        return all(judge in row[side]["judgements"] for side in SIDES)


def judges_of_run(config: RunConfig, session: Session) -> tuple[list[Judge], list[Judge], list[Judge]]:
    """Make the judges of a run: what it learned from, its guards, and those that measured; none loads a model."""
    guards = [load_judge(card, session=session) for card in config.guard.judges]
    measuring = [load_judge(card, session=session) for card in config.evaluation.judges]
    return [load_judge(config.judge, session=session)], guards, measuring


def read_finished(folder: Path) -> FinishedRun:
    """Read the folder of a run, or raise `InputError` where it has no samples of both sides."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name the folder of a run, or give --before and --after")
    path = folder / "samples.jsonl"
    if not path.is_file():
        raise InputError(f"{folder}: holds no finished run: there is no samples.jsonl")
    rows = _lines(path)
    if unfinished := sum(not isinstance(row["after"], Mapping) for row in rows):
        raise InputError(
            f"{path}: {unfinished} of {len(rows)} prompts have no answer after training: the run is still going or was "
            "ended; `rlaif train RUN.yaml --resume` finishes it"
        )
    config = read_run(folder / "run.yaml") if (folder / "run.yaml").is_file() else None
    return FinishedRun(folder, rows, _read_numbers(folder / "evaluation.json"), config)


def _lines(path: Path) -> list[Row]:
    rows = []
    try:
        with path.open("rb") as file:
            lines = list(read_jsonl(file))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}") from None
    for line in lines:
        row = line.row or {}
        before = row.get("before")
        has_sides = isinstance(before, dict) and isinstance(before.get("judgements"), dict)
        if not isinstance(row.get("prompt"), str) or not has_sides:
            why = line.problem or "a row has a prompt and two sides"
            raise InputError(f"{path}, line {line.number}: is no line of a run's samples: {why}")
        rows.append({"after": None, **row})
    if not rows:
        raise InputError(f"{path}: has no rows")
    return rows


def _read_numbers(path: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):  # its numbers are computed again; only its steps and seed are lost
        return {}
    return told if isinstance(told, Mapping) else {}


def _silent(side: Mapping[str, Any], judges: Sequence[Judge]) -> dict[str, dict[str, Any]]:
    """Return the abstentions of judges on a completion that is not there."""
    first: Mapping[str, Any] = next(iter(side["judgements"].values()), {})
    return {judge.name: {**first, "judge": judge.name, "parts": []} for judge in judges}
