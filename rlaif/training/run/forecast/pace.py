"""How long a run takes, from one step of its own trainer that is really made, and thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif.core.config.run import RunConfig
from rlaif.core.types import Judge, Sample, estimate_of
from rlaif.judges.remote.judge import RemoteJudge
from rlaif.judges.scoring import call_judge
from rlaif.training.loop.display import View
from rlaif.training.loop.trainer import Trainer
from rlaif.training.ppo.trainer import PPOTrainer
from rlaif.training.run.forecast.calls import JudgeUse, looks


@dataclass(frozen=True)
class TimedStep:
    """
    Seconds of a step that was made, and the samples that came of it.

    Args:
        acting: generation and scoring by policy and reference.
        judging: by a training judge that runs here.
        learning: all epochs.
        samples: the completions.

    """

    acting: float
    judging: float
    learning: float
    samples: Sequence[Sample]


def dry_step(trainer: Trainer) -> TimedStep:
    """Make the first step of a run; nothing is written, and what was learned goes with the trainer."""
    assert isinstance(trainer, PPOTrainer), "only PPO's steps can be made one at a time"
    trainer.view = View(trainer.args.steps, speaks=False)
    trainer.rewards.load()
    start = time.perf_counter()
    rollout, pending = trainer.act(1)
    acted = time.perf_counter()
    verdicts = trainer.wait_for_rewards(pending)
    heard = time.perf_counter()
    trainer.learn(rollout, trainer.assign(rollout, verdicts), 1)
    return TimedStep(acted - start, heard - acted, time.perf_counter() - heard, pending.samples)


def stand_in_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Stand for a judge that costs money: the time of a step does not hang on the rewards."""
    return [i % 2 for i in range(len(completions))]


def seconds_a_text(judge: Judge, samples: Sequence[Sample], latency: float) -> float:
    """
    Return what a judge takes for a text: one that runs here is timed, of others it follows from their limits.

    Args:
        judge: who.
        samples: completions of the run.
        latency: seconds of a call, as its probe took.

    """
    if not judge.remote:
        start = time.perf_counter()
        call_judge(judge, samples)
        return (time.perf_counter() - start) / len(samples)
    calls, rates = estimate_of(judge, samples).calls / len(samples), [leaf.card for leaf in _leaves(judge)]
    at_once = min((card.concurrency for card in rates), default=1)
    a_minute = min((card.rpm for card in rates if card.rpm), default=None)
    return calls * max(latency / at_once, 60 / a_minute if a_minute else 0.0)


def _leaves(judge: Judge) -> list[RemoteJudge]:
    members: Sequence[Judge] = getattr(judge, "judges", ())
    own = [judge] if isinstance(judge, RemoteJudge) else []
    return [*own, *(leaf for member in members for leaf in _leaves(member))]


def whole_run(
    config: RunConfig,
    step: TimedStep,
    uses: Sequence[JudgeUse],
    per_text: Callable[[Judge], float],
    *,
    guard: int,
    test: int,
) -> Mapping[str, float]:
    """
    Return the seconds of each part of a run.

    Args:
        config: the run file.
        step: the one that was made.
        uses: what judges read.
        per_text: the seconds of a judge for a text.
        guard: prompts of the guard part; 0 where there is no guard.
        test: prompts of the test part.

    """
    size = config.training.batch_size
    acting = {
        "training": config.training.steps * (step.acting + step.learning),
        "guard": looks(config) * guard * step.acting / size,
        "before and after": 2 * test * config.evaluation.completions_per_prompt * step.acting / size,
    }
    return {
        purpose: seconds + sum(use.texts * per_text(use.judge) for use in uses if use.purpose == purpose)
        for purpose, seconds in acting.items()
    }
