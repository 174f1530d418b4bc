"""`rlaif score`: score texts, and write one line per text and judge."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import BinaryIO

from rlaif.cli.output.summary import TABLE_ROWS, Tally, print_estimate, print_rows, print_summary
from rlaif.core.errors import InputError, RlaifError
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.system.terminal import ProgressBar
from rlaif.core.types import Judge, Judgement, Sample
from rlaif.data.rows import RowSource
from rlaif.judges.asking import ask_in_chunks
from rlaif.judges.cards.card import refuse_equal_names
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.registry import load_judge
from rlaif.judges.remote.limits import Budget
from rlaif.judges.scoring import call_judge, row_of
from rlaif.judges.session import Session


def run(
    judges: Sequence[str],
    texts: Sequence[str],
    data: str | None,
    columns: Sequence[str],
    split: str | None,
    limit: int | None,
    output: str | None,
    sets: Sequence[str],
    budget_usd: float | None,
    budget_calls: int | None,
    fresh: bool,
    dry_run: bool,
) -> int:
    """Check all input, then score and write in chunks. A killed command leaves complete chunks behind."""
    if bool(texts) == (data is not None):
        raise InputError("give the texts either with --text or with --data FILE")
    if texts and (columns or split or limit):
        raise InputError("--column, --split and --limit apply to --data only; leave them out with --text")
    _refuse_output(output, data)
    overrides = Overrides(sets)
    session = Session(Budget(budget_usd, budget_calls), fresh)
    with redirect_stdout(sys.stderr):  # a user's module may print
        panel = [load_judge(judge, overrides=overrides, session=session) for judge in judges]
    refuse_equal_names(panel, "--judge")
    overrides.refuse_unused()
    needed: frozenset[str] = frozenset().union(*(judge.reads for judge in panel))
    if texts and needed:
        raise InputError(f"the judge needs the column {min(needed)!r}, which --text cannot give; use --data FILE")
    source = RowSource("--text" if data is None else data, parse_renames(columns), limit, split, needed)
    samples = [Sample(text) for text in texts] if texts else source.samples()
    total = len(texts) if texts else source.check() if source.rereadable else None
    if dry_run:
        if not print_estimate(samples, panel):
            raise InputError(f"{source.where}: has no rows")
        return 0
    with redirect_stdout(sys.stderr):
        for judge in panel:
            call_judge(judge, [])  # loads its model, so that a missing file is found before any judge starts to work
    tallies = _score(samples, panel, output, total)
    if not tallies[0].count:
        raise InputError(f"{source.where}: has no rows")
    if over := sum(tally.statuses["over_budget"] for tally in tallies):
        raise RlaifError(
            f"the budget is spent: {over} judgements were not asked for; run again with a larger budget to get the rest"
        )
    return 0


def _score(samples: Iterable[Sample], panel: Sequence[Judge], output: str | None, total: int | None) -> list[Tally]:
    """Score and write in chunks, then print the summary, and on a terminal the first rows too."""
    tallies = [Tally(judge) for judge in panel]
    table: list[tuple[Sample, list[Judgement]]] = []
    start = time.monotonic()
    with ExitStack() as stack:
        file = _destination(output, stack)
        progress = stack.enter_context(ProgressBar("scored", total))
        stack.enter_context(redirect_stdout(sys.stderr))
        try:
            for chunk, by_judge in ask_in_chunks(samples, panel):
                rows = list(zip(chunk, zip(*by_judge, strict=True), strict=True))
                _write(file, rows, output)
                if file is None and len(table) < TABLE_ROWS:
                    table += [(sample, list(judgements)) for sample, judgements in rows[: TABLE_ROWS - len(table)]]
                for tally, judgements in zip(tallies, by_judge, strict=True):
                    tally.add(judgements)
                progress.advance(len(chunk))
        except (RlaifError, KeyboardInterrupt) as error:
            if done := tallies[0].count:
                done_before = f"{done} texts were scored before{f', their lines are in {output}' if output else ''}"
                error.args = ("; ".join(filter(None, (str(error), done_before))),)
            raise
    if file is None:
        print_rows(table, panel, tallies[0].count)
    if tallies[0].count:
        print_summary(tallies, time.monotonic() - start)
    return tallies


def parse_renames(columns: Sequence[str]) -> dict[str, str]:
    """Parse the values of `--column`, each `NEW=OLD`, and return the old name of each new one."""
    names: dict[str, str] = {}
    for text in columns:
        new, equals, old = text.partition("=")
        if not equals or not new or not old:
            raise InputError(f"--column {short_repr(text)}: should be NEW=OLD, as in completion=tweet")
        if new in names:
            raise InputError(f"--column: {new!r} is named twice: {names[new]} and {old}")
        names[new] = old
    return names


def _refuse_output(output: str | None, data: str | None) -> None:
    """Raise `InputError` if the output cannot be written. Does not touch an existing file yet."""
    if output is None or output == "-":
        return
    path = Path(output)
    with _explain_write_errors(output):
        if path.is_dir():
            raise InputError(f"{output}: is a folder; name a file with -o")
        if not path.parent.is_dir():
            raise InputError(f"{output}: there is no folder {path.parent}; create it first")
        if data and path.exists() and Path(data).exists() and path.samefile(data):
            raise InputError(f"{output}: is the input file of --data; name another file with -o")


def _destination(output: str | None, stack: ExitStack) -> BinaryIO | None:
    """Return the file or pipe for the lines, or None if a table is shown on a terminal instead."""
    if output is None or output == "-":
        return None if output is None and sys.stdout.isatty() else sys.stdout.buffer
    with _explain_write_errors(output):
        return stack.enter_context(Path(output).open("wb"))


@contextmanager
def _explain_write_errors(output: str) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise InputError(f"{output}: cannot be written: {reason_of(error)}") from None


def _write(file: BinaryIO | None, rows: Iterable[tuple[Sample, Iterable[Judgement]]], output: str | None) -> None:
    if file is None:
        return
    try:
        for sample, judgements in rows:
            for judgement in judgements:
                file.write(row_of(sample, judgement).encode() + b"\n")
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if output:
            with suppress(OSError):  # closing tries to write the same bytes again
                file.close()
        raise RlaifError(f"{output or 'standard output'}: cannot be written: {reason_of(error)}") from error
