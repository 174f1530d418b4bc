"""How a run measures its policy: the same before, during and after training."""

from __future__ import annotations

from rlaif.core.seeds import seed_of
from rlaif.evaluation.measure import MeasureOptions
from rlaif.judges.asking import Poll
from rlaif.training.loop.online import OnlineTrainer


def measure_options(trainer: OnlineTrainer, part: str, poll: Poll) -> MeasureOptions:
    """
    Return how to measure a trainer's policy on a part of the prompts.

    Args:
        trainer: whose sampling, batch and patience are taken over.
        part: the name of the part; each has a seed of its own.
        poll: called while measuring; what it raises ends the measurement.

    """
    args = trainer.args
    return MeasureOptions(
        trainer.sampling,
        seed_of(args.seed, part),
        len(trainer.share),
        args.micro_batch_tokens,
        args.judge_patience,
        poll,
    )
