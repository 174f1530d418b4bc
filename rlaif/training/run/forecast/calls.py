"""How often a run asks its judges, and what that takes: calls, tokens, USD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

from rlaif.core.config.run import RunConfig
from rlaif.core.types import Estimate, Judge, Sample, estimate_of
from rlaif.data.prompts import Prompt

STAND_INS = 64
"""Samples of which a judge is asked what they would take."""


@dataclass(frozen=True)
class JudgeUse:
    """What a judge is needed for in a run, and how many completions it then reads."""

    judge: Judge
    purpose: Literal["training", "guard", "before and after"]
    texts: int


def uses_of(
    config: RunConfig,
    training: Sequence[Judge],
    watching: Sequence[Judge],
    measuring: Sequence[Judge],
    *,
    guard_prompts: int,
    test_prompts: int,
) -> list[JudgeUse]:
    """
    Return all that the judges of a run will read, if it makes all its steps.

    Args:
        config: the run file.
        training: who is learned from.
        watching: who reads the guard prompts.
        measuring: who reads the test prompts, before and after.
        guard_prompts: prompts of the guard part; 0 where there is no guard.
        test_prompts: prompts of the test part.

    """
    per_measurement = test_prompts * config.evaluation.completions_per_prompt
    uses = [JudgeUse(judge, "training", config.training.steps * config.training.batch_size) for judge in training]
    if guard_prompts:
        uses += [JudgeUse(judge, "guard", looks(config) * guard_prompts) for judge in watching]
    return uses + [JudgeUse(judge, "before and after", 2 * per_measurement) for judge in measuring]


def looks(config: RunConfig) -> int:
    """Count how often the guard looks: before the first step, every so many steps, and after the last one."""
    return 1 + math.ceil(config.training.steps / config.guard.every)


def stand_ins(prompts: Sequence[Prompt], tokenizer: Any, tokens: int) -> list[Sample]:
    """
    Make samples like those of the run: its own prompts, and completions cut out of other prompts.

    Args:
        prompts: of the run.
        tokenizer: the policy's.
        tokens: of each completion; no two are alike, so that none is asked for once for two.

    """
    ids = cycle(token for prompt in prompts for token in prompt.ids)
    return [
        Sample(f"{i} {tokenizer.decode(list(islice(ids, tokens)), skip_special_tokens=True)}", one.text, one.columns)
        for i, one in enumerate(islice(cycle(prompts), STAND_INS))
    ]


def scale_estimate(use: JudgeUse, samples: Sequence[Sample]) -> Estimate:
    """Return what a use takes at most, by what some samples like its own would; what is stored is not looked for."""
    one, factor = estimate_of(use.judge, samples), use.texts / len(samples)
    calls, tokens_in, tokens_out = (
        math.ceil(factor * count) for count in (one.calls, one.input_tokens, one.output_tokens)
    )
    return Estimate(calls, tokens_in, tokens_out, None if one.usd is None else factor * one.usd)
