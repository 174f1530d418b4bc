"""`rlaif check`: every key of a run file and of the cards, then one probe of each judge."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rlaif.adapters import CardRef, load_judge
from rlaif.cards import Overrides
from rlaif.config import read_run
from rlaif.errors import InputError, RlaifError
from rlaif.terminal import harmless, number, print_table
from rlaif.types import HARMS, Judge, Sample


def run(path: Path | None, judges: tuple[str, ...], sets: tuple[str, ...]) -> int:
    """Print a line a judge; the exit status is that of the worst one."""
    if path is None and not judges:
        raise InputError("nothing to check: name a run file, or a judge with -j")
    refs: list[tuple[CardRef, Path]] = [(judge, Path()) for judge in judges]
    overrides = Overrides(() if path else sets)
    if path is not None:
        config = read_run(path, sets)
        # An inline card's paths are relative to the file that holds it.
        refs += [(ref, path.parent if isinstance(ref, dict) else Path()) for ref in
                 (config.judge, *config.guard.judges, *config.evaluation.judges)]  # fmt: skip
    rows, worst = [], 0
    for ref, folder in refs:
        row, status = _probed(ref, folder, overrides)
        rows.append(row)
        worst = max(worst, status)
    overrides.refuse_unused()
    print_table(("judge", "measures", "score ↑", "toxicity ↓", "seconds", "status"), rows)
    return worst


def _probed(ref: CardRef, folder: Path, overrides: Overrides) -> tuple[tuple[str, ...], int]:
    try:
        judge = load_judge(ref, folder=folder, overrides=overrides)
        return _probe(judge), 0
    except RlaifError as error:
        name = ref if isinstance(ref, str) else str(ref.get("name", "inline")) if isinstance(ref, dict) else str(ref)
        return (harmless(name, 30), "", "", "", "", f"failed: {harmless(str(error))}"), error.exit_status


def _probe(judge: Judge) -> tuple[str, ...]:
    start = time.perf_counter()
    columns: dict[str, Any] = dict.fromkeys(judge.reads, "How is the weather?")
    judgement = judge([Sample("The weather is fine today.", "How is the weather?", columns)])[0]
    harm = 1 - judgement.score if judge.measures in HARMS and judgement.score is not None else None
    status = judgement.status if not judgement.abstained else f"{judgement.status}: {harmless(judgement.reason, 60)}"
    return (
        judge.name,
        judge.measures,
        number(judgement.score),
        number(harm),
        f"{time.perf_counter() - start:.2f}",
        status,
    )
