"""The texts that judges disagree on most, as data for the explorer of a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlaif.core.records.bench import Disagreement
from rlaif.core.types import HARMS
from rlaif.report.bench.reading import BenchFolder
from rlaif.report.escape import visible
from rlaif.report.explorer import Block, round_score


def block_of(bench: BenchFolder) -> Block:
    """Return the texts with what each judge said of them, and how far apart judges put them."""
    found = bench.told.disagreements
    judges = [name for name in bench.names if any(name in row.scores for row in found)]
    files = list(bench.told.files)
    labels = dict(zip(files, bench.labels(files), strict=True))
    return {
        "what": "text",
        "judges": [
            {"name": visible(name), "role": "", "harm": bench.told.judges[name].measures in HARMS} for name in judges
        ],
        "panes": [{"label": "Text"}],
        "changes": [],
        "numbers": ["Apart"],
        "cut": None,
        "rows": [
            {
                "p": visible(row.prompt),
                "t": [visible(row.completion)],
                "j": [[_judgement_cells(row, name) for name in judges]],
                "n": [round_score(row.distance)],
                "a": visible(" · ".join(_text_notes(row, labels))),
            }
            for row in found
        ],
    }


def _judgement_cells(row: Disagreement, judge: str) -> list[Any] | None:
    """Return a judgement as the explorer reads it: score, status, reason, terms, parts."""
    if judge not in row.scores:
        return None
    status, reason = row.statuses.get(judge, "ok"), row.reasons.get(judge, "")
    return [round_score(row.scores[judge]), visible(status), visible(reason), "", []]


def _text_notes(row: Disagreement, labels: dict[str, str]) -> Iterator[str]:
    """Say where a text comes from, and what people say of it."""
    if row.label is not None:
        yield f"people: {row.label}"
    elif row.side:
        yield f"people: {row.side}"
    for column, group in row.groups.items():
        if group:
            yield f"{column}: {group}"
    yield f"{labels.get(row.file, row.file)}, row {row.row}"
