"""Judges at work on completions as they come: remote judges begin at once, those that run here read all at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Protocol

from rlaif.core.errors import RlaifError
from rlaif.core.system.threads import NAME as THREAD
from rlaif.core.types import Judge, Judgement, Sample, Status
from rlaif.judges.scoring import call_judge

Poll = Callable[[], None]
"""Called while waiting; raises what ends the wait."""


_DOWN = ("unavailable", "timeout")


class HasStatus(Protocol):
    """A judgement, or what a source of rewards made of one."""

    @property
    def status(self) -> Status: ...  # noqa: D102


def is_down(verdicts: Sequence[HasStatus]) -> bool:
    """Whether a judge is down, and not just slow on a few: most of a batch cannot reach it."""
    return 2 * sum(verdict.status in _DOWN for verdict in verdicts) > len(verdicts)


AT_ONCE = 8
"""Batches that wait for a remote judge at a time; how many calls it makes of them is the judge's own limit."""


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
                ask = partial(ask_until_answered, judge, list(samples), self._patience, self._poll)
                self._asked[judge.name].append(self._pools[judge.name].submit(ask))

    def result(self) -> dict[int, dict[str, Judgement]]:
        """Wait for the judges, and return what each said, by place and name, or raise where one could not be asked."""
        found: dict[int, dict[str, Judgement]] = {row: {} for row in self._rows}
        for judge in self._judges:
            if judge.remote:
                said = [judgement for future in self._asked[judge.name] for judgement in self._wait(judge, future)]
            else:
                self._poll()
                said = call_judge(judge, self._samples)
            for row, judgement in zip(self._rows, said, strict=True):
                found[row][judge.name] = judgement
        return found

    def _wait(self, judge: Judge, future: Future[list[Judgement]]) -> list[Judgement]:
        while not wait([future], timeout=0.2).done:
            self._poll()
        refuse_unasked(judge, future.result(), self._patience)
        return future.result()


def ask_until_answered(judge: Judge, samples: Sequence[Sample], patience: float, poll: Poll) -> list[Judgement]:
    """Ask a judge, and again, ever more rarely, those that it could not be asked, until it answers or patience ends."""
    judgements = call_judge(judge, samples)
    deadline, pause = time.monotonic() + patience, 1.0
    while is_down(judgements) and (left := deadline - time.monotonic()) > 0:
        until = time.monotonic() + min(pause, left)
        while time.monotonic() < until:
            poll()
            time.sleep(0.1)
        pause = min(2 * pause, 30.0)
        silent = [row for row, judgement in enumerate(judgements) if judgement.status in ("unavailable", "timeout")]
        for row, judgement in zip(silent, call_judge(judge, [samples[row] for row in silent]), strict=True):
            judgements[row] = judgement
    return judgements


def refuse_unasked(judge: Judge, judgements: Sequence[Judgement], patience: float) -> None:
    """Raise `RlaifError` where a judge was down or the budget spent: that says nothing of the model."""
    if any(judgement.status == "over_budget" for judgement in judgements):
        raise RlaifError("the budget is spent")
    if is_down(judgements):
        why = next((f": {j.reason}" for j in judgements if j.status in ("unavailable", "timeout")), "")
        raise RlaifError(f"judge {judge.name} stayed down for {patience:g} s{why}")
