"""
What is written to disk, as types: a line of metrics.jsonl, guard.jsonl and samples.jsonl, evaluation.json, bench.json.

Each record is read from JSON and written back to the same JSON, and from each a JSON schema is made. `RECORDS` names
the five files that people read.
"""

from __future__ import annotations

from rlaif.records.bench import Bench
from rlaif.records.evaluation import EvaluationRecord
from rlaif.records.guard import GuardLook
from rlaif.records.record import ABSENT, Absent, Record
from rlaif.records.samples import SampleRow
from rlaif.records.steps import Step

__all__ = [
    "ABSENT",
    "RECORDS",
    "Absent",
    "Bench",
    "EvaluationRecord",
    "GuardLook",
    "Record",
    "SampleRow",
    "Step",
]

RECORDS: dict[str, type[Record]] = {
    "steps": Step,
    "guard": GuardLook,
    "samples": SampleRow,
    "evaluation": EvaluationRecord,
    "bench": Bench,
}
"""The records by the name that `rlaif schema` knows them by."""
