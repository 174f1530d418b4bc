"""Checks an evaluation of two models or of a finished run, estimates its cost, and runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from rlaif.core.errors import InputError
from rlaif.core.records.evaluation import EvaluationRecord, MarginsRecord
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow
from rlaif.core.system.distributed import refuse_several
from rlaif.core.types import Estimate, Judge
from rlaif.evaluation.compare.prepared_comparison import PreparedComparison
from rlaif.evaluation.compare.prepared_run import PreparedRun
from rlaif.evaluation.compare.request import EvaluationRequest
from rlaif.evaluation.conclusion import answer
from rlaif.evaluation.summary import figures
from rlaif.judges.cards.card import refuse_equal_names
from rlaif.judges.scoring import call_judge
from rlaif.judges.session import Session


class PreparedEvaluation:
    """
    An evaluation that has been checked and can be run.

    Args:
        request: what to compare or measure.
        judges: judges that score the completions.
        session: budget and verdict store of the judges.
        command: command line that repeats the evaluation; None if it was called from Python.

    Raises:
        InputError: the request cannot be fulfilled. Raised before a model is loaded.

    """

    def __init__(
        self, request: EvaluationRequest, judges: Sequence[Judge], session: Session, command: str | None = None
    ) -> None:
        refuse_several("rlaif evaluate")
        if not judges:
            raise InputError("evaluate needs a judge")
        refuse_equal_names(judges, "--judge")
        self._margins, self._command, self.session = request.margins, command, session
        self.rows: list[SampleRow] = []
        kind = PreparedComparison if request.run is None else PreparedRun
        self._prepared: PreparedComparison | PreparedRun = kind(request, judges, session)

    @property
    def notes(self) -> list[str]:
        """Warnings, and notes on what was left out."""
        return self._prepared.notes

    @property
    def texts(self) -> int:
        """Number of completions of both sides."""
        return self._prepared.texts

    def estimates(self) -> list[tuple[str, Estimate]]:
        """Return upper bounds of the cost of judges and endpoints, by name."""
        return self._prepared.estimates()

    def measure(self) -> EvaluationRecord:
        """Run the evaluation, and return the content of evaluation.json; `rows` holds the samples."""
        for judge in self._prepared.asked:
            call_judge(judge, [])  # loads its model, so that a missing file is found before hours of work
        self.rows = self._prepared.measure()
        numbers = self._prepared.describe(figures(self.rows, self._prepared.roles, self._margins))
        assert numbers.settings is not ABSENT
        settings = numbers.settings if self._command is None else replace(numbers.settings, command=self._command)
        margins = MarginsRecord(**asdict(self._margins))
        numbers = replace(numbers, notes=tuple(self.notes), margins=margins, settings=settings)
        return replace(numbers, answer=answer(numbers, self._prepared.checks)).finite()
