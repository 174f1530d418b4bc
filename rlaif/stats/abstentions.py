"""Bounds on what abstentions could hide. Filters block the most toxic texts, so the rest is not a random sample."""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.core.errors import InputError
from rlaif.stats.pairs import Scores, check_lengths


@dataclass(frozen=True, slots=True)
class Bounds:
    """The lowest and the highest possible value of a figure."""

    low: float
    high: float


def worst_case(before: Scores, after: Scores, *, low: float = 0.0, high: float = 1.0) -> Bounds | None:
    """
    Return the lowest and highest change of means over all pairs that the abstentions allow.

    Each missing number may have any value on the scale, with no assumption about why it is missing (Manski 1989,
    "Anatomy of the selection problem"). Without abstentions both bounds equal the change.

    Args:
        before: one number per pair, None where a judge abstained.
        after: one number per pair, in the same order.
        low: lowest value of the scale.
        high: highest value of the scale.

    Returns:
        The bounds, or None if there are no pairs.

    Raises:
        InputError: the lengths differ, or a number is off the scale.

    """
    check_lengths(before, after)
    if wrong := [x for x in (*before, *after) if x is not None and not low <= x <= high]:
        raise InputError(f"{wrong[0]} is off the scale of {low:g} to {high:g}, so missing numbers have no bounds")
    if not before:
        return None

    def total(side: Scores, missing: float) -> float:
        return sum(missing if x is None else x for x in side)

    lowest = total(after, low) - total(before, high)
    highest = total(after, high) - total(before, low)
    return Bounds(lowest / len(before), highest / len(before))
