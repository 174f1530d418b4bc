"""`rlaif evaluate`: two models, or a finished run, in; a table and an answer out."""

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
    """Check everything, then measure, then tell."""
    generation = {name: options.pop(name) for name in GENERATION}
    wanted = EvaluationRequest(
        columns=parse_renames(columns), margins=margins_of(margins), generation=generation, fresh=fresh, **options
    )  # fmt: skip
    overrides, session = Overrides(sets), Session(Budget(budget_usd, budget_calls), fresh)
    with redirect_stdout(sys.stderr):  # what a user's module prints is no number
        panel = [load_judge(judge, overrides=overrides, session=session) for judge in judges]
        overrides.refuse_unused()
        command = _again(options | generation, judges, columns, sets, margins)
        evaluating = PreparedEvaluation(wanted, panel, session, command)
        for note in evaluating.notes:
            say(harmless(note))
        if not dry_run:
            try:
                told = run_evaluation(evaluating, None if output is None else Path(output))
            except RlaifError as error:
                if session.budget.made:
                    error.args = (f"{error}; verdicts that were paid are in the store: the same command pays the rest",)
                raise
    if dry_run:
        print_estimates(evaluating.estimates(), evaluating.texts)
        return 0
    if not sys.stdout.isatty():
        sys.stdout.write(to_json(told.to_json()))
    _show(told, evaluating.rows, output)
    return 0


def _show(told: EvaluationRecord, rows: Sequence[SampleRow], output: str | None) -> None:
    """Print the numbers, three pairs of samples, what is not known and why, and the answer."""
    say("")
    print_figures(told)
    for line in ("", *pairs_of_samples(rows, 3), ""):
        say(line)
    for figure, reason in told.unknown.items() if told.unknown is not ABSENT else ():
        say(harmless(f"not known: {figure.replace('_', ' ')}: {reason}"))
    say(harmless(told.answer))
    if output is not None:
        say(f"{output}: report.html, evaluation.json, samples.jsonl, samples.csv")


def _again(
    options: Mapping[str, object],
    judges: Sequence[str],
    columns: Sequence[str],
    sets: Sequence[str],
    margins: Sequence[str],
) -> str:
    """Return the command that measures the same again."""
    words = ["rlaif", "evaluate", *([str(options["run"])] if options["run"] is not None else [])]
    repeated = {"judge": judges, "column": columns, "set": sets, "margin": margins}
    single = {name.replace("_", "-"): [value] for name, value in options.items() if name != "run" and value is not None}
    for name, values in {**single, **repeated}.items():
        for value in values:
            words += [f"--{name}", str(value)]
    return shlex.join(words)
