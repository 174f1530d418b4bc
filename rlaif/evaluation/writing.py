"""Writes the samples and the figures of an evaluation, for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.samples import SampleRow
from rlaif.core.records.spending import StepSpending
from rlaif.core.system import provenance
from rlaif.core.system.devices import computes_on
from rlaif.core.system.files import append, to_json, to_json_line, write_atomically
from rlaif.core.system.terminal import cell, harmless
from rlaif.judges.remote.limits import Budget


def write(folder: Path, rows: Sequence[SampleRow], record: EvaluationRecord, budget: Budget) -> None:
    """Write samples.jsonl, samples.csv, evaluation.json, environment.jsonl and, if calls were made, spending.jsonl."""
    write_atomically(folder / "samples.jsonl", "".join(f"{to_json_line(row.to_json())}\n" for row in rows))
    write_atomically(folder / "samples.csv", format_csv(rows))
    write_atomically(folder / "evaluation.json", to_json(record.to_json()))
    if not (folder / "run.yaml").exists():  # in the folder of a run, lines are added to these files
        for name in ("environment.jsonl", "spending.jsonl"):
            (folder / name).unlink(missing_ok=True)
    provenance.write(folder / "environment.jsonl", str(computes_on()))
    if budget.made:
        spent = StepSpending(step=0, calls=budget.made, usd=budget.spent)
        append(folder / "spending.jsonl", json.dumps(spent.to_json()))


def format_csv(rows: Sequence[SampleRow]) -> str:
    """Return a CSV with one line per pair. Texts have no line breaks or control characters, and are never formulas."""
    names = list(dict.fromkeys(name for row in rows if row.after for name in row.after.judgements))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sides = ("before", "after")
    scores = [f"{name}_{side}" for name in names for side in sides]
    writer.writerow(["prompt", "index", *sides, *map(cell, scores)])
    for row in rows:
        answers = [answer for answer in (row.before, row.after) if answer]
        texts = [cell(harmless(given)) for given in (row.prompt, *(answer.completion for answer in answers))]
        judgements = [answer.judgements.get(name) for name in names for answer in answers]
        scores_of_row = [None if judgement is None else judgement.score for judgement in judgements]
        writer.writerow([texts[0], row.index, *texts[1:], *scores_of_row])
    return text.getvalue()
