"""When calls may start: the rates of endpoints, over all processes that share `RLAIF_HOME`."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from rlaif.core.system.home import connect, home

log = logging.getLogger("rlaif")

SECOND = 1.1
"""Seconds between a call and the n-th before it: the tenth more is for what the network does to the spacing."""


class Slots:
    """
    The times at which calls may start, over all processes that share `RLAIF_HOME`.

    A caller takes the next free time at once and then sleeps until it comes: nobody polls, and nobody overtakes.
    The times of a second are spread over it, so that one late call makes no crowd with the next second's. Where
    processes state different rates, the lowest of the last two minutes holds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._path = home() / "rates.sqlite"
        try:
            self._connection = self._open(self._path)
        except sqlite3.DatabaseError as error:
            self._go_on_alone(error)

    def take(self, gate: str, rpm: float, tpm: float, tokens: int) -> float:
        """Return the time (seconds since the epoch) at which a call of so many tokens may start."""
        with self._lock:
            try:
                return self._take(gate, rpm, tpm, tokens)
            except sqlite3.DatabaseError as error:
                self._go_on_alone(error)
                return self._take(gate, rpm, tpm, tokens)

    def _take(self, gate: str, rpm: float, tpm: float, tokens: int) -> float:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            at = self._next(gate, rpm, tpm, tokens, self._clock())
            self._connection.execute("INSERT INTO slots VALUES (?, ?, ?)", (gate, at, tokens))
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        return at

    def _next(self, gate: str, rpm: float, tpm: float, tokens: int, now: float) -> float:
        run = self._connection.execute
        run("INSERT OR REPLACE INTO rates VALUES (?, ?, ?, ?)", (gate, rpm, tpm, now))
        run("DELETE FROM slots WHERE gate = ? AND at < ?", (gate, now - 61))
        run("DELETE FROM rates WHERE seen < ?", (now - 120,))
        rpm, tpm = run("SELECT min(rpm), min(tpm) FROM rates WHERE gate = ?", (gate,)).fetchone()

        def count_taken(count: int) -> float:
            """Return the time of the so manieth call before this one."""
            newest = "SELECT at FROM slots WHERE gate = ? ORDER BY at DESC LIMIT 1 OFFSET ?"
            found = run(newest, (gate, count - 1)).fetchone()
            return found[0] if found else -math.inf

        at = max(now, count_taken(1))
        if math.isfinite(rpm):
            a_second = math.ceil(rpm / 60)
            at = max(at, count_taken(1) + SECOND / a_second)
            if a_second * 60 / SECOND > rpm:  # else the minute cannot be full
                at = max(at, count_taken(int(rpm)) + 60.0)
        if math.isfinite(tpm):
            used = tokens
            newest = run("SELECT at, tokens FROM slots WHERE gate = ? ORDER BY at DESC", (gate,))
            for then, spent in newest.fetchall():  # where the minute's tokens are full, wait until that one leaves
                used += spent
                if used > tpm:
                    at = max(at, then + 60.0)
                    break
        return at

    def _go_on_alone(self, error: Exception) -> None:
        """Do without the file: a full disk, or something else wrote over it. It is no reason to lose a run."""
        log.warning("%s fails: %s; rates hold for this process alone", self._path, error)
        self._connection = self._open(":memory:")

    @staticmethod
    def _open(path: Path | str) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("CREATE TABLE IF NOT EXISTS slots (gate TEXT, at REAL, tokens INTEGER)")
        connection.execute("CREATE INDEX IF NOT EXISTS by_gate ON slots (gate, at)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS rates (gate TEXT, rpm REAL, tpm REAL, seen REAL, PRIMARY KEY (gate, rpm, tpm))"
        )
        return connection


@cache
def slots() -> Slots:
    """Return the process's `Slots`."""
    return Slots()
