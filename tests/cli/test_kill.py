"""
What is killed at any event, and begun again as a user would, ends as what nothing disturbed.

The events are those of `tests.events`: `make test` kills at the first, the last and one in between of each kind,
`make test-all` at each. What has to be the same: weights to the bit, metrics but for clocks, the numbers, and which
files are there. And no verdict that had been stored is paid for twice.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benching import labelled, write_rows
from tests.events import At, When, events_of
from tests.remote import card_of, environment
from tests.runs import Place, Run, assert_same_run, at, bytes_of, place
from tests.server import Request, Server

CONCURRENCY = 2
KINDS: dict[str, tuple[When, ...]] = {
    "rename": ("before", "after"),
    "fsync": ("half", "before"),
    "append": ("before", "half", "after"),
    "removal": ("before", "after"),
    "commit": ("before", "after"),
    "request": ("before",),
    "backward": ("before",),
}
"""When a process is killed at an event of each kind."""


class Work:
    """
    A command that asks a remote judge, once undisturbed and then killed.

    Args:
        place: its folder.
        server: of the judge.

    """

    kinds: tuple[str, ...]
    resume: tuple[str, ...] = ()
    unstored: int = CONCURRENCY
    """Verdicts that a kill may lose."""
    repeated: int = 0
    """Backward passes that a kill may cost."""

    def __init__(self, place: Place, server: Server) -> None:
        self.place, self.server = place, server
        done = self.start("undisturbed").ended()
        assert done.returncode == 0, done.stderr
        self.requests = len(whole(server))
        self.counts = Counter(kind for kind, _ in self.events("undisturbed")) | Counter(request=self.requests)

    def command(self, output: str) -> list[str]:
        raise NotImplementedError

    def again(self, output: str) -> subprocess.CompletedProcess[str]:
        """Do what a user does next."""
        return self.start(output).ended()

    def assert_same(self, output: str) -> None:
        """Assert that what is in a folder is what is in `undisturbed`."""
        raise NotImplementedError

    def start(self, output: str, *arguments: str, meddle: str = "") -> Run:
        env = environment(self.place.folder / f"home-{output}")
        log = f"log_to({str(self._log(output))!r})\n"
        return Run(self.place.folder, [*self.command(output), *arguments], env, log + meddle)

    def _log(self, output: str) -> Path:
        return self.place.folder / f"events-{output}"

    def events(self, output: str) -> list[tuple[str, str]]:
        """Return the events of all processes that have worked on a folder; of commits those of verdicts."""
        found = events_of(self._log(output))
        return [(kind, name) for kind, name in found if kind != "commit" or name.endswith("verdicts.sqlite")]

    def kill(self, output: str, kind: str, n: int, when: When, *arguments: str) -> None:
        """Start the command, and kill it at an event."""
        if kind == "request":
            self.server.behaviour = lambda _: self._kill_by_server(run, n)
            run = self.start(output, *arguments)
        else:
            name = "verdicts.sqlite" if kind == "commit" else "*"
            run = self.start(output, *arguments, meddle=at(At(kind, name, n, when), "kill"))
        done = run.ended()
        self.server.behaviour = "ok"
        assert done.returncode == -signal.SIGKILL, done.stderr

    def _kill_by_server(self, run: Run, n: int) -> str:
        if len(whole(self.server)) >= n and run.is_alive:
            run.signal(signal.SIGKILL)
        return "ok"

    def assert_ends_as_undisturbed(self, output: str, *killed_at: tuple[str, int, When]) -> None:
        """Kill the command at one event after the other, let it end, and compare what it did and paid."""
        self.server.clear()
        for attempt, (kind, n, when) in enumerate(killed_at):
            self.kill(output, kind, n, when, *(self.resume if attempt else ()))
        time.sleep(0.05)  # what was sent has arrived
        sent, stored = len(whole(self.server)), self.stored(output)
        assert 0 <= sent - stored <= self.unstored * len(killed_at)
        done = self.again(output)
        assert done.returncode == 0, done.stderr
        self.assert_same(output)
        assert self.files(output) == self.files("undisturbed")
        assert self.stored(output) == self.stored("undisturbed")
        assert len(whole(self.server)) == sent + self.requests - stored, "of what was stored nothing is asked again"
        passes = sum(kind == "backward" for kind, _ in self.events(output))
        assert passes <= self.counts["backward"] + self.repeated * len(killed_at), "steps with a checkpoint are kept"

    def files(self, output: str) -> set[str]:
        folder = self.place.folder / output
        return {str(path.relative_to(folder)) for path in folder.rglob("*")}

    def stored(self, output: str) -> int:
        """Count the verdicts that are kept."""
        path = self.place.folder / f"home-{output}" / "verdicts.sqlite"
        connection = sqlite3.connect(path) if path.exists() else sqlite3.connect(":memory:")
        try:
            (count,) = connection.execute("SELECT count(*) FROM verdicts").fetchone()
        except sqlite3.OperationalError:  # killed before the table was there
            count = 0
        connection.close()
        return int(count)


def whole(server: Server) -> list[Request]:
    """The calls that arrived whole: a process may be killed with half of a question out."""
    return [call for call in server.calls if call.body]


class Train(Work):
    """A run of three steps with a guard, measured before and after; each step writes a checkpoint, one is kept."""

    kinds = tuple(KINDS)
    resume = ("--resume",)
    unstored = 4  # a batch: each has a thread, which may have left its turn to call and not stored its verdict yet
    repeated = 4  # a step

    def command(self, output: str) -> list[str]:
        return ["train", "run.yaml", "--output", output]

    def again(self, output: str) -> subprocess.CompletedProcess[str]:
        done = self.start(output, "--resume").ended()
        if done.returncode == 2 and "leave --resume out" in done.stderr:
            return self.start(output).ended()
        return done

    def files(self, output: str) -> set[str]:
        """List the files but for old checkpoints: one that a kill left is removed when the next one is written."""
        return {name for name in super().files(output) if not re.match(r"checkpoints/step-00000[12]", name)}

    def assert_same(self, output: str) -> None:
        assert_same_run(self.place, output, "undisturbed")
        ours, theirs = self.place.folder / output, self.place.folder / "undisturbed"
        for name in ("guard.jsonl", "run.yaml"):
            assert (ours / name).read_text().replace(output, "undisturbed") == (theirs / name).read_text()
        assert bytes_of(ours / "best") == bytes_of(theirs / "best")
        assert json.loads((ours / "evaluation.json").read_text()) == json.loads(
            (theirs / "evaluation.json").read_text()
        )
        assert _samples(ours) == _samples(theirs)


class Bench(Work):
    """A benchmark of rows for two chunks."""

    kinds = ("rename", "fsync", "append", "commit", "request")

    def command(self, output: str) -> list[str]:
        return [
            "bench",
            "-j",
            json.dumps(self.place.keys["judge"]),
            "--data",
            "rows.jsonl",
            "--bad",
            "toxic",
            "-o",
            output,
        ]

    def assert_same(self, output: str) -> None:
        assert _scores(self.place.folder / output) == _scores(self.place.folder / "undisturbed")
        assert _told(self.place.folder / output) == _told(self.place.folder / "undisturbed")


def _samples(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for row in rows:
        for side in (row["before"], row["after"]):
            for judgement in side["judgements"].values():
                del judgement["usage"]
    return rows


def _scores(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        for judgement in row["judgements"].values():
            del judgement["usage"], judgement["wall"]
    return rows


def _told(folder: Path) -> dict[str, Any]:
    """Leave out clocks and cost."""
    told = json.loads((folder / "bench.json").read_text())
    for part in (told["pooled"], *told["files"].values()):
        for judge in part["judges"].values():
            for key in ("latency_ms", "per_second", "asked", "from_store", "calls"):
                judge.pop(key, None)
    return {key: told[key] for key in ("pooled", "files", "agreement")}


# --- the places ---------------------------------------------------------------------------------------------------

TRAIN: dict[str, Any] = {
    "guard": {
        "judges": [{"adapter": "random", "name": "held"}], "every": 1, "num_prompts": 2, "distinct_2": 0.0,
        "length": [0.0, 99.0], "perplexity": [0.0, 99.0], "score_drop": 1.0, "follow": 0.0,
    },
    "evaluation": {"judges": [{"adapter": "length", "name": "words", "unit": "characters"}], "num_prompts": 2},
    "checkpoints": {"every": 1, "keep": 1},
    "training": {"steps": 3},
}  # fmt: skip


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def works(tmp_path_factory: pytest.TempPathFactory, server: Server) -> dict[str, Work]:
    """What nothing has disturbed."""
    server.clear()
    judge = {**card_of(server, concurrency=CONCURRENCY), "name": "far"}
    train = place(tmp_path_factory.mktemp("train"), prompts=12, judge=judge, **TRAIN)
    works: dict[str, Work] = {"train": Train(train, server)}
    server.clear()
    folder = tmp_path_factory.mktemp("bench")
    write_rows(folder / "rows.jsonl", labelled(70))
    works["bench"] = Bench(Place(folder, {"judge": judge}), server)
    return works


@pytest.fixture
def output(works: dict[str, Work]) -> Iterator[str]:
    name = f"run-{time.monotonic_ns()}"
    yield name
    for work in works.values():
        for left in work.place.folder.glob(f"*{name}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


# --- a power cut, which no kill can show --------------------------------------------------------------------------


def test_what_a_run_renames_into_place_was_synced_before_and_its_folder_is_synced_next(works):
    events = [
        (kind, Path(name)) for kind, name in works["train"].events("undisturbed") if kind in ("open", "fsync", "rename")
    ]
    placed = [(i, path) for i, (kind, path) in enumerate(events) if kind == "rename" and path.suffix != ".removed"]
    run = works["train"].place.folder / "undisturbed"
    assert {str(path.relative_to(run)) for _, path in placed} >= {
        "run.yaml", "samples.jsonl", "guard.jsonl", "evaluation.json", "report.html", "best/step-000000.safetensors",
        *(f"checkpoints/step-00000{step}" for step in (1, 2, 3)),
    }  # fmt: skip
    for i, path in placed:
        writing = path.with_name(f".{path.name}.writing")
        before = [(kind, of) for kind, of in events[:i] if of == writing or writing in of.parents]
        assert {of for kind, of in before if kind == "open"}, f"{path}: not written beside its place"
        for of in {of for _, of in before}:
            assert [kind for kind, written in before if written == of][-1] == "fsync", of
        assert events[i + 1] == ("fsync", path.parent), path


# --- kill -9 ------------------------------------------------------------------------------------------------------

WORKS = {"train": Train, "bench": Bench}


@pytest.mark.parametrize(("work", "kind"), [(name, kind) for name, work in WORKS.items() for kind in work.kinds])
def test_events_of_this_kind_occur(work, kind, works):
    assert works[work].counts[kind] >= 1


SAMPLE = {"first": 0.0, "middle": 0.5, "last": 1.0}


@pytest.mark.parametrize(
    ("work", "kind", "which"),
    [(name, kind, which) for name, work in WORKS.items() for kind in work.kinds for which in SAMPLE],
)
def test_what_is_killed_at_an_event_ends_as_the_undisturbed_one(work, kind, which, works, output):
    n = 1 + round(SAMPLE[which] * (works[work].counts[kind] - 1))
    when = KINDS[kind][list(SAMPLE).index(which) % len(KINDS[kind])]
    works[work].assert_ends_as_undisturbed(output, (kind, n, when))


def test_a_run_killed_again_each_time_that_it_goes_on_ends_as_the_undisturbed_one(works, output):
    again: list[tuple[str, int, When]] = [(kind, 2, "before") for kind in ("append", "rename", "fsync", "backward")]
    works["train"].assert_ends_as_undisturbed(output, ("backward", 7, "before"), *again, ("removal", 2, "before"))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("work", "kind", "when"),
    [(name, kind, when) for name, work in WORKS.items() for kind in work.kinds for when in KINDS[kind]],
)
def test_what_is_killed_at_any_event_ends_as_the_undisturbed_one(work, kind, when, works, output, subtests):
    for n in range(1, works[work].counts[kind] + 1):
        with subtests.test(n=n):
            works[work].assert_ends_as_undisturbed(f"{output}-{n}", (kind, n, when))
