"""
What tests of whole runs share: a folder with a tiny policy, a tiny judge and prompts, and `rlaif train` in processes.

The processes are those of `tests.processes`. `meddle` is Python that runs in it first: `at` makes it of a moment of
`tests.events` and what is to happen then, so that the package needs no hooks for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import processes, tiny
from tests.conftest import ROOT
from tests.events import At

MEDDLING = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.events import At, fail, fill_disk, interrupt, kill, limit_files, log_to, on, terminate
"""

BEGINNING = """
import torch, transformers
torch.set_num_threads(1)
"""

NO_FIGURES = """
from matplotlib.figure import Figure
Figure.savefig = lambda figure, file, **_: file.write(b'<svg viewBox="0 0 1 1"/>')
"""
"""Saves the figures of the report empty: to draw them takes a tiny run as long as all the rest."""

COMMAND = """
from rlaif.__main__ import command
command()
"""


def at(moment: At, act: str) -> str:
    """Return what to meddle with so that an act of `tests.events` is done at a moment: `kill`, `interrupt`."""
    return f"on({moment!r}, {act})\n"


class Run:
    """`rlaif` in a process of its own."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], env: Mapping[str, str], meddle: str, *, figures: bool = False
    ) -> None:
        self._said = folder / f"said-{time.monotonic_ns()}"
        self.arguments = arguments
        script = (
            BEGINNING
            + ("" if figures else NO_FIGURES)
            + (meddle and MEDDLING + meddle)
            + (COMMAND if arguments else "")
        )
        with self._said.open("ab") as said:
            self.process = processes.start(
                ["-c", script, *arguments], cwd=folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def join(self, seconds: float) -> None:
        """Wait so long, or to the end if that comes before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._said.read_text()

    def ended(self, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Wait for the end; a status below 0 is the signal that killed it."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.arguments} hangs; it has said: {self.stderr}") from None
        return subprocess.CompletedProcess(self.arguments, status, "", self.stderr)


@dataclass(frozen=True)
class Place:
    """A folder with `run.yaml` and what it names."""

    folder: Path
    keys: dict[str, Any]

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, meddle: str = "", figures: bool = False
    ) -> Run:
        """Start `rlaif train run.yaml` with further arguments."""
        return Run(self.folder, ["train", "run.yaml", *arguments], env or {}, meddle, figures=figures)

    def train(
        self, *arguments: str, env: Mapping[str, str] | None = None, meddle: str = "", figures: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `rlaif train run.yaml` with further arguments to its end."""
        return self.start(*arguments, env=env, meddle=meddle, figures=figures).ended()

    def write(self, name: str = "run.yaml", **changes: Any) -> None:
        """Write a run file: this one with some sections changed."""
        changed = {**self.keys}
        for section, keys in changes.items():
            there = changed.get(section)
            adds = section != "judge" and isinstance(there, dict) and isinstance(keys, dict)
            changed[section] = {**there, **keys} if adds else keys
        (self.folder / name).write_text(yaml.safe_dump(changed))

    def metrics(self, output: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / output / "metrics.jsonl").read_text().splitlines()]

    def checkpoints(self, output: str) -> list[str]:
        return sorted(path.name for path in (self.folder / output / "checkpoints").iterdir())


TRAINING = {"steps": 6, "batch_size": 4, "mini_batch_size": 2, "learning_rate": 1e-3}


def place(folder: Path, architecture: str = "llama", prompts: int = 9, **sections: Any) -> Place:
    """Make a run of six steps, three epochs of eight prompts, with a checkpoint after every second step."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.policy(folder / "policy", architecture)
    tiny.classifier(folder / "judge")
    rows = [{"prompt": f"{'why ' * (i % 3)}ask {i}?", "kind": "q"} for i in range(prompts)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys: dict[str, Any] = {
        "policy": {"model": "./policy"},
        "data": {"dataset": "prompts.jsonl"},
        "judge": {"adapter": "classifier", "model": "./judge", "bad": "hate", "name": "toy"},
        "generation": {"max_new_tokens": 8, "min_new_tokens": 2},
        "training": TRAINING,
        "ppo": {"ppo_epochs": 2},
        "evaluation": {"num_prompts": 1},
        "checkpoints": {"every": 2, "keep": 2},
    }
    made = Place(folder, keys)
    made.write(**sections)
    return Place(folder, yaml.safe_load((folder / "run.yaml").read_text()))


# --- several processes --------------------------------------------------------------------------------------------


def ranks(count: int = 2) -> list[dict[str, str]]:
    """Return the variables that `accelerate launch` sets for each of several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


# --- what has to be the same --------------------------------------------------------------------------------------


def same_metrics(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Leave out clocks, cost and store hits: what a resumed run need not repeat."""
    lines = []
    for line in metrics:
        judges = {
            name: {k: v for k, v in judge.items() if k not in ("seconds", "from_store")}
            for name, judge in line["judges"].items()
        }
        lines.append({k: v for k, v in line.items() if k not in ("seconds", "usd", "calls")} | {"judges": judges})
    return lines


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the files of weights in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def facts_of(checkpoint: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((checkpoint / "checkpoint.json").read_text())["facts"]
    return {key: value for key, value in facts.items() if key not in ("args", "spent")}


def assert_same_run(place: Place, output: str, expected: str) -> None:
    """Assert that a run ended as another one did: weights, Adam's state, value head, metrics, bit for bit."""
    assert same_metrics(place.metrics(output)) == same_metrics(place.metrics(expected))
    ours, theirs = place.folder / output, place.folder / expected
    last = place.checkpoints(expected)[-1]
    assert place.checkpoints(output)[-1] == last
    for part in ("model", f"checkpoints/{last}"):
        assert bytes_of(theirs / part)
        assert bytes_of(ours / part) == bytes_of(theirs / part), part
    assert facts_of(ours / "checkpoints" / last) == facts_of(theirs / "checkpoints" / last)
