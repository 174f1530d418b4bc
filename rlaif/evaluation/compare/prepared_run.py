"""Checks the measurement of a finished run with other judges before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.records.evaluation import EvaluationRecord, EvaluationSettings
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow
from rlaif.core.types import Estimate, Judge, Sample, estimate_of
from rlaif.evaluation.compare.finished import read_finished
from rlaif.evaluation.compare.request import PATIENCE, EvaluationRequest
from rlaif.evaluation.roles import doubtful
from rlaif.evaluation.side_effects import sides_of
from rlaif.judges.session import Session


class PreparedRun:
    """
    The samples of a finished run, and the judges that have not scored them yet.

    Args:
        request: what to measure; its `run` is a folder.
        judges: judges that score the completions.
        session: budget and verdict store of the judges.

    Raises:
        InputError: the request cannot be fulfilled.

    """

    def __init__(self, request: EvaluationRequest, judges: Sequence[Judge], session: Session) -> None:
        for name in ("before", "after", "data", "template", "split", "limit", "reference", "completions_per_prompt"):
            if getattr(request, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} is for two models; a run has its own samples: leave it out"
                )
        self._finished = read_finished(Path(str(request.run)))
        self._run = str(request.run)
        self.roles = self._finished.roles(judges, session)
        self.asked = self._finished.unread(self.roles, judges, fresh=request.fresh)
        training = [role.judge for role in self.roles if role.kind == "training"][:1]
        self.notes = [f"warning: {line}" for line in doubtful(self.roles, training)]

    @property
    def checks(self) -> Sequence[GuardCheck]:
        """The checks of the run's guard."""
        return self._finished.checks

    @property
    def texts(self) -> int:
        """Number of completions of both sides."""
        return 2 * len(self._finished.rows)

    def estimates(self) -> list[tuple[str, Estimate]]:
        """Return upper bounds of the cost of judges, by name. A judge that has scored the samples costs nothing."""
        pairs = zip(self._finished.rows, *sides_of(self._finished.rows), strict=True)
        samples = [Sample(answer.completion, row.prompt) for row, *answers in pairs for answer in answers]
        asked = {judge.name for judge in self.asked}
        return [
            (role.name, estimate_of(role.judge, samples) if role.name in asked else Estimate()) for role in self.roles
        ]

    def measure(self) -> list[SampleRow]:
        """Have the judges score the samples, and return the rows with their judgements."""
        return self._finished.read_by(self.asked, PATIENCE, lambda: None)

    def describe(self, numbers: EvaluationRecord) -> EvaluationRecord:
        """Add the steps, the seed and the settings of the run to the figures."""
        before = self._finished.evaluation
        unknown = {} if before.unknown is ABSENT else before.unknown
        settings = EvaluationSettings(run=self._run)
        return replace(
            numbers, steps=before.steps, kept_step=before.kept_step, seed=before.seed, unknown=unknown,
            settings=settings,
        )  # fmt: skip
