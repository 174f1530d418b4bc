"""
Texts beside each other with what judges said of them, as data for a page that shows, searches and sorts them.

A page holds all samples as one block of JSON and draws a few rows of it at a time, so that thousands of samples open
as fast as ten. All texts in it are inert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.samples import SampleSide
from rlaif.report.escape import visible
from rlaif.report.reading import RunFolder
from rlaif.report.scores import SIDES, Side, judges_of, side_of

WHOLE = 64_000_000
"""Characters of all texts up to which they stand in the page whole."""

CUT = 4_000
"""Characters of each text, where all together are more."""

Block = dict[str, object]
"""
`judges`: name, role, and whether it measures harm. `panes`: what stands side by side in a row. `changes`: from which
pane to which. `numbers`: heads of further numbers, if there are any; the first of them gives the order. `rows`: `p`
prompt, `t` a text a pane (null: none), `j` a list of judgements a pane, one a judge; `n` the numbers and `a` a line
about the text, where there are any.
"""


def block_of(runs: Sequence[RunFolder]) -> Block:
    """Return the samples of runs side by side; what was answered before stands once if it is the same in all."""
    judges = judges_of(runs)
    panes = _panes(runs)
    found: dict[tuple[str, int], dict[int, SampleSide | None]] = {}
    for place, run in enumerate(runs):
        wanted = [(i, side) for i, (_, side, whose) in enumerate(panes) if whose == place]
        for row in run.samples:
            sides = found.setdefault((row.prompt, row.index), {})
            sides |= {i: side_of(row, side) for i, side in wanted}
    texts = [side.completion for sides in found.values() for side in sides.values() if side]
    total = sum(map(len, texts)) + sum(len(prompt) for prompt, _ in found)
    most = None if total <= WHOLE else CUT
    return {
        "what": "sample",
        "judges": [
            {"name": visible(name), "role": known.role.replace("_", " "), "harm": known.harm}
            for name, known in judges.items()
        ],
        "panes": [{"label": visible(label)} for label, *_ in panes],
        "changes": _changes(panes, runs),
        "cut": most,
        "rows": [
            {
                "p": _text(prompt, most),
                "t": [_completion(sides.get(i), most) for i in range(len(panes))],
                "j": [[_judgement_cells(sides.get(i), name) for name in judges] for i in range(len(panes))],
            }
            for (prompt, _), sides in found.items()
        ],
    }  # fmt: skip


def _panes(runs: Sequence[RunFolder]) -> list[tuple[str, Side, int]]:
    """Return label, side and run of what stands side by side."""
    befores = [{(row.prompt, row.index): row.before.completion for row in run.samples} for run in runs]
    named = [f" · {run.name}" if len(runs) > 1 else "" for run in runs]
    measured = [any(row.after for row in run.samples) for run in runs]
    if all(before == befores[0] for before in befores):
        panes: list[tuple[str, Side, int]] = [("Before", "before", 0)]
        return panes + [(f"After{named[i]}", "after", i) for i in range(len(runs)) if measured[i]]
    return [
        (f"{side.capitalize()}{named[i]}", side, i)
        for i in range(len(runs))
        for side in SIDES
        if side == "before" or measured[i]
    ]


def _changes(panes: Sequence[tuple[str, Side, int]], runs: Sequence[RunFolder]) -> list[dict[str, str | int]]:
    """Return which panes are compared: each run's after with its before, or with the one that all share."""
    changes: list[dict[str, str | int]] = []
    for to, (_, side, run) in enumerate(panes):
        if side == "after":
            before = next((i for i, pane in enumerate(panes) if pane[1:] == ("before", run)), 0)
            label = f"Change · {visible(runs[run].name)}" if len(runs) > 1 else "Change"
            changes.append({"label": label, "from": before, "to": to})
    return changes


def _completion(side: SampleSide | None, most: int | None) -> str | None:
    return _text(side.completion, most) if side else None


def _text(text: str, most: int | None) -> str:
    if most is not None and len(text) > most:
        return f"{visible(text[:most])} … ({len(text) - most:,} more characters in samples.jsonl)"
    return visible(text)


def _judgement_cells(side: SampleSide | None, judge: str) -> list[Any] | None:
    """Return a judgement as score, status, reason, what the judge said in its own terms, and a panel's members."""
    said = side.judgements.get(judge) if side else None
    if not said:
        return None
    terms = [f"{name} {value:.4g}" for name, value in (("raw", said.raw), ("logit", said.logit)) if value is not None]
    if said.shortened:
        terms.append("read in part")
    parts = [_part(part) for part in said.parts]
    return [round_score(said.score), visible(said.status), visible(said.reason), ", ".join(terms), parts]


def _part(said: JudgementRecord) -> list[Any]:
    return [visible(said.judge), visible(said.status), visible(said.reason), round_score(said.score)]


def round_score(score: float | None) -> float | None:
    """Return a number as short as a page needs it."""
    return None if score is None else round(score, 6)
