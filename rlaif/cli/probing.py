"""Judges as `rlaif check` sees them: each card read, then each judge asked about one text."""

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
    """What is wrong, told at once, a line each; one thing that is wrong keeps no other from being looked at."""

    worst: int = 0

    def attempt(self, do: Callable[..., T], *arguments: Any, **keywords: Any) -> T | None:
        """Return what a function returns, or None where it says that something is wrong."""
        try:
            return do(*arguments, **keywords)
        except RlaifError as error:
            self.tell(error)
            return None

    def passes(self, refuse: Callable[..., None], *arguments: Any) -> bool:
        """Return whether a function finds nothing wrong."""
        try:
            refuse(*arguments)
        except RlaifError as error:
            self.tell(error)
            return False
        return True

    def tell(self, error: RlaifError) -> None:
        """Say what is wrong; the exit status is that of the worst."""
        complain(str(error))
        self.worst = max(self.worst, error.exit_status)


@dataclass
class ProbedJudge:
    """
    A judge of the command line or of a run file.

    Args:
        ref: how it is named.
        judge: None where its card is wrong.
        latency: seconds of its probe.

    """

    ref: CardRef
    judge: Judge | None
    latency: float = 0.0
    row: tuple[str, ...] = field(default=())


def read_cards(refs: Sequence[CardRef], overrides: Overrides, session: Session, faults: FaultList) -> list[ProbedJudge]:
    """Read all cards: a wrong key is told before a model loads or a call costs."""
    met: dict[str, Judge | None] = {}  # what names a card again would only say again what is wrong
    for ref in refs:
        if (key := repr(ref)) not in met:
            met[key] = faults.attempt(load_judge, ref, overrides=overrides, session=session)
    read = [ProbedJudge(ref, met[repr(ref)]) for ref in refs]
    if all(one.judge for one in read):
        overrides.refuse_unused()
    return read


def probe_all(judges: Sequence[ProbedJudge], faults: FaultList) -> None:
    """Ask each judge about one text, and print a line each."""
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
        call_judge(judge, [])  # a model that loads is not slow to judge
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
    """Say what a thousand texts like the probe would cost; nothing is said of judges that run here."""
    if not judge.remote or usage.from_store:
        return ""
    return "unknown" if usage.usd is None else f"{1000 * usage.usd:.3f}"
