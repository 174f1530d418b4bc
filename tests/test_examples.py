"""The scripts in examples/ run as they are, with tiny models and judges that are in the package."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "examples"
COMMENTS = str(FOLDER / "comments.jsonl")
LINES_OF_A_PAGE = 70


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a script as `python NAME ARGUMENTS` does, and returns the lines that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAIF_HOME", str(tmp_path / "home"))

    def script(name: str, *arguments: str) -> list[str]:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return script


def test_a_file_is_scored_and_its_worst_comments_are_printed(run):
    statuses, *worst = run("score_a_file.py", COMMENTS, "--judge", "lexicon", "--worst", "2")
    assert statuses == "statuses: {'ok': 8}"
    labels = {row["completion"]: row["label"] for row in map(json.loads, Path(COMMENTS).read_text().splitlines())}
    assert [labels[line[7:]] for line in worst] == ["toxic", "toxic"]


def test_judges_are_swapped_by_name_and_an_abstention_is_printed_as_one(run):
    header, kind, rude, _, blank = run("swap_judges.py", "lexicon", "{adapter: length, midpoint: 5}")
    assert header.split() == ["text", "lexicon", "length"]
    assert float(kind.split()[-2]) > float(rude.split()[-2])
    assert blank.split()[1] == "empty"


def test_a_judge_of_ones_own_scores_by_its_card(run):
    lines = run("judge_of_your_own.py")
    assert [line.split()[:2] for line in lines] == [["1.0", "ok"], ["0.0", "ok"], ["None", "declined"]]


def test_a_judge_of_ones_own_serves_the_command_too(main):
    card = json.dumps({"adapter": f"{FOLDER / 'judge_of_your_own.py'}:make", "name": "mine", "most": 2})
    done = main("score", "-j", card, "--text", "Only three words.")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["score"] == 0.0


def test_judges_are_ranked_by_their_agreement_with_labels(run):
    lines = run("benchmark_judges.py", COMMENTS, "lexicon", "--output", "bench")
    ranked = [line.split()[0] for line in lines if " AUROC " in line]
    assert ranked[0] == "lexicon"
    assert set(ranked) == {"lexicon", "constant", "random", "length"}
    assert Path("bench/bench.json").exists()


def test_a_model_is_trained_against_one_judge_and_measured_by_another(run, policy_folder):
    judges = ("--judge", "length", "--held-out", "lexicon")
    size = ("--steps", "2", "--batch-size", "4")
    lines = run("detoxify.py", "--model", str(policy_folder("flan_t5")), "--prompts", COMMENTS, *judges, *size)
    assert [line.split(":")[0] for line in lines if line.startswith("step ")] == ["step 1", "step 2"]
    assert "lexicon" in lines[-1]
    assert Path("runs/detoxify/model").is_dir()


def test_trl_trains_against_a_judge(run, policy_folder):
    model = str(policy_folder("llama"))
    lines = run("rewards_for_trl.py", "--model", model, "--prompts", COMMENTS, "--judge", "length", "--steps", "1")
    assert any("rewards/length/mean" in line and "rewards/brevity/mean" in line for line in lines)
    assert Path("runs/grpo/model.safetensors").exists()


def test_every_example_is_tested_listed_and_fits_on_a_page():
    names = {path.name for path in FOLDER.glob("*.py")}
    tests = Path(__file__).read_text()
    assert names
    assert [name for name in names if f'"{name}"' not in tests] == []
    assert [name for name in names if f"]({name})" not in (FOLDER / "README.md").read_text()] == []
    lengths = {name: len((FOLDER / name).read_text().splitlines()) for name in names}
    assert {name: length for name, length in lengths.items() if length > LINES_OF_A_PAGE} == {}
