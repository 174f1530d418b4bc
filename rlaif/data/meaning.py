"""What people's labels mean: which are of bad texts, which of good ones, or that they are grades."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rlaif.core.errors import InputError

Graded = Literal["high", "low"]
"""Which grades are of good texts: the high or the low ones."""

_THRESHOLD = re.compile(r"(<=|>=|<|>)\s*(\S+)")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """
    What labels mean.

    Args:
        bad: values of bad texts, or thresholds such as ">=0.5"; what is not among them is good, unless `good` says
            otherwise.
        good: values of good texts, or thresholds; what is not among them is bad, unless `bad` says otherwise.
        graded: labels are numbers: "high" (or True) where higher is better, "low" where lower is; else False.

    """

    bad: frozenset[str] = frozenset()
    good: frozenset[str] = frozenset()
    graded: bool | Graded = False

    def __post_init__(self) -> None:
        if both := self.bad & self.good:
            raise InputError(f"the label {min(both)!r} cannot be both --bad and --good")
        if self.graded and (self.bad or self.good):
            raise InputError("--graded takes labels as numbers, high or low = good; leave --bad and --good out")
        if self.graded not in (True, False, "high", "low"):
            raise InputError(f"graded should be true, high or low, not {self.graded!r}")

    @property
    def named(self) -> frozenset[str]:
        """All values and thresholds that were named."""
        return self.bad | self.good

    def target(self, word: str) -> float | None:
        """Return 1 for a good label and 0 for a bad one; None where both were named, and this one was not."""
        is_bad, is_good = (any(covers(name, word) for name in names) for names in (self.bad, self.good))
        if is_bad and is_good:
            raise InputError(f"the label {word!r} is both --bad and --good")
        if is_bad or is_good:
            return float(is_good)
        return None if self.bad and self.good else float(not self.good)


def covers(name: str, word: str) -> bool:
    """Whether a value or threshold of --bad or --good takes in a label; a threshold needs a number."""
    if name == word:
        return True
    found = _THRESHOLD.fullmatch(name.strip())
    if not found or not is_number(found[2]) or _THRESHOLD.fullmatch(word):  # a label may be the text ">50" itself
        return False
    if not is_number(word):
        raise InputError(f"the label {word!r} is no number, which {name} is compared with")
    return _OPERATORS[found[1]](float(word), float(found[2]))


def is_number(word: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
