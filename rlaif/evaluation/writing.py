"""What a measurement of two models leaves behind: its samples and its numbers, for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif import environment
from rlaif.checkpoint import write_atomically
from rlaif.errors import InputError
from rlaif.limits import Budget
from rlaif.processes import computes_on
from rlaif.schema import reason_of
from rlaif.terminal import cell, harmless

Row = Mapping[str, Any]


def claim(folder: Path) -> None:
    """Make the folder, or raise `InputError` where nothing could be written into it after hours of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {reason_of(error)}; name another folder by -o") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written; name another folder by -o")


def write(folder: Path, rows: Sequence[Row], told: Row, budget: Budget) -> None:
    """Write samples.jsonl, samples.csv, evaluation.json, by what they were made, and what they cost."""
    write_atomically(folder / "samples.jsonl", "".join(map(line, rows)))
    write_atomically(folder / "samples.csv", as_csv(rows))
    write_atomically(folder / "evaluation.json", as_json(told))
    if not (folder / "run.yaml").exists():  # of a run, what it was made by and what it cost goes on
        for name in ("environment.jsonl", "spending.jsonl"):
            (folder / name).unlink(missing_ok=True)
    environment.write(folder / "environment.jsonl", str(computes_on()))
    if budget.made:
        with (folder / "spending.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": 0, "calls": budget.made, "usd": budget.spent}) + "\n")


def line(row: Row) -> str:
    """Return a row as a line of JSON: UTF-8 text as it is, lone surrogates escaped."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace").decode()


def as_json(told: Row) -> str:
    """Return evaluation.json; its numbers are finite or null."""
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace").decode()


def as_csv(rows: Sequence[Row]) -> str:
    """Write a line a pair; what a model wrote is on one line, without control characters, and never a formula."""
    names = list(dict.fromkeys(name for row in rows for name in row["after"]["judgements"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sides = ("before", "after")
    scores = [f"{name}_{side}" for name in names for side in sides]
    writer.writerow(["prompt", "index", *sides, *map(cell, scores)])
    for row in rows:
        texts = [cell(harmless(given)) for given in (row["prompt"], *(row[side]["completion"] for side in sides))]
        said = [row[side]["judgements"].get(name, {}).get("score") for name in names for side in sides]
        writer.writerow([texts[0], row["index"], *texts[1:], *said])
    return text.getvalue()
