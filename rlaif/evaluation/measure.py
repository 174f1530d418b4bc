"""Answers and what judges say of them, as rows: judges that are asked over a network read while answers are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rlaif.data import Prompt
from rlaif.errors import RlaifError
from rlaif.evaluation.answers import answers
from rlaif.policy import Policy, Sampling
from rlaif.policy.memory import memory
from rlaif.processes import Processes
from rlaif.rewards import is_down
from rlaif.scoring import judged, told
from rlaif.threads import NAME as THREAD
from rlaif.types import Judge, Judgement, Sample

Side = dict[str, Any]
"""An `Answer` as a mapping, with `judgements`: judge name -> judgement, both as they are written to files."""

Poll = Callable[[], None]

AT_ONCE = 8
"""Batches that wait for a remote judge at a time; how many calls it makes of them is the judge's own limit."""

LOWER = ("measuring", "ppo.batch_size, generation.max_new_tokens or ppo.micro_batch_tokens")
"""What is being done, and what to lower where memory runs out."""


@dataclass(frozen=True)
class Measuring:
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
    how: Measuring,
    processes: Processes,
    *,
    as_reference: bool = False,
) -> list[Side]:
    """
    Answer each prompt once, have all judges read it, and return a side for each prompt, on every process.

    Raises:
        RlaifError: a judge stayed down, the budget is spent, or memory ran out.

    """
    mine = range(processes.rank, len(prompts), processes.count)
    given = [prompts[i] for i in mine]
    sides: dict[int, Side] = {}
    with processes.alike(), memory(*LOWER), Reading(judges, how.patience, how.poll) as reading:
        made = answers(
            policy, given, how.sampling, seed=how.seed + processes.rank, batch_size=how.batch_size,
            micro_batch_tokens=how.micro_batch_tokens, as_reference=as_reference, poll=how.poll,
        )  # fmt: skip
        for rows, batch in made:
            samples = [
                Sample(answer.completion, given[row].text, given[row].columns)
                for row, answer in zip(rows, batch, strict=True)
            ]
            reading.begin([mine[row] for row in rows], samples)
            sides |= {mine[row]: asdict(answer) for row, answer in zip(rows, batch, strict=True)}
        for row, judgements in reading.result().items():
            sides[row]["judgements"] = {name: told(judgement) for name, judgement in judgements.items()}
    everybodys = dict(processes.gather_objects(list(sides.items())))
    return [everybodys[i] for i in range(len(prompts))]


class Reading:
    """
    Judges at work on batches of samples as they come.

    A remote judge begins at once; one that runs here, on the cores that make the answers, reads all at the end, where
    it can sort them by length.

    Args:
        judges: all of them read everything.
        patience: seconds to wait for one that is down.
        poll: called while waiting.

    """

    def __init__(self, judges: Sequence[Judge], patience: float, poll: Poll) -> None:
        self._judges, self._patience, self._poll = judges, patience, poll
        self._rows: list[int] = []
        self._samples: list[Sample] = []
        self._asked: dict[str, list[Future[list[Judgement]]]] = {judge.name: [] for judge in judges}
        self._pools = {
            judge.name: ThreadPoolExecutor(AT_ONCE, thread_name_prefix=THREAD) for judge in judges if judge.remote
        }

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        """Have some more samples read; `rows` are their places in the result."""
        self._rows += rows
        self._samples += samples
        for judge in self._judges:
            if judge.remote:
                ask = partial(persevering, judge, list(samples), self._patience, self._poll)
                self._asked[judge.name].append(self._pools[judge.name].submit(ask))

    def result(self) -> dict[int, dict[str, Judgement]]:
        """Wait for the judges, and return what each said, by place and name, or raise where one could not be asked."""
        found: dict[int, dict[str, Judgement]] = {row: {} for row in self._rows}
        for judge in self._judges:
            if judge.remote:
                said = [judgement for future in self._asked[judge.name] for judgement in self._waited(judge, future)]
            else:
                self._poll()
                said = judged(judge, self._samples)
            for row, judgement in zip(self._rows, said, strict=True):
                found[row][judge.name] = judgement
        return found

    def _waited(self, judge: Judge, future: Future[list[Judgement]]) -> list[Judgement]:
        while not wait([future], timeout=0.2).done:
            self._poll()
        refuse_unasked(judge, future.result(), self._patience)
        return future.result()


def persevering(judge: Judge, samples: Sequence[Sample], patience: float, poll: Poll) -> list[Judgement]:
    """Ask a judge, and again, ever more rarely, those that it could not be asked, until it answers or patience ends."""
    judgements = judged(judge, samples)
    deadline, pause = time.monotonic() + patience, 1.0
    while is_down(judgements) and (left := deadline - time.monotonic()) > 0:
        until = time.monotonic() + min(pause, left)
        while time.monotonic() < until:
            poll()
            time.sleep(0.1)
        pause = min(2 * pause, 30.0)
        silent = [row for row, judgement in enumerate(judgements) if judgement.status in ("unavailable", "timeout")]
        for row, judgement in zip(silent, judged(judge, [samples[row] for row in silent]), strict=True):
            judgements[row] = judgement
    return judgements


def refuse_unasked(judge: Judge, judgements: Sequence[Judgement], patience: float) -> None:
    """Raise `RlaifError` where a judge was down or the budget spent: that says nothing of the model."""
    if any(judgement.status == "over_budget" for judgement in judgements):
        raise RlaifError("the budget is spent")
    if is_down(judgements):
        why = next((f": {j.reason}" for j in judgements if j.status in ("unavailable", "timeout")), "")
        raise RlaifError(f"judge {judge.name} stayed down for {patience:g} s{why}")
