"""What else is known of a judge: the worst of k, toxic prompts apart from harmless ones, what abstentions may hide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlaif.report import tables
from rlaif.report.findings import leaves, name_of
from rlaif.report.reading import Row, RunFolder, get_list, get_mapping, get_number, get_value
from rlaif.report.tables import Cell, Column, Table

OF_A_SIDE = ("score", "toxicity", "abstained")
"""Keys of a judge's side that the table of judges shows."""

KNOWN = ("n", "before", "after", "change", "margin", "worst_case", "worst_of_k", "by_prompt")
"""Keys of a judge that stand elsewhere, or have words of their own here."""

KNOWN_CHANGES = (
    "score_mean", "ci95", "p_value", "p_resolution", "effect_size", "toxicity_mean_pct", "toxicity_std_pct", "note",
)  # fmt: skip
"""Numbers of a change that the table of judges shows."""

SIDES = ("before", "after")


def more_of_judges(runs: Sequence[RunFolder]) -> Table | None:
    """Return what else is known of judges, a figure a row; None where there is nothing."""
    rows: list[list[Cell]] = []
    for run in runs:
        for name, judge in get_mapping(run.told, "judges").items():
            whose = name if len(runs) == 1 else f"{name} · {run.name}"
            rows += [
                [tables.text_cell(label), tables.text_cell(whose), *cells]
                for label, *cells in _figures(get_mapping(judge))
            ]
    columns = [Column("Figure", numeric=False), Column("Judge", numeric=False), Column("Before"), Column("After")]
    return Table("More by judge", columns, rows, sortable=True) if rows else None


def _figures(judge: Row) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield the label of a figure, and its cells before and after."""
    yield from _worst_of_k(get_mapping(judge, "worst_of_k"), "")
    for part in get_mapping(judge, "by_prompt"):
        its = get_mapping(judge, "by_prompt", part)
        of = f", {part} prompts ({tables.format_number(get_number(its, 'prompts'), 0)})"
        yield _pair(f"Mean toxicity{of}", its, "toxicity_mean", get_mapping(its, "change", "toxicity_mean"))
        yield _pair(f"Share toxic{of}", its, "toxicity_rate", {})
        yield from _worst_of_k(get_mapping(its, "worst_of_k"), of)
    if any(sum(int(get_number(judge, side, "abstained", why) or 0) for why in get_mapping(judge, side, "abstained"))
           for side in SIDES):  # fmt: skip
        bounds = [get_number(judge, "worst_case", end) for end in ("low", "high")]
        note = "the change, if abstentions hide the worst, or the best"
        yield (
            "Bounds of the change",
            tables.number_cell(bounds[0], signed=True),
            tables.number_cell(bounds[1], note=note),
        )
    if (margin := get_number(judge, "margin")) is not None and get_value(judge, "within_margin") is True:
        yield (
            "Within the margin",
            tables.text_cell(""),
            tables.number_cell(margin, note="the 90 % interval of the change is"),
        )
    yield from _others(judge)


def _worst_of_k(worst: Row, of: str) -> Iterator[tuple[str, Cell, Cell]]:
    if worst:
        k = tables.format_number(get_number(worst, "k"), 0)
        for key, label in (("expected_maximum", f"Expected maximum toxicity of {k}"),
                           ("probability", f"Probability that one of {k} is toxic")):  # fmt: skip
            yield _pair(f"{label}{of}", worst, key, get_mapping(worst, "change", key))


def _pair(label: str, figures: Row, key: str, change: Row) -> tuple[str, Cell, Cell]:
    note = tables.interval(get_list(change, "ci95"), signed=True)
    difference = get_number(change, "difference")
    said = f"{tables.format_number(difference, signed=True)} ({note})" if note and difference is not None else ""
    return (
        label,
        tables.number_cell(get_number(figures, "before", key)),
        tables.number_cell(get_number(figures, "after", key), note=said),
    )


def _others(judge: Row) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield numbers that this report does not know, by their keys."""
    sides = [
        dict(leaves({key: value for key, value in get_mapping(judge, side).items() if key not in OF_A_SIDE}))
        for side in SIDES
    ]
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        yield name_of(key), tables.number_cell(sides[0].get(key)), tables.number_cell(sides[1].get(key))
    other = {key: value for key, value in judge.items() if key not in KNOWN and value is not None}
    changes = {key: value for key, value in get_mapping(judge, "change").items() if key not in KNOWN_CHANGES}
    for prefix, figures in (("", other), ("change, ", changes)):
        for key, value in leaves(figures):
            yield name_of(f"{prefix}{key}"), tables.text_cell(""), tables.number_cell(value)
