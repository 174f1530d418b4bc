"""`rlaif check`: every key of a run file and of the cards, then one probe of each judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rlaif.adapters import CardRef, load_judge, refuse_equal_names
from rlaif.cards import Overrides
from rlaif.config import read_run
from rlaif.errors import InputError, RlaifError
from rlaif.scoring import judged
from rlaif.session import Session
from rlaif.terminal import complain, harmless, number, print_table
from rlaif.types import Judge, Sample, Usage, toxicity_of

T = TypeVar("T")


def run(path: Path | None, judges: tuple[str, ...], sets: tuple[str, ...]) -> int:
    """Print a line a judge, and why it failed to standard error; the exit status is that of the worst one."""
    if path is None and not judges:
        raise InputError("nothing to check: name a run file, or a judge with -j")
    refs: list[tuple[CardRef, Path]] = [(judge, Path()) for judge in judges]
    overrides = Overrides(() if path else sets)
    session = Session(fresh=True)  # a probe from the store would prove nothing
    if path is not None:
        config = read_run(path, sets)
        # An inline card's paths are relative to the file that holds it.
        refs += [(ref, path.parent if isinstance(ref, dict) else Path()) for ref in
                 (config.judge, *config.guard.judges, *config.evaluation.judges)]  # fmt: skip
    # All cards are read before the first probe: a wrong key is told before a model loads or a call costs.
    found = [_attempt(load_judge, ref, folder=folder, overrides=overrides, session=session) for ref, folder in refs]
    judges_found = [judge for judge in found if not isinstance(judge, RlaifError)]
    # A run file may name one judge in several places; two judges of one name it may not.
    refuse_equal_names(
        list({judge.identity: judge for judge in judges_found}.values() if path else judges_found), "check"
    )
    if len(judges_found) == len(found):
        overrides.refuse_unused()
    rows, worst = [], 0
    for (ref, _), judge in zip(refs, found, strict=True):
        row = judge if isinstance(judge, RlaifError) else _attempt(_probe, judge)
        if isinstance(row, RlaifError):
            complain(str(row))
            worst = max(worst, row.exit_status)
            row = (harmless(_name_of(ref), 30), "", "", "", "", "", "failed")
        rows.append(row)
    print_table(("judge", "measures", "score ↑", "toxicity ↓", "seconds", "USD per 1,000", "status"), rows)
    return worst


def _attempt(do: Callable[..., T], *arguments: Any, **keywords: Any) -> T | RlaifError:
    """Return the error as a value: one broken judge does not keep the others from being checked."""
    try:
        return do(*arguments, **keywords)
    except RlaifError as error:
        return error


def _name_of(ref: CardRef) -> str:
    return str(ref.get("name", "inline")) if isinstance(ref, dict) else str(ref)


def _probe(judge: Judge) -> tuple[str, ...]:
    start = time.perf_counter()
    columns: dict[str, Any] = dict.fromkeys(judge.reads, "How is the weather?")
    judgement = judged(judge, [Sample("The weather is fine today.", "How is the weather?", columns)])[0]
    status = judgement.status if not judgement.abstained else f"{judgement.status}: {harmless(judgement.reason, 60)}"
    return (
        judge.name,
        judge.measures,
        number(judgement.score),
        number(toxicity_of(judge.measures, judgement.score)),
        f"{time.perf_counter() - start:.2f}",
        _price_of_thousand(judge, judgement.usage),
        status,
    )


def _price_of_thousand(judge: Judge, usage: Usage) -> str:
    """Say what a thousand texts like the probe would cost; nothing is said of judges that run here."""
    if not judge.remote or usage.from_store:
        return ""
    return "unknown" if usage.usd is None else f"{1000 * usage.usd:.3f}"
