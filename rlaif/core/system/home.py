"""The folder for data that outlives a command: `RLAIF_HOME`, by default in the user's cache folder."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of

_PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""


def home() -> Path:
    """Return the folder, and create it if necessary. Raises `InputError` if that fails."""
    named = os.environ.get("RLAIF_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if sys.platform == "darwin":
        cache = Path.home() / "Library/Caches"
    folder = Path(named).expanduser() if named else cache / "rlaif"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"RLAIF_HOME: {folder} cannot be made: {reason_of(error)}; name a folder that can be written"
        ) from error
    return folder


def connect(path: Path | str) -> sqlite3.Connection:
    """
    Open a SQLite file that several processes and threads share.

    It uses write-ahead logging: readers never wait for a writer, and commits survive a killed process.
    """
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # The timeout does not cover processes that open a new file at the same moment, so retry here.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
