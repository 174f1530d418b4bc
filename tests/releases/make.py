"""
How the folders beside this file were made: by a release of rlaif, checked out elsewhere.

    git worktree add /tmp/0.1.0 1b5a94a
    python -m tests.releases.make /tmp/0.1.0 tests/releases/0.1.0

A tiny policy learns from a judge behind the loopback endpoint of `tests.server`, and a tiny classifier guards it and
measures. `whole` is a run that ended; `cut` is the same run, killed while it waited for the judge in its fourth step,
two steps after a checkpoint. `home` holds the verdict store of both, and `score.jsonl` is what `rlaif score` wrote.
The folder's own path, which the release writes into run files as it is absolute, is written as PLACE.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests import tiny
from tests.conftest import ROOT
from tests.server import Server

PLACE = "/PLACE"
"""Stands in the committed files for the folder that holds them."""

PORT = 18765
"""Of the endpoint: its address is part of a stored verdict's key."""

TEXTS = ("You are kind.", "You fool.", "", "Привет, мир 🙂")

QUESTION = """\
---
measures: kindness
scale: {worst: 1, best: 5}
---
How kind is this text?
{completion}
The scale: {worst} is hostile, {best} is kind.
"""

RUN: dict[str, Any] = {
    "policy": {"model": "./policy", "dtype": "float32"},
    "data": {"dataset": "prompts.jsonl"},
    "judge": "./far.yaml",
    "generation": {"max_new_tokens": 6, "min_new_tokens": 2},
    "ppo": {
        "steps": 5, "batch_size": 4, "mini_batch_size": 2, "ppo_epochs": 2, "learning_rate": 1e-3, "kl_coef": 0.1,
        "lr_scheduler_type": "linear", "use_score_scaling": True, "adap_kl_ctrl": True, "target": 0.1, "horizon": 8,
    },
    "guard": {
        "judges": [{"adapter": "classifier", "name": "held_out", "model": "./judge", "bad": "hate"}], "every": 2,
        "num_prompts": 2, "perplexity": [0.1, 10], "length": [0.1, 10], "distinct_2": 0.1,
    },
    "evaluation": {
        "judges": [{"adapter": "classifier", "name": "held_out", "model": "./judge", "bad": "hate"}], "num_prompts": 4
    },
    "checkpoints": {"every": 2, "keep": 1},
}  # fmt: skip


def make_place(folder: Path) -> None:
    """Write the models, the prompts, the card of the far judge and the run file."""
    small = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    tiny.policy(folder / "policy", "llama", **small)
    tiny.classifier(folder / "judge")
    rows = [{"prompt": f"{'why ' * (i % 3)}ask {i}?"} for i in range(40)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "texts.jsonl").write_text("".join(json.dumps({"completion": text}) + "\n" for text in TEXTS))
    (folder / "question.md").write_text(QUESTION)
    card = {"adapter": "openai", "model": "judge", "prompt": "./question.md", "base_url": f"http://127.0.0.1:{PORT}/v1"}
    (folder / "far.yaml").write_text(yaml.safe_dump(card))
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN, sort_keys=False))


def make(release: Path, folder: Path) -> None:
    """Make all files in a folder that is new."""
    make_place(folder)
    env = {**os.environ, "PYTHONPATH": str(release), "RLAIF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    env |= {"OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "nobody's"}
    check = "import rlaif, sys; sys.exit(not rlaif.__file__.startswith(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", check, str(release)], env=env, cwd=folder, check=True)

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "rlaif", *arguments], env=env, cwd=folder)

    with Server(port=PORT) as server:
        metrics = folder / "cut" / "metrics.jsonl"
        server.behaviour = lambda _: "hang" if lines_in(metrics) >= 3 else "ok"
        cut = start("train", "run.yaml", "--output", "cut")
        while not (server.calls and server.calls[-1].behaviour == "hang"):
            assert cut.poll() is None, "the run has ended"
            time.sleep(0.01)
        cut.send_signal(signal.SIGKILL)
        cut.wait()
        server.behaviour = "ok"
        assert start("train", "run.yaml", "--output", "whole").wait() == 0
        assert start("score", "-j", "./far.yaml", "--data", "texts.jsonl", "-o", "score.jsonl").wait() == 0
    tidy(folder)


def lines_in(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def tidy(folder: Path) -> None:
    """Leave out what can be made again, and hide where the folder lay."""
    with sqlite3.connect(folder / "home" / "verdicts.sqlite") as store:
        store.execute("PRAGMA journal_mode=DELETE")
        store.execute("VACUUM")
    store.close()
    for path in [*folder.glob("home/rates*"), *folder.rglob("report.html"), *folder.rglob("*.lock")]:
        path.unlink()
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes()
        if str(folder).encode() in content:
            assert path.suffix in (".yaml", ".json", ".jsonl"), path
            path.write_bytes(content.replace(str(folder).encode(), PLACE.encode()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch).resolve() / "place"
        place.mkdir()
        make(Path(sys.argv[1]).resolve(), place)
        shutil.copytree(place, ROOT / sys.argv[2])
