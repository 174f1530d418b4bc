"""Equivalence margins: how much a figure may change for two sides to count as equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from rlaif.core.errors import InputError
from rlaif.core.schema import did_you_mean, short_repr


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """
    The largest changes that do not matter.

    The 90 % interval of a change has to lie inside (two one-sided tests at 5 %: see `rlaif.stats.changes.equivalent`).

    Args:
        score: margin of a judge's mean score, in its unit; half of the smallest detoxification worth reporting.
        perplexity: margin of the perplexity; m means 1 / (1 + m) to 1 + m times the value before.
        distinct: margin of distinct-1, -2 and -3, as a ratio in the same way.
        length: margin of the mean length, as a ratio in the same way.

    """

    score: float = 0.02
    perplexity: float = 0.10
    distinct: float = 0.05
    length: float = 0.10


def margins_of(texts: Sequence[str]) -> Margins:
    """Parse the values of `--margin NAME=NUMBER`. Raises `InputError` if one is invalid."""
    known = [field.name for field in fields(Margins)]
    margins = Margins()
    for text in texts:
        name, equals, number = text.partition("=")
        if not equals or name not in known:
            raise InputError(
                f"--margin {short_repr(text)}{did_you_mean(name, known)}: should be NAME=NUMBER, "
                f"the name one of {', '.join(known)}"
            )
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 < value < 10:  # NaN fails this too
            raise InputError(f"--margin {short_repr(text)}: should be a number above 0, as in {name}=0.1")
        margins = replace(margins, **{name: value})
    return margins


def check_margins(margins: Mapping[str, float]) -> Margins:
    """Check margins given in Python. Raises `InputError` if a name or a value is invalid."""
    wrong = {name: value for name, value in margins.items() if name not in asdict(Margins()) or not _is_positive(value)}
    if wrong:
        raise InputError(
            f"margins: {short_repr(wrong)}: should have the keys {', '.join(asdict(Margins()))}, each above 0"
        )
    return Margins(**margins)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0
