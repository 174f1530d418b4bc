"""The texts that judges disagree on most, as data for the explorer of a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlaif.core.types import HARMS
from rlaif.report.bench.reading import BenchFolder
from rlaif.report.escape import visible
from rlaif.report.explorer import Block, rounded
from rlaif.report.reading import Row, at, inside, mapping, rows_in


def block_of(bench: BenchFolder) -> Block:
    """Return the texts with what each judge said of them, and how far apart judges put them."""
    found = [row for row in rows_in(bench.told, "disagreements") if mapping({"": row}, "")]
    judges = [name for name in bench.names if any(name in mapping(row, "scores") for row in found)]
    files = list(mapping(bench.told, "files"))
    labels = dict(zip(files, bench.labels(files), strict=True))
    return {
        "what": "text",
        "judges": [
            {"name": visible(name), "role": "", "harm": inside(bench.told, "judges", name, "measures") in HARMS}
            for name in judges
        ],
        "panes": [{"label": "Text"}],
        "changes": [],
        "numbers": ["Apart"],
        "cut": None,
        "rows": [
            {
                "p": visible(str(inside(row, "prompt") or "")),
                "t": [visible(str(inside(row, "completion") or ""))],
                "j": [[_said(row, name) for name in judges]],
                "n": [rounded(at(row, "distance"))],
                "a": visible(" · ".join(_about(row, labels))),
            }
            for row in found
        ],
    }


def _said(row: Row, judge: str) -> list[Any] | None:
    """Return a judgement as the explorer reads it: score, status, reason, terms, parts."""
    if judge not in mapping(row, "scores"):
        return None
    status = inside(row, "statuses", judge)
    return [rounded(at(row, "scores", judge)), visible(str(status or "ok")),
            visible(str(inside(row, "reasons", judge) or "")), "", []]  # fmt: skip


def _about(row: Row, labels: dict[str, str]) -> Iterator[str]:
    """Say where a text comes from, and what people say of it."""
    label, side, number = inside(row, "label"), inside(row, "side"), at(row, "row")
    if label is not None:
        yield f"people: {label}"
    elif side:
        yield f"people: {side}"
    for column, group in mapping(row, "groups").items():
        if group:
            yield f"{column}: {group}"
    file = str(inside(row, "file") or "")
    yield labels.get(file, file) + ("" if number is None else f", row {number:.0f}")
