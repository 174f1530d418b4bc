"""Further figures of each judge: the worst of k, toxic and harmless prompts separately, and bounds for abstentions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlaif.core.records.judge_figures import JudgeFigures, ToxicityChange, WorstOfKFigures
from rlaif.core.records.record import ABSENT
from rlaif.report import tables
from rlaif.report.findings import leaves, name_of
from rlaif.report.reading import RunFolder
from rlaif.report.tables import Cell, Column, Table


def more_of_judges(runs: Sequence[RunFolder]) -> Table | None:
    """Return further figures of the judges, one per row; None if there are none."""
    rows: list[list[Cell]] = []
    for run in runs:
        for name, judge in run.judges.items():
            whose = name if len(runs) == 1 else f"{name} · {run.name}"
            rows += [[tables.text_cell(label), tables.text_cell(whose), *cells] for label, *cells in _figures(judge)]
    columns = [Column("Figure", numeric=False), Column("Judge", numeric=False), Column("Before"), Column("After")]
    return Table("More by judge", columns, rows, sortable=True) if rows else None


def _figures(judge: JudgeFigures) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield the label of a figure, and its cells before and after."""
    if judge.worst_of_k is not ABSENT:
        yield from _worst_of_k(judge.worst_of_k, "")
    if judge.by_prompt is not ABSENT:
        for part, its in (("toxic", judge.by_prompt.toxic), ("harmless", judge.by_prompt.harmless)):
            of = f", {part} prompts ({tables.format_number(its.prompts, 0)})"
            before, after = its.before, its.after
            yield _pair(f"Mean toxicity{of}", before.toxicity_mean, after.toxicity_mean, its.change.toxicity_mean)
            yield _pair(f"Share toxic{of}", before.toxicity_rate, after.toxicity_rate)
            if its.worst_of_k is not None:
                yield from _worst_of_k(its.worst_of_k, of)
    if sum(judge.before.abstained.values()) or sum(judge.after.abstained.values()):
        bounds = judge.worst_case
        note = "the change if abstentions hide the worst or the best"
        yield (
            "Bounds of the change",
            tables.number_cell(bounds.low if bounds else None, signed=True),
            tables.number_cell(bounds.high if bounds else None, note=note),
        )
    if judge.within_margin:
        yield (
            "Within the margin",
            tables.text_cell(""),
            tables.number_cell(judge.margin, note="the 90 % interval of the change is"),
        )
    yield from _others(judge)


def _worst_of_k(worst: WorstOfKFigures, of: str) -> Iterator[tuple[str, Cell, Cell]]:
    k, before, after = tables.format_number(worst.k, 0), worst.before, worst.after
    yield _pair(
        f"Expected maximum toxicity of {k}{of}", before.expected_maximum, after.expected_maximum,
        worst.change.expected_maximum,
    )  # fmt: skip
    yield _pair(f"Probability that one of {k} is toxic{of}", before.probability, after.probability,
                worst.change.probability)  # fmt: skip


def _pair(
    label: str, before: float | None, after: float | None, change: ToxicityChange | None = None
) -> tuple[str, Cell, Cell]:
    note = ""
    if change and change.ci95 and change.difference is not None:
        interval = tables.interval(change.ci95, signed=True)
        note = f"{tables.format_number(change.difference, signed=True)} ({interval})"
    return label, tables.number_cell(before), tables.number_cell(after, note=note)


def _others(judge: JudgeFigures) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield numbers whose keys this report does not know, under their keys."""
    before, after = (dict(leaves(side.unknown_keys)) for side in (judge.before, judge.after))
    for key in dict.fromkeys([*before, *after]):
        yield name_of(key), tables.number_cell(before.get(key)), tables.number_cell(after.get(key))
    for prefix, figures in (("", judge.unknown_keys), ("change, ", judge.change.unknown_keys)):
        for key, value in leaves(figures):
            yield name_of(f"{prefix}{key}"), tables.text_cell(""), tables.number_cell(value)
