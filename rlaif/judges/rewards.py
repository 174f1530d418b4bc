"""
Rewards for training, from judges and reward functions.

A remote judge gets each completion as soon as it ends, so its latency overlaps with the generation. A local judge gets
the finished batch. An abstention is None and stays None.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.core.types import Judge, Judgement, Sample, Status, Usage
from rlaif.data.prompts import Prompt
from rlaif.judges.asking import PendingJudgements, Poll
from rlaif.judges.cards.card import CardRef, refuse_equal_names
from rlaif.judges.python import RewardFunction
from rlaif.judges.registry import judge_of
from rlaif.judges.scoring import call_judge

MOST_AT_ONCE = 512
"""Largest number of completions that wait for one judge; the judge itself limits its concurrent requests."""


@dataclass(frozen=True, slots=True)
class SourceReward:
    """
    The reward of one sample by one source.

    Args:
        reward: the number to learn from, or None if the source abstained.
        score: the number to report.
        status: status of the judgement.
        usage: cost of the judgement.
        reason: the judge's reason, or details of the status.

    """

    reward: float | None
    score: float | None
    status: Status
    usage: Usage
    reason: str = ""


class JudgeSource:
    """A judge as a source of rewards, which are its logits or its scores."""

    def __init__(self, judge: Judge, reward: Literal["auto", "logit", "score"]) -> None:
        if reward == "logit" and not judge.has_logit:
            raise InputError(f"judge {judge.name} has no logit; use reward: score, or auto")
        self.judge = judge
        self.name, self.measures, self.remote, self.reads = judge.name, judge.measures, judge.remote, judge.reads
        self._use_logit = judge.has_logit and reward != "score"

    def reward_of(self, judgement: Judgement) -> SourceReward:
        """Return the reward for a judgement."""
        reward = judgement.logit if self._use_logit and not judgement.abstained else judgement.score
        return SourceReward(reward, judgement.score, judgement.status, judgement.usage, judgement.reason)


class FunctionSource:
    """A reward function with TRL's interface as a source; its numbers are reported as scores too."""

    measures = "quality"
    remote = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = str(getattr(function, "__name__", type(function).__name__))
        self._function = RewardFunction(function, f"reward function {self.name}")
        self.reads = self._function.reads

    def ask(self, samples: Sequence[Sample], completion_ids: Sequence[Sequence[int]]) -> list[SourceReward]:
        """Call the function once with all samples."""
        start = time.perf_counter()
        numbers = self._function(samples, completion_ids=completion_ids)
        usage = Usage(seconds=(time.perf_counter() - start) / max(1, len(samples)))
        return [SourceReward(number, number, "declined" if number is None else "ok", usage) for number in numbers]


RewardSource = JudgeSource | FunctionSource
"""A source of rewards."""


class Rewards:
    """
    All sources of rewards with their weights.

    Args:
        sources: a judge, a card, a reward function with TRL's interface, or a list of them.
        weights: one weight per source; by default 1.
        reward: whether judges give their logit or their score; "auto" is the logit if the judge has one.

    Raises:
        InputError: a source is invalid, two have the same name, or the number of weights is wrong.

    """

    def __init__(
        self,
        sources: Any,
        weights: Sequence[float] | None = None,
        reward: Literal["auto", "logit", "score"] = "auto",
    ) -> None:
        listed = sources if isinstance(sources, list | tuple) else [sources]
        if not listed:
            raise InputError("reward_funcs: is empty; name a judge or a function")
        self.sources = [_source(source, reward) for source in listed]
        refuse_equal_names(self.sources, "reward_funcs")
        self.judges = [source.judge for source in self.sources if isinstance(source, JudgeSource)]
        self.any_remote = any(source.remote for source in self.sources)
        self.weights = list(weights) if weights is not None else [1.0] * len(self.sources)
        if len(self.weights) != len(self.sources):
            raise InputError(f"reward_weights: {len(self.weights)} weights for {len(self.sources)} reward_funcs")

    def refuse_lacking(self, prompts: Sequence[Prompt]) -> None:
        """Raise `InputError` if a source reads a column that a prompt does not have."""
        for source in self.sources:
            refuse_lacking(source, prompts)

    def load(self) -> None:
        """Load the models of the judges, so that a missing file is found before the first step."""
        for judge in self.judges:
            call_judge(judge, [])

    def begin(self, count: int) -> Pending:
        """Return the pending rewards of a batch of `count` completions."""
        return Pending(self, count)

    def combine(self, verdicts: Sequence[Sequence[SourceReward]]) -> list[float | None]:
        """Return the weighted sum of each sample's rewards, or None if a source abstained."""
        rows = zip(*verdicts, strict=True)
        return [
            None if any(v.reward is None for v in row)
            else sum(weight * v.reward for weight, v in zip(self.weights, row, strict=True))
            for row in rows
        ]  # fmt: skip


def refuse_lacking(judge: RewardSource | Judge, prompts: Sequence[Prompt]) -> None:
    """Raise `InputError` if a judge reads a column that a prompt does not have."""
    for prompt in prompts:
        for column in sorted(judge.reads - {"prompt"} - prompt.columns.keys()):
            columns = ", ".join(prompt.columns) or "none beside the prompt"
            raise InputError(f"judge {judge.name} needs the column {column!r} of the data; there are: {columns}")


class Pending:
    """The rewards of a batch of completions that is still being generated."""

    def __init__(self, rewards: Rewards, count: int) -> None:
        self._sources = rewards.sources
        self._samples: list[Sample | None] = [None] * count
        self._ids: list[Sequence[int]] = [()] * count
        self._judgements = PendingJudgements(
            rewards.judges, calls_at_once=max(1, min(count, MOST_AT_ONCE)), one_by_one=True
        )

    def add(self, row: int, sample: Sample, ids: Sequence[int]) -> None:
        """Add a completion that has ended. Remote judges start at once, and equal samples are judged once."""
        self._samples[row], self._ids[row] = sample, ids
        self._judgements.add([row], [sample])

    @property
    def samples(self) -> list[Sample]:
        """The completions that have ended, in the order of the prompts."""
        return [sample for sample in self._samples if sample is not None]

    def result(self, *, patience: float = 0.0, poll: Poll = lambda: None) -> list[list[SourceReward]]:
        """
        Return the rewards of each source for each sample, in order.

        Args:
            patience: seconds to retry a judge that is down, before its abstentions are accepted.
            poll: called while waiting; an exception that it raises ends the wait.

        """
        samples = self.samples
        assert len(samples) == len(self._samples), "a completion is missing"
        try:
            rewards = []
            for source in self._sources:
                if isinstance(source, JudgeSource):
                    rows = range(len(samples))
                    judgements = self._judgements.judgements(source.judge, rows, patience=patience, poll=poll)
                    rewards.append([source.reward_of(judgement) for judgement in judgements])
                else:
                    poll()
                    rewards.append(source.ask(samples, self._ids))
            return rewards
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Make no further calls. Calls in progress end by themselves."""
        self._judgements.cancel()


def cost(verdicts: Sequence[Sequence[SourceReward]]) -> float | None:
    """Return the cost of a batch in USD, or None if a price is unknown."""
    prices = [verdict.usage.usd for of_source in verdicts for verdict in of_source]
    return None if None in prices else sum(price for price in prices if price is not None)


def _source(source: Any, reward: Literal["auto", "logit", "score"]) -> RewardSource:
    if isinstance(source, str | Path | Mapping) or hasattr(source, "has_logit"):
        card: CardRef | Judge = source
        return JudgeSource(judge_of(card), reward)
    if callable(source):
        return FunctionSource(source)
    raise InputError(f"reward_funcs: should be judges, cards or functions, not {short_repr(source)}")
