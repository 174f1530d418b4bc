"""Answers and what judges say of them, as rows: judges that are asked over a network read while answers are made."""

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
"""What is being done, and what to lower where memory runs out."""


@dataclass(frozen=True)
class MeasureOptions:
    """
    How to measure: the same for all that is to be compared.

    Args:
        sampling: how to decode.
        seed: of the sampling.
        batch_size: answers that are made at once.
        micro_batch_tokens: tokens of a scoring pass.
        patience: seconds to wait for a judge that is down.
        poll: called while working; what it raises ends the measurement.

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
    Answer each prompt once, have all judges read it, and return a side for each prompt, on every process.

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
    everybodys = dict(processes.gather_objects(list(sides.items())))
    return [everybodys[i] for i in range(len(prompts))]


def _side(answer: ScoredCompletion, judgements: Mapping[str, Judgement]) -> SampleSide:
    return SampleSide(
        completion=answer.completion,
        tokens=answer.tokens,
        ended=answer.ended,
        kl=answer.kl,
        reference_logprob=answer.reference_logprob,
        judgements={name: JudgementRecord.from_judgement(judgement) for name, judgement in judgements.items()},
    )
