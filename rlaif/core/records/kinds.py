"""The records that people read, by the name that `rlaif schema` knows them by."""

from __future__ import annotations

from rlaif.core.records.bench import Bench
from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import Record
from rlaif.core.records.samples import SampleRow
from rlaif.core.records.steps import Step

RECORDS: dict[str, type[Record]] = {
    "steps": Step,
    "guard": GuardCheck,
    "samples": SampleRow,
    "evaluation": EvaluationRecord,
    "bench": Bench,
}
