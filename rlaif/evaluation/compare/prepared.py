"""A measurement of two models, or of a finished run: checked first, told what it would take, then made."""

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
    A measurement that was checked, and can be made.

    Args:
        wanted: what is to be compared.
        judges: by whom.
        session: their budget and store.
        command: that measures the same again; None where it was made from Python.

    Raises:
        InputError: something that was wanted cannot be; no model was loaded yet.

    """

    def __init__(
        self, wanted: EvaluationRequest, judges: Sequence[Judge], session: Session, command: str | None = None
    ) -> None:
        refuse_several("rlaif evaluate")
        if not judges:
            raise InputError("evaluate needs a judge")
        refuse_equal_names(judges, "--judge")
        self._margins, self._command, self.session = wanted.margins, command, session
        self.rows: list[SampleRow] = []
        kind = PreparedComparison if wanted.run is None else PreparedRun
        self._prepared: PreparedComparison | PreparedRun = kind(wanted, judges, session)

    @property
    def notes(self) -> list[str]:
        """What was left out, and warnings."""
        return self._prepared.notes

    @property
    def texts(self) -> int:
        """Completions of both sides."""
        return self._prepared.texts

    def estimates(self) -> list[tuple[str, Estimate]]:
        """Return what judges and endpoints would take at most."""
        return self._prepared.estimates()

    def measure(self) -> EvaluationRecord:
        """Measure, and return what evaluation.json says; the rows are in `rows`."""
        for judge in self._prepared.asked:
            call_judge(judge, [])  # loads what it needs: a missing file is found now, not after hours
        self.rows = self._prepared.measure()
        numbers = self._prepared.describe(figures(self.rows, self._prepared.roles, self._margins))
        assert numbers.settings is not ABSENT
        settings = numbers.settings if self._command is None else replace(numbers.settings, command=self._command)
        margins = MarginsRecord(**asdict(self._margins))
        numbers = replace(numbers, notes=tuple(self.notes), margins=margins, settings=settings)
        return replace(numbers, answer=answer(numbers, self._prepared.checks)).finite()
