"""The meaning of human labels: which of them are good, which are bad, or that they are grades."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rlaif.core.errors import InputError

Graded = Literal["high", "low"]
"""Whether good texts have high grades or low ones."""

_THRESHOLD = re.compile(r"(<=|>=|<|>)\s*(\S+)")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """
    The meaning of labels.

    Args:
        bad: labels of bad texts, or thresholds such as ">=0.5". If `good` is empty, all other labels are good.
        good: labels of good texts, or thresholds. If `bad` is empty, all other labels are bad.
        graded: whether labels are grades: "high" (or True) if higher is better, "low" if lower is better, else False.

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
        """Return 1 for a good label and 0 for a bad one, or None if it is in neither of two given sets."""
        is_bad, is_good = (any(covers(name, word) for name in names) for names in (self.bad, self.good))
        if is_bad and is_good:
            raise InputError(f"the label {word!r} is both --bad and --good")
        if is_bad or is_good:
            return float(is_good)
        return None if self.bad and self.good else float(not self.good)


def covers(name: str, word: str) -> bool:
    """Whether a value or threshold of --bad or --good matches a label. A threshold needs a number."""
    if name == word:
        return True
    found = _THRESHOLD.fullmatch(name.strip())
    if not found or not is_number(found[2]) or _THRESHOLD.fullmatch(word):  # a label may be the text ">50" itself
        return False
    if not is_number(word):
        raise InputError(f"the label {word!r} is no number, so it cannot be compared with {name}")
    return _OPERATORS[found[1]](float(word), float(found[2]))


def is_number(word: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
