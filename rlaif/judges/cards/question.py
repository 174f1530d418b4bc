"""
Questions: what a judge is asked.

A question (`prompts/judge/*.md`) carries its scale in its front matter, so that the text and the numbers cannot
disagree.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.paths import locate
from rlaif.core.schema import Checked, check, read_text, read_yaml


@dataclass(frozen=True, kw_only=True)
class Scale(Checked):
    """The numbers a judge may answer, from worst to best; either may be the larger."""

    worst: float
    best: float

    def __post_init__(self) -> None:
        if self.worst == self.best:
            raise ValueError("worst and best of a scale should differ")
        if not math.isfinite(self.best - self.worst):
            raise ValueError("the scale is wider than a number can be")

    def __contains__(self, number: float) -> bool:
        return min(self.worst, self.best) <= number <= max(self.worst, self.best)

    def score(self, number: float) -> float:
        """Map a number on the scale to [0, 1], 1 = best."""
        return abs((number - self.worst) / (self.best - self.worst))  # 0, not -0, on a scale that runs down


@dataclass(frozen=True, kw_only=True)
class _FrontMatter(Checked):
    measures: str
    scale: Scale


@dataclass(frozen=True)
class Question:
    """What a judge is asked: text with fields in braces, what it measures, and the scale of the answer."""

    name: str
    text: str
    measures: str
    scale: Scale

    @property
    def fields(self) -> frozenset[str]:
        """The fields in the text: `prompt`, `completion`, `worst`, `best`, and columns of the data."""
        return frozenset(re.findall(r"\{([A-Za-z_]\w*)\}", self.text))


def read_question(ref: str, folder: Path = Path()) -> Question:
    """Read a question of `prompts/`: a front matter between `---` lines, then the text."""
    path = locate("prompts", ref, folder)
    parts = re.match(r"---[ \t]*(\n(?:.*?\n)?)---[ \t]*(?:\n(.*))?\Z", read_text(path), re.DOTALL)
    if not parts:
        raise InputError(f"{path}: should begin with a front matter between two --- lines: measures, scale")
    header = check(_FrontMatter, read_yaml(parts[1], str(path)), f"{path}: front matter")
    question = Question(name=ref, text=(parts[2] or "").strip(), measures=header.measures, scale=header.scale)
    if "completion" not in question.fields:
        raise InputError(f"{path}: the question never names {{completion}}, the text to be judged")
    return question
