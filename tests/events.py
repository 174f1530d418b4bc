"""
Events of a process, and what a test lets happen at one of them: a kill, a signal, a full disk.

An event is what anybody sees from outside of the package: a file is renamed, a backward pass begins. So a test says
"kill the run before checkpoint.json is renamed" and names no function of the package. `watch` replaces the public
functions of Python and torch through which these events go, in the process that calls it:

    kind        what                                            name
    rename      os.rename, os.replace                           the new path
    fsync       os.fsync                                        the path of what is synced
    open        a file is opened for writing                    its path
    append      text is written to a file opened for appending  its path
    removal     os.unlink, os.remove, os.rmdir                  the path
    mkdir       os.mkdir                                        the path
    commit      a SQLite statement ends a transaction           the path of the database
    backward    torch.autograd.backward                         nothing
    optimizer   a step of an optimizer                          its class
    forward     a model of transformers is called               its class

Only files in the working directory and in RLAIF_HOME count. The last three kinds need a process that has loaded torch
before. Requests are counted by the server that gets them.
"""

from __future__ import annotations

import builtins
import fnmatch
import io
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Act = Callable[[], object]
When = Literal["before", "half", "after"]


@dataclass(frozen=True)
class At:
    """
    A moment in the life of a process.

    Args:
        kind: of the event, as in the table above.
        name: a shell pattern for the name of the event, or for the end of its path: `checkpoints/step-*`.
        n: which of the events that match, counted from 1.
        when: before the event or after it; half of an append is a torn line on the disk, half of an fsync a file
            that has lost its second half.
        since: count only what comes after this moment.

    """

    kind: str
    name: str = "*"
    n: int = 1
    when: When = "before"
    since: At | None = None


class _Trigger:
    """Waits for a moment."""

    def __init__(self, moment: At, act: Act) -> None:
        self._stages, self._count, self._act = [moment], 0, act
        while (since := self._stages[0].since) is not None:
            self._stages.insert(0, since)

    def is_reached(self, kind: str, name: str, when: When) -> bool:
        """Count an event; say whether it is the one."""
        stage = self._stages[0] if self._stages else None
        if stage is None or (stage.kind, stage.when) != (kind, when):
            return False
        if not (fnmatch.fnmatchcase(name, stage.name) or fnmatch.fnmatchcase(name, f"*/{stage.name}")):
            return False
        self._count += 1
        if self._count < stage.n:
            return False
        del self._stages[0]
        self._count = 0
        return not self._stages

    def act(self) -> None:
        self._act()


_triggers: list[_Trigger] = []
_lock = threading.Lock()
_log: int | None = None
_disk_is_full = False
_folders: list[Path] = []


def on(moment: At, act: Act) -> None:
    """Let something happen at a moment of this process."""
    _triggers.append(_Trigger(moment, act))
    watch()


def log_to(path: str) -> None:
    """Write each event of this process as a line to a file, for `events_of`."""
    global _log
    _log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    watch()


def events_of(path: Path) -> list[tuple[str, str]]:
    """Return kind and name of all events that a process has logged, in their order."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


# --- what happens -------------------------------------------------------------------------------------------------


def kill() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    """Send SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def fill_disk() -> None:
    """From here on no file that is opened for writing takes a byte."""
    global _disk_is_full
    _disk_is_full = True


def limit_files(size: int) -> Act:
    """From here on no file grows beyond this size: the system's own limit, which also libraries in Rust meet."""
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return limit


def fail(error: BaseException) -> Act:
    """Let the event raise an error."""

    def act() -> None:
        raise error

    return act


# --- the doors ----------------------------------------------------------------------------------------------------


def watch() -> None:
    """Begin to count the events of this process."""
    if _folders:
        return
    _folders.extend(Path(place).resolve() for place in (".", os.environ.get("RLAIF_HOME")) if place)
    os.rename, os.replace = _renaming(os.rename), _renaming(os.replace)
    os.unlink, os.remove, os.rmdir = (_on_path("removal", door) for door in (os.unlink, os.remove, os.rmdir))
    os.mkdir = _on_path("mkdir", os.mkdir)
    os.fsync = _syncing(os.fsync)
    io.open = builtins.open = _opening(io.open)
    sqlite3.connect = _connecting(sqlite3.connect)
    if "torch" in sys.modules:
        _watch_models()


def _watch_models() -> None:
    import torch
    import transformers
    from torch.optim import optimizer

    backward = torch.autograd.backward
    torch.autograd.backward = lambda *given, **keys: _around("backward", "", lambda: backward(*given, **keys))
    optimizer.register_optimizer_step_pre_hook(lambda stepping, *_: _before("optimizer", type(stepping).__name__))
    optimizer.register_optimizer_step_post_hook(lambda stepping, *_: _after("optimizer", type(stepping).__name__))
    transformers.PreTrainedModel.__call__ = _calling(transformers.PreTrainedModel.__call__)


def _reached(kind: str, name: str, when: When) -> list[_Trigger]:
    with _lock:
        return [trigger for trigger in _triggers if trigger.is_reached(kind, name, when)]


def _before(kind: str, name: str, half: Act | None = None) -> None:
    if _log is not None:
        os.write(_log, f"{json.dumps([kind, name])}\n".encode())
    for trigger in _reached(kind, name, "before"):
        trigger.act()
    if half and (torn := _reached(kind, name, "half")):
        half()
        for trigger in torn:
            trigger.act()


def _after(kind: str, name: str) -> None:
    for trigger in _reached(kind, name, "after"):
        trigger.act()


def _around(kind: str, name: str, do: Callable[[], Any], half: Act | None = None) -> Any:
    _before(kind, name, half)
    done = do()
    _after(kind, name)
    return done


def _path(path: Any, folder: int | None = None) -> str | None:
    """Return the absolute path of a file, or of its open descriptor; None outside of the folders that count."""
    if isinstance(path, int):
        place = Path(f"/proc/self/fd/{path}").readlink()
    else:
        place = (Path() if folder is None else Path(f"/proc/self/fd/{folder}").readlink()) / os.fsdecode(path)
    place = place.parent.resolve() / place.name
    return str(place) if any(place.is_relative_to(folder) for folder in _folders) else None


def _renaming(door: Any) -> Any:
    def rename(source: Any, target: Any, **keys: Any) -> None:
        path = _path(target, keys.get("dst_dir_fd"))
        return _around("rename", path, lambda: door(source, target, **keys)) if path else door(source, target, **keys)

    return rename


def _on_path(kind: str, door: Any) -> Any:
    def touch(path: Any, *given: Any, **keys: Any) -> None:
        place = _path(path, keys.get("dir_fd"))
        return _around(kind, place, lambda: door(path, *given, **keys)) if place else door(path, *given, **keys)

    return touch


def _syncing(door: Any) -> Any:
    def fsync(file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        path = _path(number)
        if path is None:
            return door(number)

        def halve() -> None:
            if Path(path).is_file():
                os.truncate(path, Path(path).stat().st_size // 2)

        return _around("fsync", path, lambda: door(number), halve)

    return fsync


def _opening(door: Any) -> Any:
    def opened(file: Any, mode: str = "r", *given: Any, **keys: Any) -> Any:
        path = None if isinstance(file, int) or not set(mode) & set("wax+") else _path(file)
        if path is None:
            return door(file, mode, *given, **keys)
        _before("open", path)
        if _disk_is_full:
            return door("/dev/full", mode, *given, **keys)
        opened = door(file, mode, *given, **keys)
        if "a" in mode:
            _count_writes(opened, path)
        _after("open", path)
        return opened

    return opened


def _count_writes(file: Any, path: str) -> None:
    """Make each write to a file an event that is on the disk when it is over."""
    write = file.write

    def append(data: Any) -> Any:
        def part(data: Any) -> Any:
            written = write(data)
            file.flush()
            return written

        return _around("append", path, lambda: part(data), lambda: part(data[: len(data) // 2]))

    file.write = append


def _connecting(door: Any) -> Any:
    def connect(database: Any, *given: Any, **keys: Any) -> Any:
        path = _path(database)
        if path is None or "factory" in keys:
            return door(database, *given, **keys)

        class Connection(sqlite3.Connection):
            def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
                run = super().execute
                word = query.split(None, 1)[0].upper()
                writes = word in ("INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE")
                if word in ("COMMIT", "END") or (writes and not self.in_transaction and self.isolation_level is None):
                    done: sqlite3.Cursor = _around("commit", path, lambda: run(query, *values))
                    return done
                return run(query, *values)

            def commit(self) -> None:
                _around("commit", path, super().commit)

        return door(database, *given, factory=Connection, **keys)

    return connect


def _calling(door: Any) -> Any:
    """Count calls of whole models, not of the models in them."""
    inside = threading.local()

    def call(model: Any, *given: Any, **keys: Any) -> Any:
        if getattr(inside, "a_model", False):
            return door(model, *given, **keys)
        name = type(model).__name__
        _before("forward", name)
        inside.a_model = True
        try:
            done = door(model, *given, **keys)
        finally:
            inside.a_model = False
        _after("forward", name)
        return done

    return call
