"""Measures a finished run with other judges. Its samples stay unchanged, and the figures are computed again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.errors import InputError
from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow, SampleSide
from rlaif.core.schema import reason_of
from rlaif.core.system.files import read_jsonl, read_rows
from rlaif.core.types import Judge, Sample
from rlaif.evaluation.roles import Role, roles_of
from rlaif.evaluation.side_effects import sides_of
from rlaif.judges.asking import PendingJudgements, Poll
from rlaif.judges.registry import load_judge
from rlaif.judges.session import Session


@dataclass(frozen=True)
class FinishedRun:
    """
    A finished run or an earlier comparison.

    Args:
        folder: its folder.
        rows: rows of samples.jsonl, with both sides.
        evaluation: content of evaluation.json, as far as it can be read.
        config: its run file; None for a comparison.
        checks: of its guard, as far as they can be read.

    """

    folder: Path
    rows: Sequence[SampleRow]
    evaluation: EvaluationRecord
    config: RunConfig | None
    checks: Sequence[GuardCheck] = ()

    def roles(self, judges: Sequence[Judge], session: Session) -> list[Role]:
        """Return the roles of the judges of the run and of further ones. The same judge may have several names."""
        training, guards, measuring = judges_of_run(self.config, session) if self.config else ([], [], [])
        return roles_of(training, guards, [*measuring, *judges])

    def unread(self, roles: Sequence[Role], judges: Sequence[Judge], *, fresh: bool) -> list[Judge]:
        """
        Return the judges that have not read the samples yet.

        Raises:
            InputError: one of them needs a column that samples.jsonl does not hold.

        """
        again = {judge.name for judge in judges} if fresh else set()
        waiting = [
            role.judge for role in roles
            if role.name in again
            or not all(role.name in answer.judgements for side in sides_of(self.rows) for answer in side)
        ]  # fmt: skip
        for judge in waiting:
            if missing := sorted(judge.reads - {"prompt"}):
                raise InputError(
                    f"judge {judge.name} needs the column {missing[0]!r} of the data, and {self.folder}/samples.jsonl "
                    "holds prompts and completions only"
                )
        return waiting

    def read_by(self, judges: Sequence[Judge], patience: float, poll: Poll) -> list[SampleRow]:
        """Have judges score both sides, and return the rows with their judgements."""
        before, after = sides_of(self.rows)
        answers = [*before, *after]
        prompts = [row.prompt for row in self.rows] * 2
        present = [i for i, answer in enumerate(answers) if answer.missing is ABSENT]
        with PendingJudgements(judges) as pending:
            pending.add(present, [Sample(answers[i].completion, prompts[i]) for i in present])
            judgements = pending.judgements_by_row(patience=patience, poll=poll)
        judged = []
        for i, answer in enumerate(answers):
            new = (
                {name: JudgementRecord.from_judgement(judgement) for name, judgement in judgements[i].items()}
                if i in judgements
                else _abstentions(answer, judges)
            )
            judged.append(answer.replace_values(judgements={**answer.judgements, **new}))
        sides = zip(self.rows, judged[: len(before)], judged[len(before) :], strict=True)
        return [row.replace_values(before=b, after=a) for row, b, a in sides]


def judges_of_run(config: RunConfig, session: Session) -> tuple[list[Judge], list[Judge], list[Judge]]:
    """Return the judges of a run: for training, for the guard, and for the evaluation. No model is loaded."""
    guards = [load_judge(card, session=session) for card in config.guard.judges]
    measuring = [load_judge(card, session=session) for card in config.evaluation.judges]
    return [load_judge(config.judge, session=session)], guards, measuring


def read_finished(folder: Path) -> FinishedRun:
    """Read the folder of a run. Raises `InputError` if it has no samples of both sides."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name the folder of a run, or give --before and --after")
    path = folder / "samples.jsonl"
    if not path.is_file():
        raise InputError(f"{folder}: holds no finished run: there is no samples.jsonl")
    rows = _lines(path)
    if unfinished := sum(row.after is None for row in rows):
        raise InputError(
            f"{path}: {unfinished} of {len(rows)} prompts have no completion after training: the run is still going or "
            "was stopped; `rlaif train RUN.yaml --resume` finishes it"
        )
    config = read_run(folder / "run.yaml") if (folder / "run.yaml").is_file() else None
    told = _read_numbers(folder / "evaluation.json")
    return FinishedRun(folder, rows, told, config, _read_checks(folder / "guard.jsonl"))


def _lines(path: Path) -> list[SampleRow]:
    rows = []
    try:
        with path.open("rb") as file:
            lines = list(read_jsonl(file))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}") from None
    for line in lines:
        try:
            if line.row is None:
                raise InputError(line.problem)
            rows.append(SampleRow.from_json(line.row, "a row has a prompt and two sides", keep_unknown=True))
        except InputError as error:
            raise InputError(f"{path}, line {line.number}: is not a row of samples.jsonl: {error}") from None
    if not rows:
        raise InputError(f"{path}: has no rows")
    return rows


def _read_numbers(path: Path) -> EvaluationRecord:
    try:
        return EvaluationRecord.salvage(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):  # the figures are computed again; only steps and seed are lost
        return EvaluationRecord.empty()


def _read_checks(path: Path) -> list[GuardCheck]:
    try:
        return [GuardCheck.from_json(row, keep_unknown=True) for row in read_rows(path)]
    except (InputError, OSError):  # they are only needed to say why training was rejected
        return []


def _abstentions(answer: SampleSide, judges: Sequence[Judge]) -> dict[str, JudgementRecord]:
    """Return the abstentions of judges from a missing completion."""
    first = next(iter(answer.judgements.values()), JudgementRecord.empty())
    return {judge.name: first.replace_values(judge=judge.name, parts=()) for judge in judges}
