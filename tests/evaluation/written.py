"""What tests of a measurement share: rows and numbers in the form in which files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlaif.core.records import EvaluationRecord, SampleRow
from rlaif.evaluation import conclusion, summary, worst_of_k, writing
from rlaif.evaluation.margins import Margins
from rlaif.evaluation.roles import Role

Row = Mapping[str, Any]


def samples_of(rows: Sequence[Row]) -> list[SampleRow]:
    """Rows of which tests say only what matters to them."""
    return [SampleRow.salvage(row) for row in rows]


def figures(rows: Sequence[Row], roles: Sequence[Role], margins: Margins | None = None) -> dict[str, Any]:
    return summary.figures(samples_of(rows), roles, margins).to_json()


def judge_summary(rows: Sequence[Row], role: Role, margins: Margins) -> dict[str, Any]:
    return summary.judge_summary(samples_of(rows), role, margins).to_json()


def worst(rows: Sequence[Row], judge: str) -> dict[str, Any] | None:
    found = worst_of_k.worst(samples_of(rows), judge)
    return None if found is None else found.to_json()


def answer(told: Row) -> str:
    return conclusion.answer(EvaluationRecord.salvage(told))


def print_figures(told: Row) -> None:
    conclusion.print_figures(EvaluationRecord.salvage(told))


def pairs_of_samples(rows: Sequence[Row], count: int, width: int = 300) -> list[str]:
    return conclusion.pairs_of_samples(samples_of(rows), count, width)


def format_csv(rows: Sequence[Row]) -> str:
    return writing.format_csv(samples_of(rows))
