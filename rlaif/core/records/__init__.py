"""
What is written to disk, as types: a line of metrics.jsonl, guard.jsonl and samples.jsonl, evaluation.json, bench.json.

Each record is read from JSON and written back to the same JSON, and from each a JSON schema is made. `RECORDS` names
the five files that people read.
"""

from __future__ import annotations

from rlaif.core.records.bench import Bench
from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.kinds import RECORDS
from rlaif.core.records.record import ABSENT, Absent, Record
from rlaif.core.records.samples import SampleRow
from rlaif.core.records.steps import Step

__all__ = [
    "ABSENT",
    "RECORDS",
    "Absent",
    "Bench",
    "EvaluationRecord",
    "GuardCheck",
    "Record",
    "SampleRow",
    "Step",
]
