"""
The one place where judges are asked: while samples still come, in threads, again where they are down.

A judge that is called over a network begins with a sample as soon as it is added, so that its latency hides behind
the generation. A judge that runs here, on the cores that generate, gets all samples as one batch at the end, where it
can sort them by length, or compare them with each other. A panel with a member of each kind is asked member by member.
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
from rlaif.core.types import Judge, Judgement, Sample, Status, Usage
from rlaif.judges.panel import Panel
from rlaif.judges.scoring import call_judge, chunks

Poll = Callable[[], None]
"""Called while waiting; raises what ends the wait."""

Ask = Callable[[Judge, Sequence[Sample]], list[Judgement]]

CALLS_AT_ONCE = 8
"""Batches that wait for a judge at a time; how many requests it makes of them is the judge's own limit."""

_DOWN: tuple[Status, ...] = ("unavailable", "timeout")
_FREE = Usage(attempts=0)


class HasStatus(Protocol):
    """A judgement, or the reward that was made of one."""

    @property
    def status(self) -> Status: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


def is_down(verdicts: Sequence[HasStatus]) -> bool:
    """Whether a judge is down, and not just slow on a few: most of a batch cannot reach it."""
    return 2 * sum(verdict.status in _DOWN for verdict in verdicts) > len(verdicts)


def refuse_unasked(judge: str, verdicts: Sequence[HasStatus], patience: float) -> None:
    """Raise `RlaifError` where a judge was down or the budget spent: that says nothing of the model."""
    if any(verdict.status == "over_budget" for verdict in verdicts):
        raise RlaifError("the budget is spent")
    if is_down(verdicts):
        why = next((f": {verdict.reason}" for verdict in verdicts if verdict.status in _DOWN), "")
        raise RlaifError(f"judge {judge} stayed down for {patience:g} s{why}")


def ask_side_by_side(
    judges: Sequence[Judge], samples: Sequence[Sample], ask: Ask = call_judge
) -> list[list[Judgement]]:
    """Return what each judge says of the samples; each has a thread and gets all of them as one batch."""
    with PendingJudgements(judges, local_in_threads=True, ask=ask) as pending:
        rows = range(len(samples))
        pending.add(rows, samples)
        return [pending.judgements(judge, rows) for judge in judges]


def ask_in_chunks(
    samples: Iterable[Sample], judges: Sequence[Judge]
) -> Iterator[tuple[list[Sample], list[list[Judgement]]]]:
    """Yield chunks of samples with each judge's judgements of them; the judges work side by side."""
    for chunk in chunks(samples):
        yield chunk, ask_side_by_side(judges, chunk)


class PendingJudgements:
    """
    What judges say of samples that are still coming.

    Args:
        judges: each is asked about every sample.
        calls_at_once: calls of one remote judge that wait for an answer at a time.
        one_by_one: samples end in any order. A remote judge is asked about each alone, and about equal ones once; a
            judge that runs here gets them in the order of their rows. Otherwise a call is made of what is added
            together, and a judge that runs here gets the samples in the order in which they were added.
        local_in_threads: judges that run here are asked like remote ones, panels as a whole: the samples are all there.
        ask: calls a judge.

    """

    def __init__(
        self,
        judges: Sequence[Judge],
        *,
        calls_at_once: int = CALLS_AT_ONCE,
        one_by_one: bool = False,
        local_in_threads: bool = False,
        ask: Ask = call_judge,
    ) -> None:
        self._judges = judges
        self._batches: list[Sequence[int]] = []
        futures: list[Future[list[Judgement]]] = []

        def calls_of(judge: Judge) -> _Calls:
            if isinstance(judge, Panel) and judge.remote and not local_in_threads:
                return _PanelCalls(judge, [calls_of(member) for member in judge.judges])
            if judge.remote or local_in_threads:
                return _ThreadedCalls(partial(ask, judge), calls_at_once, one_by_one, futures)
            return _BatchCall(partial(ask, judge), sort=one_by_one)

        self._calls_of = {judge.name: calls_of(judge) for judge in judges}

    def __enter__(self) -> PendingJudgements:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        """Hand in samples; `rows` are their places in the result. Remote judges begin at once."""
        if rows:
            self._batches.append(rows)
            for calls in self._calls_of.values():
                calls.add(rows, samples)

    def judgements(
        self, judge: Judge, rows: Sequence[int], *, patience: float = 0.0, poll: Poll = lambda: None
    ) -> list[Judgement]:
        """
        Wait for what a judge says of some of the samples, all being there, and return it in the order of `rows`.

        Args:
            judge: one of those that are asked.
            rows: where most of these cannot reach a remote judge, it is down.
            patience: seconds in which a judge that is down is asked again, ever more rarely, before its abstentions
                stand.
            poll: called while waiting; what it raises ends the wait.

        """
        calls = self._calls_of[judge.name]
        judgements = calls.judgements(rows, poll)
        deadline, pause = time.monotonic() + patience, 1.0
        while judge.remote and is_down(judgements) and (left := deadline - time.monotonic()) > 0:
            _rest(min(pause, left), poll)
            pause = min(2 * pause, 30.0)
            calls.ask_again([row for row, said in zip(rows, judgements, strict=True) if said.status in _DOWN])
            judgements = calls.judgements(rows, poll)
        return judgements

    def judgements_by_row(self, *, patience: float, poll: Poll) -> dict[int, dict[str, Judgement]]:
        """
        Return what each judge says, by row and by the judge's name, all samples being there.

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
        """Ask no further; calls that are being made end by themselves."""
        for calls in self._calls_of.values():
            calls.cancel()


class _Calls(Protocol):
    """Where the judgements of one judge come from."""

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None: ...

    def judgements(self, rows: Sequence[int], poll: Poll) -> list[Judgement]: ...

    def ask_again(self, rows: Sequence[int]) -> None: ...

    def cancel(self) -> None: ...


class _ThreadedCalls:
    """
    A judge that begins with samples as soon as they are added.

    Args:
        ask: calls the judge.
        calls_at_once: threads at most.
        one_by_one: make a call of each sample, and one of equal ones; otherwise of what is added together.
        futures: of all judges; this one's are added. A failure of any ends the wait for all.

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
        self._stands_for: dict[int, int] = {}  # a row, and the row of the equal sample that is asked about for it
        self._first_row: dict[tuple[str, str, str], int] = {}
        self._calls: dict[int, tuple[Future[list[Judgement]], int]] = {}  # a row's call, and the row's place in it

    def add(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        self._samples |= zip(rows, samples, strict=True)
        for row, sample in zip(rows, samples, strict=True):
            self._stands_for[row] = self._first_row.setdefault(_identity(sample), row) if self._one_by_one else row
        self._call([row for row in rows if self._stands_for[row] == row])

    def judgements(self, rows: Sequence[int], poll: Poll) -> list[Judgement]:
        """Wait, and return the judgements; of equal samples that share a call, the first carries its cost."""
        calls = [self._calls[self._stands_for[row]] for row in rows]
        _wait_for_all({future for future, _ in calls}, self._futures, poll)
        judgements, paid = [], set[int]()
        for row, (future, place) in zip(rows, calls, strict=True):
            judgement, asked = future.result()[place], self._stands_for[row]
            judgements.append(replace(judgement, usage=_FREE) if asked in paid else judgement)
            paid.add(asked)
        return judgements

    def ask_again(self, rows: Sequence[int]) -> None:
        """Ask again about those of the rows that could not reach the judge; other rows' answers stay."""
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
    A judge that runs here: it gets all samples as one batch when its first judgement is wanted.

    Args:
        ask: calls the judge.
        sort: give it the samples in the order of their rows, and not in the order in which they were added.

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
        """Give it the whole batch again: its judgements of a part could be others."""
        if self._judgements and any(self._judgements[row].status in _DOWN for row in rows):
            self._judgements = None

    def cancel(self) -> None:
        pass


class _PanelCalls:
    """A panel with a remote member: each member is asked in its own way."""

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
    """Wait for the futures that are wanted, or raise what stopped any, also where another one still hangs."""
    waiting = wanted
    while waiting:
        _, waiting = wait(waiting, timeout=0.2, return_when="FIRST_EXCEPTION")
        for future in futures:
            if future.done():
                future.result()
        poll()


def _identity(sample: Sample) -> tuple[str, str, str]:
    """Return what makes two samples the same one for a judge."""
    return sample.prompt, sample.completion, repr(sample.columns)


def _rest(seconds: float, poll: Poll) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        poll()
        time.sleep(min(0.2, left))
