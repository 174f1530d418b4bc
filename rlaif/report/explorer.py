"""
Samples with their judgements, as data for the table of a page that shows, searches and sorts them.

A page holds all samples as one block of JSON and draws a few rows at a time, so that thousands of samples open as fast
as ten. All texts in the block are escaped.
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
"""Texts are shown in full if all of them together have at most this many characters."""

CUT = 4_000
"""Otherwise each text is cut to this many characters."""

Block = dict[str, object]
"""
`judges`: name, role, and whether the judge measures harm. `panes`: labels of the texts that stand side by side in a
row. `changes`: which pane is compared with which. `numbers`: headings of further numbers, if any; the first of them
gives the order. `rows`: `p` is the prompt, `t` has one text per pane (null if there is none), `j` has one list of
judgements per pane, one per judge; `n` are the numbers and `a` is a line about the text, if there are any.
"""


def block_of(runs: Sequence[RunFolder]) -> Block:
    """Return the samples of runs side by side. Completions before training appear once if all runs share them."""
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
    """Return the label, side and run index of each pane."""
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
    """Return which panes are compared: after with before of each run, or with the pane that all runs share."""
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
    """Return a judgement as score, status, reason, raw numbers in words, and the members of a panel."""
    its = side.judgements.get(judge) if side else None
    if not its:
        return None
    terms = [f"{name} {value:.4g}" for name, value in (("raw", its.raw), ("logit", its.logit)) if value is not None]
    if its.shortened:
        terms.append("read in part")
    parts = [_part(part) for part in its.parts]
    return [round_score(its.score), visible(its.status), visible(its.reason), ", ".join(terms), parts]


def _part(judgement: JudgementRecord) -> list[Any]:
    its = judgement
    return [visible(its.judge), visible(its.status), visible(its.reason), round_score(its.score)]


def round_score(score: float | None) -> float | None:
    """Round a score to six digits, to keep the page small."""
    return None if score is None else round(score, 6)
