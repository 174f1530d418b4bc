"""What abstentions could hide: filters hit the most toxic texts, so that who is left over is no random sample."""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.core.errors import InputError
from rlaif.stats.pairs import Scores, check_lengths


@dataclass(frozen=True, slots=True)
class Bounds:
    """The lowest and the highest that a number could be."""

    low: float
    high: float


def worst_case(before: Scores, after: Scores, *, low: float = 0.0, high: float = 1.0) -> Bounds | None:
    """
    Return how low and how high the change of means over all pairs could be, whatever was behind the abstentions.

    Each missing number may be anything on the scale, the worst as well as the best, with no assumption on why it is
    missing (Manski 1989, "Anatomy of the selection problem"). Without an abstention both bounds are the change.

    Args:
        before: one number a pair, None where a judge abstained.
        after: of the same pairs.
        low: end of the scale.
        high: the other end.

    Returns:
        None where there is no pair.

    Raises:
        InputError: lengths differ, or a number is off the scale.

    """
    check_lengths(before, after)
    if wrong := [x for x in (*before, *after) if x is not None and not low <= x <= high]:
        raise InputError(f"{wrong[0]} is off the scale of {low:g} to {high:g}: nothing bounds what is missing")
    if not before:
        return None

    def total(side: Scores, missing: float) -> float:
        return sum(missing if x is None else x for x in side)

    lowest = total(after, low) - total(before, high)
    highest = total(after, high) - total(before, low)
    return Bounds(lowest / len(before), highest / len(before))
