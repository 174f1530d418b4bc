"""
Verdicts on disk: what was paid once is never paid again.

One SQLite file under `RLAIF_HOME`, shared by processes and threads. Each verdict is written as it arrives; only
verdicts with the status `ok` come here, for a filtered, cut or failed answer may be another one next time.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.home import connect

log = logging.getLogger("rlaif")

_AT_ONCE = 500
"""Keys a query looks up at once; SQLite allows 999 variables in its oldest builds."""


Verdict = Mapping[str, float | str]
"""What a judge said, as it is kept: a rating and its reason, or the score of each category."""


def key_of(*parts: Any) -> bytes:
    """Hash all that can change a verdict; equal parts, equal key."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=20).digest()


class VerdictStore:
    """
    A mapping of keys to verdicts that outlives the process. Thread-safe.

    A file that turns out to be corrupt is set aside with a warning, never deleted: the verdicts in it were paid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._warned = False
        self._connection = self._open()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Verdict]:
        """Return the verdicts there are for these keys."""
        wanted, found = list(keys), dict[bytes, Verdict]()
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, verdict in self._run(f"SELECT key, verdict FROM verdicts WHERE key IN ({marks})", some):
                found[key] = json.loads(verdict)
        return found

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Write a verdict; it is on disk, for a killed process, when this returns."""
        text = json.dumps(dict(verdict), allow_nan=False)
        self._run("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", (key, text, time.time()))

    def _run(self, query: str, values: Any) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    return self._warn(error)
                try:
                    self._connection.close()
                    self._set_aside(error)
                    self._connection = self._create()
                    return self._connection.execute(query, values).fetchall()
                except (sqlite3.DatabaseError, OSError) as worse:
                    return self._warn(worse)

    def _open(self) -> sqlite3.Connection:
        try:
            try:
                return self._create()
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                self._set_aside(error)
                return self._create()
        except (sqlite3.DatabaseError, OSError) as error:  # said before anything is paid that could not be kept
            raise InputError(
                f"RLAIF_HOME: {self.path} cannot be opened: {reason_of(error)}; name a folder that can be written"
            ) from error

    def _create(self) -> sqlite3.Connection:
        self._file = _file_number(self.path)
        connection = connect(self.path)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, verdict TEXT, written REAL) WITHOUT ROWID"
        )
        self._file = _file_number(self.path)
        return connection

    def _set_aside(self, error: Exception) -> None:
        """Rename the file, unless another process has just done so: what lies there now is its new one."""
        one_by_one = connect(self.path.with_name(f"{self.path.name}.lock"))
        one_by_one.execute("BEGIN EXCLUSIVE")
        try:
            if _file_number(self.path) != self._file:
                return
            aside = self.path.with_name(f"{self.path.name}.corrupt-{time.time_ns()}")
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            log.warning("the verdict store %s is corrupt (%s); it is kept as %s", self.path, error, aside)
        finally:
            one_by_one.close()

    def _warn(self, error: Exception) -> list[Any]:
        if not self._warned:
            self._warned = True
            log.warning("the verdict store %s fails: %s; verdicts are not kept", self.path, error)
        return []


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _file_number(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None
