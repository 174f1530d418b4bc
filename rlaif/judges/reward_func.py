"""The same judge for TRL's trainers: a reward function of GRPOTrainer and RLOOTrainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.schema import short_repr
from rlaif.core.types import Judge, Judgement, Sample
from rlaif.judges.cards.card import CardRef
from rlaif.judges.registry import judge_of
from rlaif.judges.scoring import call_judge


class RewardFunc(Protocol):
    """TRL's contract (trl, trainer/grpo_trainer.py, `_calculate_rewards`): keywords in, one reward each or None."""

    __name__: str

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        """Return a reward for each completion, None where the judge abstained."""
        ...


def as_reward_func(judge: CardRef | Judge, reward: Literal["score", "logit", "auto"] = "score") -> RewardFunc:
    """
    Make a reward function for TRL of a judge: `GRPOTrainer(reward_funcs=as_reward_func("toxicity"), ...)`.

    Prompts and completions may be texts or message lists; other columns of the data set reach the judge. An
    abstention is None, which TRL counts as no reward of this function. The share of abstentions is logged as
    `NAME/abstained` where the trainer offers `log_metric`.

    Args:
        judge: a card's name or path, a card as a mapping, or a judge.
        reward: `score` in [0, 1]; `logit`, unbounded, for judges that have one; `auto`, the logit if there is one.

    Raises:
        InputError: the card is wrong, or `logit` is asked of a judge that has none.

    """
    loaded = judge_of(judge)
    if reward not in ("score", "logit", "auto"):
        raise InputError(f"reward should be score, logit or auto, not {short_repr(reward)}")
    if reward == "logit" and not loaded.has_logit:
        raise InputError(f"judge {loaded.name} has no logit; take reward='score'")
    use_logit = loaded.has_logit and reward != "score"

    def reward_func(prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        samples = _samples(prompts, completions, kwargs)
        judgements = call_judge(loaded, samples)
        if log_metric := kwargs.get("log_metric"):
            log_metric(f"{loaded.name}/abstained", sum(j.abstained for j in judgements) / max(1, len(judgements)))
        return [_reward(judgement, use_logit) for judgement in judgements]

    reward_func.__name__ = loaded.name  # TRL logs rewards under this name
    return reward_func


def _reward(judgement: Judgement, use_logit: bool) -> float | None:
    return None if judgement.abstained else judgement.logit if use_logit else judgement.score


def _samples(prompts: Sequence[Any], completions: Sequence[Any], kwargs: Mapping[str, object]) -> list[Sample]:
    """Join what TRL hands over by row; what is no column (the trainer's state, its loggers) has no rows."""
    n = len(completions)
    columns = {k: v for k, v in kwargs.items() if isinstance(v, list | tuple) and len(v) == n and k != "completion_ids"}
    samples = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        texts = text_of(prompt), text_of(completion)
        if texts[0] is None or texts[1] is None:
            raise InputError(
                f"row {i}: prompts and completions should be texts or message lists, "
                f"not {short_repr((prompt, completion))}"
            )
        samples.append(Sample(texts[1], texts[0], {key: values[i] for key, values in columns.items()}))
    return samples
