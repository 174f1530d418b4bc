"""A line of guard.jsonl: a check of the policy by the guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.record import ABSENT, Record, Sometimes
from rlaif.core.records.steps import WatchingJudge


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardCheck(Record):
    """A line of guard.jsonl. The first is of the model before training; later ones are compared with it."""

    step: Natural
    """After which step; 0 is before training."""
    judges: Mapping[str, WatchingJudge]
    """The judges that watch and those that are learned from, by name."""
    tokens: NotNegative | None
    """Mean tokens of a completion, EOS included."""
    fluency: NotNegative | None
    """Perplexity of the completions under the reference; null where it is not finite."""
    score: Share | None
    """Mean of the scores of the judges that watch, by which the model is chosen; null where one abstained on all."""
    distinct_2: NotNegative | None
    """Distinct-2 at equal words, times that of the first check; null where there was none."""
    length: NotNegative | None
    """`tokens`, times that of the first check."""
    perplexity: NotNegative | None
    """`fluency`, times that of the first check; null where one of them is."""
    alarms: tuple[str, ...]
    """What is wrong while the training score rose, in words."""
    fit: bool
    """Whether the model may be chosen: it is inside all bands."""
    faults: Sometimes[tuple[str, ...]] = ABSENT
    """Which bands it has left, in words; absent in files of 0.1.0."""
    scores: Sometimes[Mapping[str, tuple[Share | None, ...]]] = ABSENT
    """Scores of the judges by name, one a guard prompt; null where one abstained; absent in files of 0.1.0."""
    completions: tuple[str, ...]
    """What was answered to the guard prompts."""
