"""Work side by side, in threads that a stopped command does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_NAME = "rlaif-judge"


def side_by_side(work: Callable[[T], R], items: Sequence[T], workers: int | None = None) -> list[R]:
    """
    Work on all items in threads, and return the results in order.

    After a failure nothing further is begun. Interrupted, it does not wait for what is begun: that may be minutes
    of a large model.
    """
    if not items:
        return []
    pool = ThreadPoolExecutor(min(workers or len(items), len(items)), thread_name_prefix=_NAME)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def at_work() -> bool:
    """Whether a judge's thread still runs: the interpreter would wait for it at its end."""
    return any(thread.name.startswith(_NAME) for thread in threading.enumerate())
