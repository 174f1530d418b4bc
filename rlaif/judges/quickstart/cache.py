"""
Where the quickstart's parts are kept: a folder each under `RLAIF_HOME`, there whole or not at all.

A part is made beside its place and renamed into it. One process makes them at a time, and the others wait; whoever is
killed leaves what it had finished, and a folder that the next one clears away. A part whose files are not those that
were written is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.schema import reason_of
from rlaif.core.system.files import what_to_do
from rlaif.core.system.home import home
from rlaif.core.system.signals import Interruption
from rlaif.core.system.terminal import ProgressBar
from rlaif.judges.quickstart import corpus
from rlaif.judges.quickstart.plan import PLAN, Plan

Say = Callable[[str], None]
Tick = Callable[[int], None]

TITLES = {
    "prompts": "prompts",
    "judge": "the training judge",
    "held_out": "the held-out judge",
    "policy": "the policy",
}
"""The parts, the cheap ones first."""

PROMPTS_FILE = "prompts.jsonl"
_WHOLE = "whole.json"
"""Size and checksum of each file of a part; written last."""
_UNFINISHED = ".making-"
_LOCK = ".lock"


def make_parts(names: Sequence[str], say: Say, plan: Plan = PLAN) -> dict[str, Path]:
    """
    Return the folders of parts; those that are not there yet, or not as they were written, are made first.

    Args:
        names: keys of `TITLES`.
        say: is told what is being made.
        plan: what they are made of.

    Raises:
        InputError: `RLAIF_HOME` cannot be written.
        RlaifError: the disk is full; what was finished is kept.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was finished is kept.

    """
    folder = home() / "quickstart" / plan.key
    if not _find_missing(names, folder):
        return {name: folder / name for name in names}
    _make_folder(folder)
    with Interruption() as interruption, _alone(folder, say, interruption.poll):
        if missing := _find_missing(names, folder):
            say(f"first use: making {_join_titles(missing)} of our own corpus, once; they are kept in {folder}")
        for i, name in enumerate(missing):
            try:
                _make(name, folder, plan, f"{TITLES[name]} ({i + 1} of {len(missing)})", say, interruption.poll)
            except KeyboardInterrupt as error:
                raise KeyboardInterrupt(
                    f"{_describe_progress(missing, i, folder)}; the same command goes on"
                ) from error
            except OSError as error:
                raise RlaifError(
                    f"{folder}: {TITLES[name]} cannot be written: {reason_of(error)}; "
                    f"{_describe_progress(missing, i, folder)}: "
                    f"{what_to_do(error)}, or name another folder in RLAIF_HOME, and begin again"
                ) from error
    return {name: folder / name for name in names}


def _describe_progress(names: Sequence[str], done: int, folder: Path) -> str:
    """Say what is kept of what was to be made."""
    return f"{_join_titles(names[:done])} kept in {folder}" if done else "nothing was made yet"


def _join_titles(names: Sequence[str]) -> str:
    *first, last = [TITLES[name] for name in names]
    return f"{', '.join(first)} and {last}" if first else last


# --- one part -----------------------------------------------------------------------------------------------------


def _make(name: str, folder: Path, plan: Plan, title: str, say: Say, poll: Callable[[], None]) -> None:
    """Make a part beside its place, and put it there."""
    start = time.monotonic()
    unfinished = folder / f"{_UNFINISHED}{name}-{uuid4().hex}"
    try:
        unfinished.mkdir()
        if name == "prompts":
            rows = (json.dumps({"prompt": prompt}) for prompt in corpus.prompts(plan.prompts, plan.prompts_seed))
            (unfinished / PROMPTS_FILE).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        else:
            _make_model(name, unfinished, plan, title, poll)
        sums = {path.name: _sum_of(path) for path in sorted(unfinished.iterdir())}
        (unfinished / _WHOLE).write_text(json.dumps(sums, indent=1), encoding="utf-8")
        poll()
        _put(unfinished, folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"made {title} in {time.monotonic() - start:.0f} s")


def _make_model(name: str, folder: Path, plan: Plan, title: str, poll: Callable[[], None]) -> None:
    from rlaif.judges.quickstart.models import make_judge, make_policy  # torch is slow to load

    size = {"policy": plan.policy, "judge": plan.judge, "held_out": plan.held_out}[name]
    with ProgressBar(f"making {title}, batches", size.batches) as progress:

        def tick(count: int) -> None:
            progress.advance(count)
            poll()

        (make_policy if name == "policy" else make_judge)(size, folder, tick)


def _put(made: Path, place: Path) -> None:
    """Rename a part into its place; what is broken there goes, what another process has put there stays."""
    if place.exists() and not is_whole(place):
        broken = place.with_name(f"{_UNFINISHED}broken-{uuid4().hex}")
        place.rename(broken)
        _remove(broken)
    try:
        made.rename(place)
    except OSError:
        if not is_whole(place):
            raise


def _remove(path: Path) -> None:
    """Remove a folder, or the file that has its name."""
    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a part is there with all its files as they were written."""
    try:
        sums = json.loads((folder / _WHOLE).read_text(encoding="utf-8"))
        return bool(sums) and all(_sum_of(folder / name) == there for name, there in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _find_missing(names: Sequence[str], folder: Path) -> list[str]:
    return [name for name in TITLES if name in names and not is_whole(folder / name)]


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- one process at a time ----------------------------------------------------------------------------------------


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    except OSError as error:
        raise InputError(
            f"RLAIF_HOME: {folder} cannot be written: {reason_of(error)}; the quickstart keeps its models there: "
            "name a folder that can be written"
        ) from error


@contextmanager
def _alone(folder: Path, say: Say, poll: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process makes parts here; the lock of a process that is killed goes with it."""
    try:
        import fcntl
    except ImportError:  # Windows: two that begin at once both make the parts, and the first one's stay
        yield
        return
    with (folder / _LOCK).open("w") as lock:
        waits = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waits:
                    say("another process is making the quickstart's models: waiting for it")
                waits = True
                poll()
                time.sleep(0.1)
        for left in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
