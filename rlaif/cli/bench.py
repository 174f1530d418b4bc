"""`rlaif bench`: labelled data in, a table of judges out."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from rlaif.benchmark.bench import Options, sources_of
from rlaif.benchmark.benchmark import Benchmark
from rlaif.cli.output.ranking import print_benchmark
from rlaif.cli.output.summary import print_estimates, say
from rlaif.cli.score import parse_renames
from rlaif.core.errors import RlaifError
from rlaif.core.system.files import to_json
from rlaif.core.system.terminal import harmless
from rlaif.data.labelled import examine
from rlaif.data.meaning import Graded, Meaning
from rlaif.data.rows import RowSource
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.registry import load_judge
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from rlaif.report.bench.page import write


def run(
    judges: Sequence[str],
    data: Sequence[str],
    bad: Sequence[str],
    good: Sequence[str],
    graded: Graded | None,
    groups: Sequence[str],
    columns: Sequence[str],
    split: str | None,
    limit: int | None,
    output: str | None,
    sets: Sequence[str],
    retest: int,
    probes: bool,
    policy: str | None,
    best_of: int | None,
    prompts: str | None,
    template: str | None,
    budget_usd: float | None,
    budget_calls: int | None,
    fresh: bool,
    dry_run: bool,
) -> int:
    """
    Check all input, ask the judges, then compute the numbers.

    Judgements are saved as they arrive, so the same command resumes after an interruption.
    """
    overrides = Overrides(sets)
    session = Session(Budget(budget_usd, budget_calls), fresh)
    options = Options(
        retest=retest, probes=probes, policy=policy, best_of=best_of, template=template,
        prompts=None if prompts is None else RowSource(prompts),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(sys.stderr):  # a user's module may print
        panel = [load_judge(judge, overrides=overrides, session=session) for judge in judges]
        overrides.refuse_unused()
        needed: frozenset[str] = frozenset().union(*(judge.reads for judge in panel))
        sources = sources_of(data, parse_renames(columns), split, limit, needed)
        tables = examine(sources, Meaning(frozenset(bad), frozenset(good), graded or False), groups)
        benchmark = Benchmark(panel, tables, session, options)
        if not dry_run:
            folder = Path(output) if output is not None else Path(scratch) / "bench"
            with _say_how_to_resume(output):
                benchmark.ask(folder)
            record = benchmark.write_numbers(folder)
    for line in filter(None, (table.describe_labels() for table in tables)):
        say(harmless(line))
    if dry_run:
        print_estimates(benchmark.estimates(), benchmark.texts)
        return 0
    if not sys.stdout.isatty():
        sys.stdout.write(to_json(record.to_json()))
    print_benchmark(record, stderr=not sys.stdout.isatty())
    if output is not None:
        say(f"{output}: scores.jsonl, bench.json, bench.csv; to open in a browser: {write(Path(output))}")
    if record.over_budget:
        raise RlaifError(
            f"the budget is spent: {record.over_budget} judgements were not asked for; run again with a larger budget "
            "and the same -o to get the rest"
        )
    return 0


@contextmanager
def _say_how_to_resume(output: str | None) -> Iterator[None]:
    """Add to a failure or Ctrl-C how to resume."""
    try:
        yield
    except (RlaifError, KeyboardInterrupt) as error:
        if output is not None and (Path(output) / "scores.jsonl").exists():
            hint = f"run the same command again to resume from what is in {output}"
            error.args = ("; ".join(filter(None, (str(error), hint))),)
        raise
