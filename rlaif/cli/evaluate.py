"""`rlaif evaluate`: compare two models, or measure a finished run again; print a table and a conclusion."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from rlaif.cli.output.summary import print_estimates, say
from rlaif.cli.score import parse_renames
from rlaif.core.errors import RlaifError
from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow
from rlaif.core.system.files import to_json
from rlaif.core.system.terminal import harmless
from rlaif.evaluation.compare.evaluate import run_evaluation
from rlaif.evaluation.compare.prepared import PreparedEvaluation
from rlaif.evaluation.compare.request import EvaluationRequest
from rlaif.evaluation.conclusion import pairs_of_samples, print_figures
from rlaif.evaluation.margins import margins_of
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.registry import load_judge
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session

GENERATION = ("max_new_tokens", "min_new_tokens", "temperature", "top_p")


def run(
    judges: Sequence[str],
    columns: Sequence[str],
    output: str | None,
    sets: Sequence[str],
    margins: Sequence[str],
    budget_usd: float | None,
    budget_calls: int | None,
    fresh: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Check all input, measure, then print the results."""
    generation = {name: options.pop(name) for name in GENERATION}
    request = EvaluationRequest(
        columns=parse_renames(columns), margins=margins_of(margins), generation=generation, fresh=fresh, **options
    )  # fmt: skip
    overrides, session = Overrides(sets), Session(Budget(budget_usd, budget_calls), fresh)
    with redirect_stdout(sys.stderr):  # a user's module may print
        panel = [load_judge(judge, overrides=overrides, session=session) for judge in judges]
        overrides.refuse_unused()
        command = _command_of(options | generation, judges, columns, sets, margins)
        prepared = PreparedEvaluation(request, panel, session, command)
        for note in prepared.notes:
            say(harmless(note))
        if not dry_run:
            try:
                record = run_evaluation(prepared, None if output is None else Path(output))
            except RlaifError as error:
                if session.budget.made:
                    hint = "verdicts already paid for are in the store, so the same command pays only for the rest"
                    error.args = (f"{error}; {hint}",)
                raise
    if dry_run:
        print_estimates(prepared.estimates(), prepared.texts)
        return 0
    if not sys.stdout.isatty():
        sys.stdout.write(to_json(record.to_json()))
    _show(record, prepared.rows, output)
    return 0


def _show(record: EvaluationRecord, rows: Sequence[SampleRow], output: str | None) -> None:
    """Print the numbers, three pairs of samples, the figures that are unknown with reasons, and the conclusion."""
    say("")
    print_figures(record)
    for line in ("", *pairs_of_samples(rows, 3), ""):
        say(line)
    for figure, reason in record.unknown.items() if record.unknown is not ABSENT else ():
        say(harmless(f"not known: {figure.replace('_', ' ')}: {reason}"))
    say(harmless(record.answer))
    if output is not None:
        say(f"{output}: report.html, evaluation.json, samples.jsonl, samples.csv")


def _command_of(
    options: Mapping[str, object],
    judges: Sequence[str],
    columns: Sequence[str],
    sets: Sequence[str],
    margins: Sequence[str],
) -> str:
    """Return the command line that repeats this evaluation."""
    words = ["rlaif", "evaluate", *([str(options["run"])] if options["run"] is not None else [])]
    repeated = {"judge": judges, "column": columns, "set": sets, "margin": margins}
    single = {name.replace("_", "-"): [value] for name, value in options.items() if name != "run" and value is not None}
    for name, values in {**single, **repeated}.items():
        for value in values:
            words += [f"--{name}", str(value)]
    return shlex.join(words)
