"""The texts that judges disagree on most, as data for the explorer of a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlaif.core.types import HARMS
from rlaif.report.bench.reading import BenchFolder
from rlaif.report.escape import visible
from rlaif.report.explorer import Block, round_score
from rlaif.report.reading import Row, get_list, get_mapping, get_number, get_value


def block_of(bench: BenchFolder) -> Block:
    """Return the texts with what each judge said of them, and how far apart judges put them."""
    found = [row for row in get_list(bench.told, "disagreements") if get_mapping({"": row}, "")]
    judges = [name for name in bench.names if any(name in get_mapping(row, "scores") for row in found)]
    files = list(get_mapping(bench.told, "files"))
    labels = dict(zip(files, bench.labels(files), strict=True))
    return {
        "what": "text",
        "judges": [
            {"name": visible(name), "role": "", "harm": get_value(bench.told, "judges", name, "measures") in HARMS}
            for name in judges
        ],
        "panes": [{"label": "Text"}],
        "changes": [],
        "numbers": ["Apart"],
        "cut": None,
        "rows": [
            {
                "p": visible(str(get_value(row, "prompt") or "")),
                "t": [visible(str(get_value(row, "completion") or ""))],
                "j": [[_judgement_cells(row, name) for name in judges]],
                "n": [round_score(get_number(row, "distance"))],
                "a": visible(" · ".join(_text_notes(row, labels))),
            }
            for row in found
        ],
    }


def _judgement_cells(row: Row, judge: str) -> list[Any] | None:
    """Return a judgement as the explorer reads it: score, status, reason, terms, parts."""
    if judge not in get_mapping(row, "scores"):
        return None
    status = get_value(row, "statuses", judge)
    return [round_score(get_number(row, "scores", judge)), visible(str(status or "ok")),
            visible(str(get_value(row, "reasons", judge) or "")), "", []]  # fmt: skip


def _text_notes(row: Row, labels: dict[str, str]) -> Iterator[str]:
    """Say where a text comes from, and what people say of it."""
    label, side, number = get_value(row, "label"), get_value(row, "side"), get_number(row, "row")
    if label is not None:
        yield f"people: {label}"
    elif side:
        yield f"people: {side}"
    for column, group in get_mapping(row, "groups").items():
        if group:
            yield f"{column}: {group}"
    file = str(get_value(row, "file") or "")
    yield labels.get(file, file) + ("" if number is None else f", row {number:.0f}")
