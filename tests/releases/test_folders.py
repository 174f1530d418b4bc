"""Folders, run files and verdict stores that 0.1.0 has written are read: `make.py` says how they were made."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.releases.make import PLACE, PORT
from tests.runs import same_metrics
from tests.server import Server

TOLERANCE = 1e-3
"""Of numbers that another processor computes, a share; a step in float32 is exact to some 1e-5."""

DRAWN = [3.508326, 1.230385, 0.615044, 2.535119]
"""What torch drew where the folders were made, as it draws to sample tokens; from the seed 0."""

LONGER = "{adapter: length, name: longer, unit: characters}"


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what 0.1.0 has left, in the working directory."""
    shutil.copytree(Path(__file__).parent / "0.1.0", tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "cut" / "run.yaml", tmp_path / "whole" / "run.yaml"):
        text = path.read_text()
        assert PLACE in text
        path.write_text(text.replace(PLACE, str(tmp_path)))
    monkeypatch.setenv("RLAIF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "nobody's")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def far() -> Iterator[Server]:
    """What listens at the judge's address, one test at a time, and counts who asks."""
    deadline = time.monotonic() + 120
    while True:
        try:
            server = Server(port=PORT)
            break
        except OSError:
            assert time.monotonic() < deadline, f"port {PORT} is taken"
            time.sleep(0.1)
    with server:
        yield server


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def told(folder: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return numbers


def close_to(value: Any) -> Any:
    """Return what compares floats within the tolerance, and all else exactly."""
    if isinstance(value, dict):
        return {key: close_to(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [close_to(inner) for inner in value]
    return pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE) if type(value) is float else value


def test_a_report_shows_the_numbers_of_a_run_of_0_1_0_under_the_names_of_today(released, main):
    done = main("report", "whole", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    page = (released / "page.html").read_text()
    its = told(released / "whole")["judges"]["held_out"]
    for side in ("before", "after"):
        assert f"{its[side]['score']['mean']:.3f}" in page
    assert "training.batch_size" in page
    assert "ppo.target" in page
    assert "cannot be read" not in page


def test_the_report_of_a_run_that_0_1_0_has_not_finished_says_how_far_it_came(released, main):
    done = main("report", "cut", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    assert "3 of 5" in (released / "page.html").read_text()


def test_a_run_of_0_1_0_is_measured_by_a_further_judge_and_its_numbers_stay(released, main):
    before = told(released / "whole")
    done = main("evaluate", "whole", "-j", LONGER, "-o", "measured")
    assert done.returncode == 0, done.stderr
    after = told(released / "measured")
    assert after["judges"].keys() == {*before["judges"], "longer"}
    for name, numbers in before["judges"].items():
        # A card of a language model did not say in 0.1.0 what it measures.
        others = {"p_adjusted": None, "measures": None}
        assert {**after["judges"][name], **others} == {**numbers, **others}, name
    assert after["kl_nats_per_sequence"] == before["kl_nats_per_sequence"]


def test_a_verdict_that_0_1_0_has_stored_is_found_and_nobody_is_called(released, main, far):
    done = main("score", "-j", "./far.yaml", "--data", "texts.jsonl", "-o", "again.jsonl")
    assert done.returncode == 0, done.stderr
    found, before = rows(released / "again.jsonl"), rows(released / "score.jsonl")
    assert [row["status"] for row in found] == ["ok", "ok", "empty", "ok"]
    assert [row["usage"]["from_store"] for row in found if row["status"] == "ok"] == [True] * 3
    for key in ("completion", "score", "raw", "status", "reason"):
        assert [row[key] for row in found] == [row[key] for row in before], key
    assert far.calls == []


def test_a_text_that_0_1_0_has_not_judged_is_asked_about(released, main, far):
    (released / "texts.jsonl").write_text('{"completion": "You are kind."}\n{"completion": "Somebody else says so."}\n')
    done = main("score", "-j", "./far.yaml", "--data", "texts.jsonl", "-o", "again.jsonl")
    assert done.returncode == 0, done.stderr
    assert [row["usage"]["from_store"] for row in rows(released / "again.jsonl")] == [True, False]
    assert len(far.calls) == 1


def test_a_run_that_0_1_0_began_is_resumed_to_its_end_and_no_stored_verdict_is_asked_for(released, main, far):
    """Its weights end elsewhere than in 0.1.0, whose log-probabilities took in the ends that sampling had blocked."""
    draw = torch.empty(4).exponential_(generator=torch.Generator().manual_seed(0))
    if draw.tolist() != pytest.approx(DRAWN, rel=1e-5):
        pytest.skip("torch draws other tokens on this processor, so that no other one's run can be gone on with")
    before = rows(released / "cut" / "metrics.jsonl")
    assert len(before) == 3
    done = main("train", "run.yaml", "--resume", "--output", "cut", "--set", "ppo.judge_patience=1")
    assert done.returncode == 0, done.stderr
    cut, whole = released / "cut", released / "whole"
    lines, its_lines = rows(cut / "metrics.jsonl"), rows(whole / "metrics.jsonl")
    assert [(line["step"], line["samples"]) for line in lines] == [
        (line["step"], line["samples"]) for line in its_lines
    ]
    assert same_metrics(lines[:2]) == close_to(same_metrics(its_lines[:2]))  # those before its checkpoint
    assert lines[2]["reward_mean"] == close_to(its_lines[2]["reward_mean"])  # the first batch of the same weights
    ours, theirs = told(cut), told(whole)
    assert (ours["steps"], ours["judges"].keys()) == (theirs["steps"], theirs["judges"].keys())
    for name, numbers in theirs["judges"].items():
        assert ours["judges"][name]["before"] == close_to(numbers["before"]), name
    mine, its = (load_file(folder / "model" / "model.safetensors") for folder in (cut, whole))
    assert {name: tensor.shape for name, tensor in mine.items()} == {name: t.shape for name, t in its.items()}


def test_one_line_says_of_a_resumed_run_which_keys_have_an_old_name_and_the_folder_has_the_new_ones(
    released, main, far
):
    done = main("train", "run.yaml", "--resume", "--output", "cut")
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "old name" in line]
    old = ["steps", "batch_size", "mini_batch_size", "learning_rate", "lr_scheduler_type"]
    was, now = (", ".join(f"{section}.{key}" for key in old) for section in ("ppo", "training"))
    assert notes == [f"note: run.yaml: {was} are the old names of {now}"]
    written = yaml.safe_load((released / "cut" / "run.yaml").read_text())
    assert written["training"]["batch_size"] == 4
    assert not {"steps", "batch_size"} & written["ppo"].keys()


def test_a_setting_that_a_run_of_0_1_0_had_otherwise_is_named_by_its_name_of_today(released, main):
    done = main("train", "run.yaml", "--resume", "--output", "cut", "--set", "ppo.learning_rate=0.1")
    assert done.returncode == 2
    assert "its run has training.learning_rate: 0.001, not 0.1" in done.stderr
