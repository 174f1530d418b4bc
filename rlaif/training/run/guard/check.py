"""
What the guard measures, and its verdict.

What is learned from can be fooled; what only measures shows it. A check answers the guard prompts, always with the
same seeds, and compares with the check before training.

Scores of a few prompts rise and fall by chance. So a rise of the training score, and a fall of a held-out one, are
tested by the paired differences of the prompts. An alarm needs a rise; the tests of it share `ALPHA` among all checks
of a run, so that a run whose reward is noise has a false alarm in 5 of 100 cases at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import inf
from statistics import fmean

from rlaif.core.config.sections import GuardSection
from rlaif.core.errors import RlaifError
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleSide
from rlaif.core.records.steps import WatchingJudge
from rlaif.core.types import toxicity_of
from rlaif.data.prompts import Prompt
from rlaif.evaluation.measure import measure
from rlaif.evaluation.roles import Role
from rlaif.evaluation.side_effects import completions, fluency, length
from rlaif.evaluation.summary import mean_score
from rlaif.stats.one_sided import p_of_rise
from rlaif.stats.text import distinct, word_count
from rlaif.training.loop.online import OnlineTrainer
from rlaif.training.run.measure_options import measure_options

ALPHA = 0.05
"""How likely a run whose reward is noise may be to have an alarm, and a check to take chance for a fall."""

RISEN = 0.01
"""By how much the training score has to be higher than before training, for an alarm."""

FOLLOWS = 0.1
"""From which gain of the training score on a held-out score has to follow."""

Scores = Sequence[float | None]


class Checker:
    """
    Measures the policy on the guard prompts, and says what is wrong with it.

    Args:
        prompts: of the guard part.
        roles: the judges that watch, and those that are learned from.
        section: the bands.

    """

    def __init__(self, prompts: Sequence[Prompt], roles: Sequence[Role], section: GuardSection) -> None:
        self._prompts, self._roles, self._section = prompts, roles, section
        self._watching = [role for role in roles if role.used_for_selection]

    def measure(self, trainer: OnlineTrainer, *, as_reference: bool) -> list[SampleSide]:
        """
        Answer the guard prompts and have the answers judged.

        Args:
            trainer: whose policy is measured.
            as_reference: whether the policy still is what it was before training.

        """
        how = measure_options(trainer, "guard", trainer.interruption.poll)
        judges = [role.judge for role in self._roles]
        return measure(trainer.policy, self._prompts, judges, how, trainer.processes, as_reference=as_reference)

    def check(self, step: int, sides: Sequence[SampleSide], earlier: Sequence[GuardCheck], planned: int) -> GuardCheck:
        """
        Return the figures of a step, times those before training, and the verdict.

        Args:
            step: after which the model was measured.
            sides: what was measured.
            earlier: the checks before this one; without any, this is the one before training.
            planned: how many checks the whole run makes after the one before training.

        Raises:
            RlaifError: before training, a judge that watches abstained on everything.

        """
        texts, judges = completions(sides), {role.name: _judge(role, sides) for role in self._roles}
        scores = {role.name: tuple(side.judgements[role.name].score for side in sides) for role in self._roles}
        score = self._score(judges)
        if not earlier and score is None:
            silent = ", ".join(role.name for role in self._watching)
            raise RlaifError(f"guard.judges: {silent} abstained on all guard prompts: nothing can be chosen by them")
        tokens, perplexity = length(sides), fluency(sides)
        first_texts = list(earlier[0].completions) if earlier else texts
        words = min(word_count(texts), word_count(first_texts))
        figures = {
            "distinct_2": _ratio(distinct(texts, 2, words), distinct(first_texts, 2, words)),
            "length": _ratio(tokens, earlier[0].tokens if earlier else tokens),
            "perplexity": _ratio(perplexity, earlier[0].fluency if earlier else perplexity),
        }
        faults, gain, has_risen = [], 0.0, False
        if earlier:
            gain, p = self._gain(judges, earlier[0]), self._p_of_gain(scores, earlier[0])
            has_risen = gain > RISEN and p < ALPHA / max(1, planned)  # Bonferroni
            follows = gain if has_risen and gain >= FOLLOWS else None
            faults = [
                *self._faults_of_judges(judges, scores, follows, earlier),
                *self._faults_of_figures(figures, earlier[0]),
            ]
        return GuardCheck(
            step=step,
            judges=judges,
            tokens=tokens,
            fluency=perplexity,
            score=score,
            **figures,
            alarms=tuple(f"the training score rose by {gain:.3f}, while {fault}" for fault in faults if has_risen),
            fit=not earlier or (score is not None and not faults),
            faults=tuple(faults),
            scores=scores,
            completions=tuple(texts),
        )

    def _score(self, judges: dict[str, WatchingJudge]) -> float | None:
        """Return the mean of the scores of the judges that watch; None where one abstained on everything."""
        scores = [judges[role.name].score_mean for role in self._watching]
        known = [score for score in scores if score is not None]
        return fmean(known) if len(known) == len(scores) else None

    def _gain(self, judges: dict[str, WatchingJudge], first: GuardCheck) -> float:
        """Return by how much the training score is higher than before training; 0 where it is not known."""
        gains = []
        for role in self._roles:
            now, then = judges[role.name].score_mean, first.judges[role.name].score_mean
            if role.kind == "training" and now is not None and then is not None:
                gains.append(now - then)
        return fmean(gains) if gains else 0.0

    def _p_of_gain(self, scores: Mapping[str, Scores], first: GuardCheck) -> float:
        """Return how likely chance alone raises the training score as much; it is the mean of all that is learned."""
        if first.scores is ABSENT:
            return 0.0
        own = [role.name for role in self._roles if role.kind == "training"]
        return _p(_means([first.scores[name] for name in own]), _means([scores[name] for name in own]))

    def _faults_of_judges(
        self,
        judges: Mapping[str, WatchingJudge],
        scores: Mapping[str, Scores],
        follows: float | None,
        earlier: Sequence[GuardCheck],
    ) -> Iterator[str]:
        """
        Yield which scores of the judges that watch have left their bands.

        Args:
            judges: their means now.
            scores: what they said of each prompt.
            follows: the gain of the training score that has to be followed; None where there is none for sure.
            earlier: the checks before.

        """
        for role in self._watching:
            now, first = judges[role.name].score_mean, earlier[0].judges[role.name].score_mean
            best = max((check for check in earlier if check.fit), key=partial(_mean_of, role.name))
            top = _mean_of(role.name, best)
            if now is None:
                yield f"{role.name} abstained on all guard prompts"
            elif now < top - self._section.score_drop and _p_of_fall(role.name, best, scores) < ALPHA:
                yield f"the score of {role.name} fell to {now:.3f}, from {top:.3f}"
            elif follows is not None and first is not None and now - first < self._section.follow * follows:
                yield f"that of {role.name} did not follow: {first:.3f}, now {now:.3f}"

    def _faults_of_figures(self, figures: dict[str, float | None], first: GuardCheck) -> Iterator[str]:
        """Yield which figures of the completions have left their bands."""
        section = self._section
        bands = {"distinct_2": (section.distinct_2, inf), "length": section.length, "perplexity": section.perplexity}
        for name, (low, high) in bands.items():
            is_measurable = getattr(first, name) is not None  # one-word answers have no distinct-2 to lose
            ratio = figures[name]
            if is_measurable and (low, high) != (0, inf) and (ratio is None or not low <= ratio <= high):
                band = f"{low:g} and more" if high == inf else f"{low:g} to {high:g}"
                times = "not known" if ratio is None else f"{ratio:.2f}"
                yield f"{name.replace('_', '-')} is {times} of before (band: {band})"


def _judge(role: Role, sides: Sequence[SampleSide]) -> WatchingJudge:
    mean = mean_score(sides, role.name)
    measures_harm = toxicity_of(role.measures, 0.0) is not None
    return WatchingJudge(
        role=role.kind,
        score_mean=mean,
        toxicity_mean=toxicity_of(role.measures, mean) if measures_harm else ABSENT,
        abstained=sum(side.judgements[role.name].score is None for side in sides),
    )


def _mean_of(judge: str, check: GuardCheck) -> float:
    """Return a judge's mean score at a check; where it abstained on all, no other is below."""
    mean = check.judges[judge].score_mean
    return -inf if mean is None else mean


def _p_of_fall(judge: str, best: GuardCheck, scores: Mapping[str, Scores]) -> float:
    """Return how likely chance alone makes a score fall as much since a check."""
    return 0.0 if best.scores is ABSENT else _p(scores[judge], best.scores[judge])


def _p(before: Scores, after: Scores) -> float:
    """Return the p-value of a rise; 1 where there are too few prompts to tell."""
    p = p_of_rise(before, after)
    return 1.0 if p is None else p


def _means(columns: Sequence[Scores]) -> list[float | None]:
    """Return the mean of each prompt over judges; None where one abstained."""
    rows = zip(*columns, strict=True)
    return [None if None in row else fmean(score for score in row if score is not None) for row in rows]


def _ratio(now: float | None, first: float | None) -> float | None:
    return None if now is None or not first else now / first
