"""Panels: judges that combine the scores of other judges. A panel has no state and works with any adapter."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from rlaif.core.errors import InputError
from rlaif.core.schema import Checked, check
from rlaif.core.system.threads import map_in_threads
from rlaif.core.types import Estimate, Judge, Judgement, Sample, estimate_of, origin_of, total
from rlaif.judges.cards.card import Card, refuse_equal_names

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load


@dataclass(frozen=True, kw_only=True)
class PanelCard(Card):
    """
    The keys of `adapter: panel`.

    `judges` lists cards, or `{judge: CARD, weight: 1, veto_below: 0.5}`. Mean and median use the weights; `min` and
    `product` ignore them. `quorum` is the number of members that must answer, or `all`. With a number (mean and median
    only) the weights of members that abstain are shared among the others.
    """

    judges: list[str | dict[str, object]]
    combine: Literal["mean", "min", "median", "product"] = "mean"
    quorum: Literal["all"] | Annotated[int, Ge(1)] = "all"
    measures: str = ""

    def members(self) -> list[str | dict[str, object]]:
        """Return the cards of the members."""
        return [seat.judge for seat in seats_of(self)]


@dataclass(frozen=True, kw_only=True)
class PanelMember(Checked):
    """A member of a panel. If its score is below `veto_below`, the panel's score is at most the member's."""

    judge: str | dict[str, object]
    weight: Annotated[float, Ge(0)] = 1.0
    veto_below: Annotated[float, Ge(0), Le(1)] | None = None


def make(card: PanelCard, *, load: Load) -> Judge:
    """Make a panel and its members."""
    seats = seats_of(card)
    judges = []
    for i, seat in enumerate(seats):
        try:
            judges.append(load(seat.judge))
        except InputError as error:
            raise InputError(f"judge {card.name}: judges.{i}: {error}") from error
    refuse_equal_names(judges, f"judge {card.name}")
    return Panel(card, seats, judges)


def seats_of(card: PanelCard) -> list[PanelMember]:
    """Read the members of a panel. Raises `InputError` if the card's keys contradict each other."""
    where = f"judge {card.name}"
    seats = []
    for i, member in enumerate(card.judges):
        is_seat = isinstance(member, Mapping) and "adapter" not in member
        seats.append(check(PanelMember, member if is_seat else {"judge": member}, f"{where}: judges.{i}"))
    if not seats:
        raise InputError(f"{where}: judges: a panel needs a member")
    if not any(seat.weight for seat in seats):
        raise InputError(f"{where}: all weights are 0")
    if card.quorum != "all" and card.combine not in ("mean", "median"):
        raise InputError(f"{where}: quorum: {card.quorum} works with combine: mean or median; {card.combine} needs all")
    if card.quorum != "all" and card.quorum > len(seats):
        raise InputError(f"{where}: quorum: {card.quorum} of {len(seats)} members can never answer")
    return seats


class Panel:
    """A judge that asks its members concurrently and combines their scores."""

    has_logit = False

    def __init__(self, card: PanelCard, seats: Sequence[PanelMember], judges: Sequence[Judge]) -> None:
        self.name = card.name
        kinds = {judge.measures for judge in judges}
        self.measures = card.measures or (kinds.pop() if len(kinds) == 1 else "quality")
        self.remote = any(judge.remote for judge in judges)
        self.reads = frozenset().union(*(judge.reads for judge in judges))
        rules = tuple((seat.weight, seat.veto_below) for seat in seats)
        self.identity: Hashable = ("panel", card.combine, card.quorum, tuple(judge.identity for judge in judges), rules)
        self.judges = tuple(judges)
        self._seats = tuple(seats)
        self._combine = card.combine
        self._needed = len(seats) if card.quorum == "all" else card.quorum

    @property
    def origin(self) -> Hashable:
        """Its members and how it combines them, whatever they are named."""
        rules = tuple((seat.weight, seat.veto_below) for seat in self._seats)
        return ("panel", self._combine, self._needed, tuple(map(origin_of, self.judges)), rules)

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Ask all members concurrently, and combine their judgements of each sample."""
        columns = map_in_threads(lambda judge: judge(samples), self.judges)
        return [self.combine_judgements(parts) for parts in zip(*columns, strict=True)] if samples else []

    def estimate(self, samples: Sequence[Sample]) -> Estimate:
        """Return an upper bound of the cost of all members together."""
        return sum((estimate_of(judge, samples) for judge in self.judges), Estimate())

    def combine_judgements(self, parts: Sequence[Judgement]) -> Judgement:
        """Combine the members' judgements of one sample, given in the order of the members."""
        usage = total([part.usage for part in parts])
        seated = list(zip(self._seats, parts, strict=True))
        answered = [(seat, part.score) for seat, part in seated if part.score is not None]
        silent = [part for part in parts if part.score is None]
        vetoes_missing = any(part.score is None and seat.veto_below is not None for seat, part in seated)
        weightless = self._combine in ("mean", "median") and not any(seat.weight for seat, _ in answered)
        if vetoes_missing or len(answered) < self._needed or weightless:
            reason = "; ".join(f"{part.judge} abstained: {part.status}" for part in silent)
            return Judgement(self.name, None, status=silent[0].status, reason=reason, usage=usage, parts=tuple(parts))
        score = combine(self._combine, [score for _, score in answered], [seat.weight for seat, _ in answered])
        reasons = [f"{part.judge} abstained: {part.status}" for part in silent]
        for seat, part in seated:
            if seat.veto_below is not None and part.score is not None and part.score < seat.veto_below:
                reasons.append(f"capped by {part.judge}: {part.score:.3g} is below {seat.veto_below:g}")
                score = min(score, part.score)
        reasons += [f"{part.judge} {part.reason}" for part in parts if part.shortened]
        shortened = any(part.shortened for part in parts)
        return Judgement(
            self.name, score, reason="; ".join(reasons), usage=usage, parts=tuple(parts), shortened=shortened
        )


def combine(how: str, scores: Sequence[float], weights: Sequence[float]) -> float:
    """Combine scores in [0, 1] into one. The result is the same to the bit in any order of the scores."""
    if how == "min":
        return min(scores)
    if how == "product":
        return math.prod(sorted(scores))
    heaviest = max(weights)  # the sum of huge weights may overflow
    shares = [weight / heaviest for weight in weights]
    if how == "median":
        return _median_by_weight(scores, shares)
    mean = math.fsum(share * score for share, score in zip(shares, scores, strict=True)) / math.fsum(shares)
    return min(max(mean, min(scores)), max(scores))  # rounding may leave the range of the scores


def _median_by_weight(scores: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted median, which is the mean of two scores if half of the weight lies on either side."""
    ordered = sorted((score, weight) for score, weight in zip(scores, weights, strict=True) if weight)
    below = [math.fsum(weight for _, weight in ordered[: i + 1]) for i in range(len(ordered))]
    half = below[-1] / 2
    i = bisect_left(below, half)
    return (ordered[i][0] + ordered[i + 1][0]) / 2 if below[i] == half else ordered[i][0]
