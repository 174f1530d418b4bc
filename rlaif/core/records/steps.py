"""A line of metrics.jsonl: what a step of training was like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from annotated_types import Ge

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.record import ABSENT, Further, Record, Sometimes
from rlaif.core.types import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class StepJudge(Record):
    """What a judge said of the completions of a step."""

    score_mean: float | None
    """Mean score, 1 = best, or the mean of what a function returned; null where it abstained on all."""
    toxicity_mean: Sometimes[Share] = ABSENT
    """1 - `score_mean`, of judges of harm only; absent where there is no mean."""
    abstained: Natural
    """Completions that it did not score."""
    statuses: Mapping[Status, Natural]
    """Completions by status."""
    seconds: NotNegative | None
    """Mean time of a judgement, in seconds; null where nobody was asked."""
    from_store: Natural
    """Judgements that were read from the verdict store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchingJudge(Record):
    """What a judge said of the completions of the guard prompts."""

    role: Literal["training", "held_out"]
    """Whether it is learned from, or only measures."""
    score_mean: Share | None
    """Mean score, 1 = best; null where it abstained on all."""
    toxicity_mean: Sometimes[Share | None] = ABSENT
    """1 - `score_mean`, of judges of harm only."""
    abstained: Natural
    """Completions that it did not score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepGuard(Record):
    """What a check of the guard found after a step."""

    judges: Mapping[str, WatchingJudge]
    """The judges that watch and those that are learned from, by name."""
    score: Share | None
    """Mean of the scores of the judges that watch, by which the model is chosen; null where one abstained on all."""
    distinct_2: NotNegative | None
    """Distinct-2 at equal words, times that before training; null where there was none before."""
    length: NotNegative | None
    """Mean tokens of a completion, times that before training."""
    perplexity: NotNegative | None
    """Perplexity under the reference, times that before training; null where it is not finite."""


class AnyStep(Protocol):
    """A line of metrics.jsonl of any trainer, also of one that makes no completions of its own."""

    @property
    def step(self) -> int:
        """Counted from 1."""

    @property
    def samples(self) -> int:
        """Samples so far."""

    @property
    def seconds(self) -> float:
        """Wall time of the step, in seconds."""

    def to_json(self) -> dict[str, Any]:
        """Return the line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step(Record):
    """A line of metrics.jsonl. Means are over all processes; callbacks of users may have added keys."""

    step: Annotated[int, Ge(1)]
    """Counted from 1."""
    samples: Natural
    """Completions so far."""
    reward_mean: float | None
    """Mean of what is learned from, before the KL penalty; null where all abstained."""
    reward_std: NotNegative | None
    """Its standard deviation, one degree of freedom removed; null for fewer than two rewards."""
    kl: float | None
    """KL from the reference, in nats per completion, by the estimator k3."""
    kl_k1: float | None
    """The same by the estimator k1, which may be negative."""
    entropy: float | None
    """Entropy of the next token, in nats, mean over tokens."""
    length_tokens: NotNegative | None
    """Mean tokens of a completion, EOS included."""
    eos_rate: Share | None
    """Share of completions that ended by themselves."""
    ends_early: Sometimes[Share | None] = ABSENT
    """Probability that a completion sampled without `min_new_tokens` ends before so many tokens; absent in 0.1.0."""
    judges: Mapping[str, StepJudge]
    """What is learned from, by name."""
    kl_coef: NotNegative
    """Reward lost per nat of KL, in this step."""
    policy_loss: float | None
    """Mean over mini-batches; null where nothing was learned from."""
    value_loss: float | None
    """The same; null without a critic (GRPO, RLOO)."""
    clip_fraction: float | None
    """Share of tokens whose ratio was clipped; null where nothing was learned from."""
    approx_kl: float | None
    """KL from the policy that sampled, in nats a token (k3); null for GRPO and RLOO."""
    ratio_max_dev: NotNegative | None
    """Largest |ratio - 1| before the first update: rounding only; null for GRPO and RLOO."""
    grad_norm: NotNegative | None
    """Norm of the gradients before clipping, mean over updates; null where there was none."""
    learning_rate: NotNegative
    """Of the policy."""
    optimizer_steps: Natural
    """Updates that were made."""
    skipped_updates: Natural
    """Updates left out, for their gradients were not finite."""
    explained_variance: float | None
    """Share of the variance of the returns that the values foresaw, at most 1; null without a critic."""
    usd: NotNegative | None
    """US dollars that judges cost in this step; null where a price is not known."""
    seconds: NotNegative
    """Wall time of the step, in seconds."""
    alarms: tuple[str, ...]
    """What the guard has sounded, in words."""
    guard: Sometimes[StepGuard] = ABSENT
    """What the guard found; absent where it made no check after this step."""
    calls: Sometimes[Natural] = ABSENT
    """Calls to remote judges, of all processes; absent in runs from Python, which have no budget."""
    further: Annotated[Mapping[str, object], Further()] = field(default_factory=dict)
    """Keys that callbacks of users have added."""


def add_guard(metrics: dict[str, Any], guard: StepGuard, alarms: Sequence[str]) -> None:
    """Add a check of the guard to a line of metrics.jsonl, which callbacks get as a mapping."""
    metrics["guard"] = guard.to_json()
    metrics["alarms"] += alarms


def add_calls(metrics: dict[str, Any], calls: int) -> None:
    """Add the calls to remote judges to a line of metrics.jsonl."""
    metrics["calls"] = calls
