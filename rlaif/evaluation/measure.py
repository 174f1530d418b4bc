"""Generates completions and has judges score them. Remote judges are asked while completions are generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.samples import SampleSide
from rlaif.core.system.devices import memory
from rlaif.core.system.distributed import Processes
from rlaif.core.types import Judge, Judgement, Sample
from rlaif.data.prompts import Prompt
from rlaif.evaluation.sampling import ScoredCompletion, answers
from rlaif.judges.asking import PendingJudgements, Poll
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.model import Policy

LOWER = ("measuring", "training.batch_size, generation.max_new_tokens or training.micro_batch_tokens")
"""What the code does, and which keys to lower if memory runs out; arguments of `memory`."""


@dataclass(frozen=True)
class MeasureOptions:
    """
    Options of a measurement, the same for both sides of a comparison.

    Args:
        sampling: how to decode.
        seed: sampling seed.
        batch_size: number of completions generated at once.
        micro_batch_tokens: largest number of tokens of a scoring pass.
        patience: seconds to wait for a judge that is down.
        poll: called repeatedly during the work; an exception that it raises stops the measurement.

    """

    sampling: Sampling
    seed: int
    batch_size: int
    micro_batch_tokens: int
    patience: float = 0.0
    poll: Poll = lambda: None


def measure(
    policy: Policy,
    prompts: Sequence[Prompt],
    judges: Sequence[Judge],
    how: MeasureOptions,
    processes: Processes,
    *,
    as_reference: bool = False,
) -> list[SampleSide]:
    """
    Generate one completion per prompt, and have all judges score it.

    Args:
        policy: the model.
        prompts: the prompts.
        judges: judges that score the completions.
        how: sampling, batch sizes and patience.
        processes: processes that share the prompts.
        as_reference: use the policy as it was before training.

    Returns:
        One side per prompt, in the order of prompts, on every process.

    Raises:
        RlaifError: a judge stayed down, the budget is spent, or memory ran out.

    """
    mine = range(processes.rank, len(prompts), processes.count)
    given = [prompts[i] for i in mine]
    answered: dict[int, ScoredCompletion] = {}
    with processes.raise_on_all_ranks(), memory(*LOWER), PendingJudgements(judges) as pending:
        made = answers(
            policy, given, how.sampling, seed=how.seed + processes.rank, batch_size=how.batch_size,
            micro_batch_tokens=how.micro_batch_tokens, as_reference=as_reference, poll=how.poll,
        )  # fmt: skip
        for rows, batch in made:
            samples = [
                Sample(answer.completion, given[row].text, given[row].columns)
                for row, answer in zip(rows, batch, strict=True)
            ]
            pending.add([mine[row] for row in rows], samples)
            answered |= {mine[row]: answer for row, answer in zip(rows, batch, strict=True)}
        by_row = pending.judgements_by_row(patience=how.patience, poll=how.poll)
        sides = {row: _side(answered[row], judgements) for row, judgements in by_row.items()}
    gathered = dict(processes.gather_objects(list(sides.items())))
    return [gathered[i] for i in range(len(prompts))]


def _side(answer: ScoredCompletion, judgements: Mapping[str, Judgement]) -> SampleSide:
    return SampleSide(
        completion=answer.completion,
        tokens=answer.tokens,
        ended=answer.ended,
        kl=answer.kl,
        reference_logprob=answer.reference_logprob,
        judgements={name: JudgementRecord.from_judgement(judgement) for name, judgement in judgements.items()},
    )
