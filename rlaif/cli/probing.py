"""How `rlaif check` tests judges: it reads each card, then asks each judge about one text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rlaif.core.errors import RlaifError
from rlaif.core.system.terminal import complain, harmless, number, print_table
from rlaif.core.types import Judge, Sample, Usage, toxicity_of
from rlaif.judges.cards.card import CardRef
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.registry import load_judge
from rlaif.judges.scoring import call_judge
from rlaif.judges.session import Session

T = TypeVar("T")
COLUMNS = ("judge", "measures", "score ↑", "toxicity ↓", "seconds", "USD per 1,000", "status")


@dataclass
class FaultList:
    """
    Prints faults as they are found, one line each, and lets the command continue to find the others.

    Args:
        worst: highest exit status of the faults so far, 0 if there are none.

    """

    worst: int = 0

    def attempt(self, do: Callable[..., T], *arguments: Any, **keywords: Any) -> T | None:
        """Call a function and return its result, or None if it raises `RlaifError`, which is reported."""
        try:
            return do(*arguments, **keywords)
        except RlaifError as error:
            self.report(error)
            return None

    def passes(self, refuse: Callable[..., None], *arguments: Any) -> bool:
        """Call a check and return whether it passes; an `RlaifError` that it raises is reported."""
        try:
            refuse(*arguments)
        except RlaifError as error:
            self.report(error)
            return False
        return True

    def report(self, error: RlaifError) -> None:
        """Print a fault and remember the worst exit status."""
        complain(str(error))
        self.worst = max(self.worst, error.exit_status)


@dataclass
class ProbedJudge:
    """
    A judge named on the command line or in a run file, and the result of its probe.

    Args:
        ref: how the judge is named: a card's name or path, or an inline card.
        judge: the judge, or None if its card is invalid.
        latency: time that the probe took, in seconds.
        row: cells of the judge's row in the table, in the order of `COLUMNS`.

    """

    ref: CardRef
    judge: Judge | None
    latency: float = 0.0
    row: tuple[str, ...] = field(default=())


def read_cards(refs: Sequence[CardRef], overrides: Overrides, session: Session, faults: FaultList) -> list[ProbedJudge]:
    """Read all cards, so that invalid keys are reported before a model is loaded or a call is paid."""
    loaded: dict[str, Judge | None] = {}  # each card once, so that a fault is reported once
    for ref in refs:
        if (key := repr(ref)) not in loaded:
            loaded[key] = faults.attempt(load_judge, ref, overrides=overrides, session=session)
    read = [ProbedJudge(ref, loaded[repr(ref)]) for ref in refs]
    if all(one.judge for one in read):
        overrides.refuse_unused()
    return read


def probe_all(judges: Sequence[ProbedJudge], faults: FaultList) -> None:
    """Ask each judge about one text, and print one row per judge."""
    for one in judges:
        row = faults.attempt(_probe, one) if one.judge else None
        one.row = row or (harmless(_name_of(one.ref), 30), "", "", "", "", "", "failed")
    print_table(COLUMNS, [one.row for one in judges])


def _name_of(ref: CardRef) -> str:
    return str(ref.get("name", "inline")) if isinstance(ref, dict) else str(ref)


def _probe(one: ProbedJudge) -> tuple[str, ...]:
    judge = one.judge
    assert judge is not None
    columns: dict[str, object] = dict.fromkeys(judge.reads, "How is the weather?")
    sample = Sample("The weather is fine today.", "How is the weather?", columns)
    if not judge.remote:
        call_judge(judge, [])  # load the model first, so that the latency does not include loading
    start = time.perf_counter()
    judgement = call_judge(judge, [sample])[0]
    one.latency = time.perf_counter() - start
    status = judgement.status if not judgement.abstained else f"{judgement.status}: {harmless(judgement.reason, 60)}"
    return (
        judge.name,
        judge.measures,
        number(judgement.score),
        number(toxicity_of(judge.measures, judgement.score)),
        f"{one.latency:.2f}",
        _price_of_thousand(judge, judgement.usage),
        status,
    )


def _price_of_thousand(judge: Judge, usage: Usage) -> str:
    """Return the cost of a thousand texts like the probe in USD, empty for local judges."""
    if not judge.remote or usage.from_store:
        return ""
    return "unknown" if usage.usd is None else f"{1000 * usage.usd:.3f}"
