"""
Asks judges: during generation, in threads, with retries while a judge is down.

A remote judge starts with a sample as soon as it is added, so its latency overlaps with the generation. A local judge,
which uses the cores that generate, gets all samples as one batch at the end, where it can sort them by length or
compare them. In a panel with members of both kinds, each member is asked in its own way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import Protocol

from rlaif.core.errors import RlaifError
from rlaif.core.system.threads import NAME as THREAD
from rlaif.core.system.threads import map_in_threads
from rlaif.core.types import Judge, Judgement, Sample, Status, Usage
from rlaif.judges.panel import Panel
from rlaif.judges.scoring import call_judge, chunks

Poll = Callable[[], None]
"""Called while waiting; an exception that it raises ends the wait."""

Ask = Callable[[Judge, Sequence[Sample]], list[Judgement]]

CALLS_AT_ONCE = 8
"""Largest number of batches that wait for one judge; the judge itself limits its concurrent requests."""

_DOWN: tuple[Status, ...] = ("unavailable", "timeout")
_FREE = Usage(attempts=0)


class HasStatus(Protocol):
    """A judgement, or a reward from one."""

    @property
    def status(self) -> Status: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


def is_down(verdicts: Sequence[HasStatus]) -> bool:
    """Whether a judge is down: most samples of a batch could not reach it."""
    return 2 * sum(verdict.status in _DOWN for verdict in verdicts) > len(verdicts)


def refuse_unasked(judge: str, verdicts: Sequence[HasStatus], patience: float) -> None:
    """Raise `RlaifError` if a judge was down or the budget is spent, because such abstentions are no measurement."""
    if any(verdict.status == "over_budget" for verdict in verdicts):
        raise RlaifError("the budget is spent")
    if is_down(verdicts):
        reason = next((f": {verdict.reason}" for verdict in verdicts if verdict.status in _DOWN), "")
        raise RlaifError(f"judge {judge} stayed down for {patience:g} s{reason}")


def ask_side_by_side(
    judges: Sequence[Judge], samples: Sequence[Sample], ask: Ask = call_judge
) -> list[list[Judgement]]:
    """Return each judge's judgements of the samples. Each judge runs in a thread and gets all samples as one batch."""
    return map_in_threads(lambda judge: ask(judge, samples), judges)


def ask_in_chunks(
    samples: Iterable[Sample], judges: Sequence[Judge]
) -> Iterator[tuple[list[Sample], list[list[Judgement]]]]:
    """Yield chunks of samples with each judge's judgements. The judges run concurrently."""
    for chunk in chunks(samples):
        yield chunk, ask_side_by_side(judges, chunk)


class PendingJudgements:
    """
    Judgements of samples that are still being generated.

    Args:
        judges: the judges; each is asked about every sample.
        calls_at_once: largest number of concurrent calls of one remote judge.
        one_by_one: samples are added one by one, in any order. A remote judge gets each sample in a call of its own,
            and equal samples once; a local judge gets them in the order of their rows. Otherwise samples that are added
            together are one call, and a local judge gets them in the order in which they were added.

    """

    def __init__(
        self,
        judges: Sequence[Judge],
        *,
        calls_at_once: int = CALLS_AT_ONCE,
        one_by_one: bool = False,
    ) -> None:
        self._judges = judges
        self._batches: list[Sequence[int]] = []
        futures: list[Future[list[Judgement]]] = []

        def calls_of(judge: Judge) -> _Calls:
            if isinstance(judge, Panel) and judge.remote:
                return _PanelCalls(judge, [calls_of(member) for member in judge.judges])
            if judge.remote:
                return _ThreadedCalls(partial(call_judge, judge), calls_at_once, one_by_one, futures)
            return _BatchCall(partial(call_judge, judge), sort=one_by_one)

        self._calls_of = {judge.name: calls_of(judge) for judge in judges}

    def __enter__(self) -> PendingJudgements:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        """Add samples with their rows in the result. Remote judges start at once."""
        if rows:
            self._batches.append(rows)
            for calls in self._calls_of.values():
                calls.add(rows, samples)

    def judgements(
        self, judge: Judge, rows: Sequence[int], *, patience: float = 0.0, poll: Poll = lambda: None
    ) -> list[Judgement]:
        """
        Wait for a judge's judgements of some samples. All samples must have been added before.

        Args:
            judge: one of the judges.
            rows: rows of the samples. A remote judge is down if most of these could not reach it.
            patience: seconds to retry a judge that is down, with growing pauses, before its abstentions are accepted.
            poll: called while waiting; an exception that it raises ends the wait.

        Returns:
            The judgements, in the order of `rows`.

        """
        calls = self._calls_of[judge.name]
        judgements = calls.judgements(rows, poll)
        deadline, pause = time.monotonic() + patience, 1.0
        while judge.remote and is_down(judgements) and (left := deadline - time.monotonic()) > 0:
            _rest(min(pause, left), poll)
            pause = min(2 * pause, 30.0)
            calls.ask_again([row for row, one in zip(rows, judgements, strict=True) if one.status in _DOWN])
            judgements = calls.judgements(rows, poll)
        return judgements

    def judgements_by_row(self, *, patience: float, poll: Poll) -> dict[int, dict[str, Judgement]]:
        """
        Return all judgements by row and name of the judge. All samples must have been added before.

        Args:
            patience: seconds to retry a judge that is down.
            poll: called while waiting; an exception that it raises ends the wait.

        Raises:
            RlaifError: a remote judge stayed down for one of the batches that were added, or the budget is spent.

        """
        found: dict[int, dict[str, Judgement]] = {row: {} for rows in self._batches for row in rows}
        for judge in self._judges:
            for rows in self._batches if judge.remote else [list(found)]:
                judgements = self.judgements(judge, rows, patience=patience, poll=poll)
                if judge.remote:
                    refuse_unasked(judge.name, judgements, patience)
                for row, judgement in zip(rows, judgements, strict=True):
                    found[row][judge.name] = judgement
        return found

    def cancel(self) -> None:
        """Make no further calls. Calls in progress end by themselves."""
        for calls in self._calls_of.values():
            calls.cancel()


class _Calls(Protocol):
    """The calls of one judge."""

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None: ...

    def judgements(self, rows: Sequence[int], poll: Poll) -> list[Judgement]: ...

    def ask_again(self, rows: Sequence[int]) -> None: ...

    def cancel(self) -> None: ...


class _ThreadedCalls:
    """
    Calls of a judge in threads, which start as soon as samples are added.

    Args:
        ask: calls the judge.
        calls_at_once: largest number of threads.
        one_by_one: make one call per sample, and a single one for equal samples; otherwise one call for all samples
            that are added together.
        futures: futures of all judges, to which this judge's are added. A failure of any ends the wait for all.

    """

    def __init__(
        self,
        ask: Callable[[Sequence[Sample]], list[Judgement]],
        calls_at_once: int,
        one_by_one: bool,
        futures: list[Future[list[Judgement]]],
    ) -> None:
        self._ask, self._one_by_one, self._futures = ask, one_by_one, futures
        self._pool = ThreadPoolExecutor(calls_at_once, thread_name_prefix=THREAD)
        self._samples: dict[int, Sample] = {}
        self._stands_for: dict[int, int] = {}  # row of a sample -> row of the equal sample that is judged in its place
        self._first_row: dict[tuple[str, str, str], int] = {}
        self._calls: dict[int, tuple[Future[list[Judgement]], int]] = {}  # row -> its call, and its index in the call

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        self._samples |= zip(rows, samples, strict=True)
        for row, sample in zip(rows, samples, strict=True):
            self._stands_for[row] = self._first_row.setdefault(_identity(sample), row) if self._one_by_one else row
        self._call([row for row in rows if self._stands_for[row] == row])

    def judgements(self, rows: Sequence[int], poll: Poll) -> list[Judgement]:
        """Wait, and return the judgements. If equal samples share a call, the first one has its cost."""
        calls = [self._calls[self._stands_for[row]] for row in rows]
        _wait_for_all({future for future, _ in calls}, self._futures, poll)
        judgements, paid = [], set[int]()
        for row, (future, place) in zip(rows, calls, strict=True):
            judgement, asked = future.result()[place], self._stands_for[row]
            judgements.append(replace(judgement, usage=_FREE) if asked in paid else judgement)
            paid.add(asked)
        return judgements

    def ask_again(self, rows: Sequence[int]) -> None:
        """Repeat the calls of rows that could not reach the judge; other judgements stay."""
        asked = dict.fromkeys(self._stands_for[row] for row in rows)
        calls = {row: self._calls[row] for row in asked}
        self._call([row for row, (future, place) in calls.items() if future.result()[place].status in _DOWN])

    def cancel(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, rows: Sequence[int]) -> None:
        for batch in [[row] for row in rows] if self._one_by_one else filter(None, [rows]):
            future = self._pool.submit(self._ask, [self._samples[row] for row in batch])
            self._futures.append(future)
            self._calls |= {row: (future, place) for place, row in enumerate(batch)}


class _BatchCall:
    """
    The call of a local judge, with all samples as one batch. It is made when the first judgement is requested.

    Args:
        ask: calls the judge.
        sort: pass the samples in the order of their rows instead of the order in which they were added.

    """

    def __init__(self, ask: Callable[[Sequence[Sample]], list[Judgement]], *, sort: bool) -> None:
        self._ask, self._sort = ask, sort
        self._samples: dict[int, Sample] = {}
        self._judgements: dict[int, Judgement] | None = None

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        self._samples |= zip(rows, samples, strict=True)

    def judgements(self, rows: Sequence[int], poll: Poll) -> list[Judgement]:
        if self._judgements is None:
            poll()
            order = sorted(self._samples) if self._sort else list(self._samples)
            answers = self._ask([self._samples[row] for row in order])
            self._judgements = dict(zip(order, answers, strict=True))
        return [self._judgements[row] for row in rows]

    def ask_again(self, rows: Sequence[int]) -> None:
        """Repeat the whole batch, because judgements of a part of it could differ."""
        if self._judgements and any(self._judgements[row].status in _DOWN for row in rows):
            self._judgements = None

    def cancel(self) -> None:
        pass


class _PanelCalls:
    """The calls of a panel with a remote member. Each member is asked in its own way."""

    def __init__(self, panel: Panel, members: Sequence[_Calls]) -> None:
        self._panel, self._members = panel, members

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        for member in self._members:
            member.add(rows, samples)

    def judgements(self, rows: Sequence[int], poll: Poll) -> list[Judgement]:
        columns = [member.judgements(rows, poll) for member in self._members]
        return [self._panel.combine_judgements(parts) for parts in zip(*columns, strict=True)]

    def ask_again(self, rows: Sequence[int]) -> None:
        for member in self._members:
            member.ask_again(rows)

    def cancel(self) -> None:
        for member in self._members:
            member.cancel()


def _wait_for_all(wanted: set[Future[list[Judgement]]], futures: Sequence[Future[list[Judgement]]], poll: Poll) -> None:
    """Wait for the `wanted` futures. Raises the error of any future at once, even if others have not finished."""
    waiting = wanted
    while waiting:
        _, waiting = wait(waiting, timeout=0.2, return_when="FIRST_EXCEPTION")
        for future in futures:
            if future.done():
                future.result()
        poll()


def _identity(sample: Sample) -> tuple[str, str, str]:
    """Return a key that is equal for samples that are the same to a judge."""
    return sample.prompt, sample.completion, repr(sample.columns)


def _rest(seconds: float, poll: Poll) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        poll()
        time.sleep(min(0.2, left))
