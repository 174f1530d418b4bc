"""Runs work in threads that a stopped command does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

NAME = "rlaif-judge"


def map_in_threads(work: Callable[[T], R], items: Sequence[T], workers: int | None = None) -> list[R]:
    """
    Apply a function to all items in threads, and return the results in order.

    After a failure no further item is started. If interrupted, it does not wait for items in progress, which may take
    minutes with a large model.
    """
    if not items:
        return []
    pool = ThreadPoolExecutor(min(workers or len(items), len(items)), thread_name_prefix=NAME)
    failed = threading.Event()

    def take(item: T) -> R | None:
        if failed.is_set():  # the pool may start more items before its queue is emptied
            return None
        try:
            return work(item)
        except BaseException:
            failed.set()
            raise

    try:
        futures = [pool.submit(take, item) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()  # raises the error, even if an earlier item has not finished
        return [cast(R, future.result()) for future in futures]
    finally:
        failed.set()
        pool.shutdown(wait=False, cancel_futures=True)


def is_busy() -> bool:
    """Whether a judge's thread is still running; the interpreter would wait for it at exit."""
    return any(thread.name.startswith(NAME) for thread in threading.enumerate())
