"""
A run from its first measurement to its last: killed, interrupted or out of disk in each phase, it ends as undisturbed.

Real processes. What has to be the same, bit for bit: the weights that are kept, the looks of the guard, each line of
metrics but for clocks, and evaluation.json.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import processes
from tests.conftest import one_line
from tests.events import At
from tests.remote import card_of, environment
from tests.runs import Place, Run, assert_same_run, at, bytes_of, place, ranks

HELD_OUT = {"adapter": "random", "name": "held"}
SECTIONS: dict[str, Any] = {
    "guard": {
        "judges": [HELD_OUT], "every": 2, "distinct_2": 0.0, "length": [0.0, 99.0], "perplexity": [0.0, 99.0],
        "score_drop": 1.0, "follow": 0.0,
    },
    "evaluation": {"judges": [{"adapter": "length", "name": "words", "unit": "characters"}], "num_prompts": 4},
    "checkpoints": {"every": 3},
    "training": {"steps": 5},
}  # fmt: skip
SETTINGS = {"llama": {}, "t5": {"policy": {"lora": {"r": 4, "alpha": 8}}}}


@pytest.fixture(scope="session")
def places(tmp_path_factory) -> dict[str, Place]:
    """A causal and a seq2seq run with a guard that nothing disturbed, in `undisturbed`."""
    made = {}
    for architecture, sections in SETTINGS.items():
        folder = tmp_path_factory.mktemp(f"run-{architecture}")
        made[architecture] = place(folder, architecture, prompts=20, **SECTIONS, **sections)
        done = made[architecture].train("--output", "undisturbed")
        assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def causal(places: dict[str, Place]) -> Place:
    return places["llama"]


@pytest.fixture
def output(places: dict[str, Place]):
    name = f"run-{time.monotonic_ns()}"
    yield name
    for made in places.values():
        shutil.rmtree(made.folder / name, ignore_errors=True)


def told(made: Place, output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.folder / output / "evaluation.json").read_text())
    return found


def samples(made: Place, output: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (made.folder / output / "samples.jsonl").read_text().splitlines()]
    for row in rows:
        for side in filter(None, (row["before"], row["after"])):
            for judgement in side["judgements"].values():
                del judgement["usage"]
    return rows


def assert_same(made: Place, output: str, expected: str = "undisturbed") -> None:
    """Assert that a run ended as another one did."""
    assert_same_run(made, output, expected)
    ours, theirs = made.folder / output, made.folder / expected
    assert (ours / "guard.jsonl").read_bytes() == (theirs / "guard.jsonl").read_bytes()
    assert bytes_of(ours / "best") == bytes_of(theirs / "best")
    assert told(made, output) == told(made, expected)
    assert samples(made, output) == samples(made, expected)


def resumed(made: Place, output: str) -> subprocess.CompletedProcess[str]:
    done = made.train("--resume", "--output", output)
    assert done.returncode == 0, done.stderr
    return done


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of what ended a run."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]
    assert "Traceback" not in done.stderr
    return line


def test_what_is_compared_could_differ(places):
    for made in places.values():
        found = told(made, "undisturbed")
        looks = [json.loads(line) for line in (made.folder / "undisturbed/guard.jsonl").read_text().splitlines()]
        assert [look["step"] for look in looks] == [0, 2, 4, 5]
        assert len({look["score"] for look in looks}) == 4
        assert (found["steps"], found["seed"]) == (5, 0)
        assert found["kept_step"] == max(looks, key=lambda look: look["score"])["step"]
        assert {name: (j["role"], j["used_for_selection"], j["n"]) for name, j in found["judges"].items()} == {
            "toy": ("training", False, 4), "held": ("held_out", True, 4), "words": ("held_out", False, 4),
        }  # fmt: skip


# --- kill -9 --------------------------------------------------------------------------------------------------


def after_step(step: int, updates: int = 4) -> At:
    """Return the end of the updates of a step: a look, if one is due, comes next, and then the line of metrics."""
    return At("optimizer", n=step * updates, when="after")


MODEL_IS_WRITTEN = At("open", "model/*")
MOMENTS = {
    "after the measurement before, unwritten": At("rename", "samples.jsonl"),
    "after the measurement before": At("rename", "samples.jsonl", when="after"),
    "between the weights of the first look and its line": At("rename", "best/step-000000.safetensors", when="after"),
    "in a look": At("forward", n=4, since=after_step(2)),
    "between the weights of a look and its line": At("rename", "guard.jsonl", n=2),
    "between a look and the line of metrics": At("append", "metrics.jsonl", n=4),
    "between the last look and its checkpoint": At("append", "metrics.jsonl", n=5, when="after"),
    "before the best weights are put back": At("rename", "checkpoints/step-000005", when="after"),
    "in the measurement after": At("forward", n=4, since=MODEL_IS_WRITTEN),
    "between the samples and the numbers": At("rename", "samples.jsonl", n=2, when="after"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_a_named_moment_ends_as_the_undisturbed_one(moment, causal, output):
    killed = causal.train("--output", output, meddle=at(MOMENTS[moment], "kill"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed(causal, output)
    assert_same(causal, output)


@pytest.mark.parametrize("moment", ["in a look", "before the best weights are put back"])
def test_so_does_a_seq2seq_model_with_lora(moment, places, output):
    killed = places["t5"].train("--output", output, meddle=at(MOMENTS[moment], "kill"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed(places["t5"], output)
    assert_same(places["t5"], output)


def test_a_run_killed_at_random_moments_again_and_again_ends_as_the_undisturbed_one(causal, output):
    draw, kills = random.Random(5), 0
    for attempt in range(5):
        run = causal.start(*(["--resume"] if attempt else []), "--output", output)
        while "prompts to train on" not in run.stderr and run.is_alive:
            time.sleep(0.005)
        run.join(draw.uniform(0.0, 1.0))
        if run.is_alive:
            run.signal(signal.SIGKILL)
        done = run.ended()
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode != 0
    resumed(causal, output)
    assert kills
    assert_same(causal, output)


# --- Ctrl-C and SIGTERM -----------------------------------------------------------------------------------------

INTERRUPTED = {
    "the measurement before": (
        "interrupt", At("forward", since=At("append", "environment.jsonl")),
        "nothing was trained yet; --resume goes on",
    ),
    "the first look": (
        "terminate", At("forward", since=At("rename", "samples.jsonl")),
        "step 0 is kept in {}/checkpoints; --resume goes on from it",
    ),
    "training": (
        "interrupt", At("forward", since=At("append", "metrics.jsonl")),
        "step 1 is kept in {}/checkpoints; --resume goes on from it",
    ),
    "a look": (
        "terminate", At("forward", since=after_step(2)), "step 2 is kept in {}/checkpoints; --resume goes on from it",
    ),
    "the last look": (
        "interrupt", At("forward", since=after_step(5)), "step 5 is kept in {}/checkpoints; --resume goes on from it",
    ),
    "the measurement after": (
        "terminate", At("forward", since=MODEL_IS_WRITTEN), "the trained model is in {}/model; --resume measures it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("phase", INTERRUPTED)
def test_an_interrupted_run_says_what_is_kept_and_ends_as_the_undisturbed_one(phase, causal, output):
    how, moment, kept = INTERRUPTED[phase]
    done = causal.train("--output", output, meddle=at(moment, how))
    assert done.returncode == 130, done.stderr
    line = said(done)
    assert line.startswith("rlaif: interrupted: ")
    assert kept.format(output) in line
    resumed(causal, output)
    assert_same(causal, output)


def test_a_signal_while_the_model_is_written_ends_the_run_before_it_is_measured(causal, output):
    done = causal.train("--output", output, meddle=at(MODEL_IS_WRITTEN, "interrupt"))
    assert done.returncode == 130, done.stderr
    assert f"the trained model is in {output}/model; --resume measures it" in said(done)
    assert bytes_of(causal.folder / output / "model") == bytes_of(causal.folder / "undisturbed" / "model")
    assert not (causal.folder / output / "evaluation.json").exists()
    resumed(causal, output)
    assert_same(causal, output)


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_a_signal_before_anything_was_done_ends_the_run_as_one_that_comes_later(how, causal, output):
    done = causal.train("--output", output, meddle=at(At("mkdir", output, when="after"), how))
    assert (done.returncode, said(done)) == (130, "rlaif: interrupted"), done.stderr
    assert causal.train("--output", output).returncode == 0, "the folder is not taken"


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_a_signal_while_the_page_is_written_costs_nothing_and_a_second_one_says_what_is_kept(how, causal, output):
    signalled = at(At("open", ".report.html.*"), how)
    done = causal.train("--output", output, meddle=signalled)
    assert done.returncode == 0, done.stderr
    assert (causal.folder / output / "report.html").exists()
    done = causal.train("--output", output, "--resume", meddle=signalled * 2)
    assert done.returncode == 130
    assert f"the numbers are in {output}/evaluation.json; `rlaif report {output}` writes the page" in said(done)


# --- a full disk ------------------------------------------------------------------------------------------------

DISKS = {
    "the samples before": (At("open", ".samples.jsonl.*"), "samples.jsonl"),
    "the weights of the first look": (At("open", "best/*"), "step-000000"),
    "the line of a look": (At("open", ".guard.jsonl.*", n=2), "step-000002"),
    "the line of metrics": (At("open", "metrics.jsonl", n=2), "step-000002"),
    "a checkpoint": (At("open", "checkpoints/*"), "step-000003"),
    "the samples after": (At("open", ".samples.jsonl.*", n=2), "samples.jsonl"),
    "the numbers": (At("open", ".evaluation.json.*"), "evaluation.json"),
}
"""What it is that does not fit, and the file that is named: what was to be kept did not fit either."""


@pytest.mark.parametrize("what", DISKS)
def test_a_full_disk_is_one_line_that_names_the_file_and_the_run_goes_on_when_there_is_space(what, causal, output):
    moment, file = DISKS[what]
    done = causal.train("--output", output, meddle=at(moment, "fill_disk"))
    assert done.returncode == 1, done.stderr
    line = said(done)
    assert "cannot be written: No space left on device" in line
    assert "free space" in line
    assert file in line
    resumed(causal, output)
    assert_same(causal, output)


def test_a_full_disk_while_the_model_is_written_is_one_line_and_the_checkpoint_is_kept(causal, output):
    done = causal.train("--output", output, meddle=at(At("mkdir", "model"), "limit_files(9000)"))
    assert done.returncode == 1, done.stderr
    assert f"{output}/model: the model cannot be written: " in said(done)
    assert f"step 5 is kept in {output}/checkpoints; --resume goes on from it" in said(done)
    resumed(causal, output)
    assert_same(causal, output)


# --- judges that are far away -------------------------------------------------------------------------------------


def far(made: Place, server: Any, name: str, **sections: Any) -> tuple[str, dict[str, str]]:
    """Write a run file whose held-out judge is remote; return its name and the environment."""
    judge = {**card_of(server, timeout=1.0, total_timeout=0.5), "name": "far"}
    made.write(
        f"{name}.yaml", evaluation={"judges": [judge], "num_prompts": 4}, guard={"judges": []},
        **{"training": {"steps": 1, "judge_patience": 0.0}, **sections},
    )  # fmt: skip
    return f"{name}.yaml", environment(made.folder / f"home-{name}")


@pytest.mark.parametrize(
    ("calls", "kept"), [(0, "nothing was trained yet"), (4, "the trained model is in {}/model; --resume measures it")]
)
def test_a_held_out_judge_that_is_down_ends_the_run_with_what_is_kept_and_it_goes_on(
    calls, kept, causal, output, server
):
    file, env = far(causal, server, output)
    count = {"n": 0}

    def behaviour(request: Any) -> str:
        count["n"] += 1
        return "ok" if count["n"] <= calls else "error_503"

    server.behaviour = behaviour
    done = Run(causal.folder, ["train", file, "--output", output], env, "").ended()
    assert done.returncode == 1, done.stderr
    assert "judge far stayed down for 0 s" in said(done)
    assert kept.format(output) in said(done)
    server.behaviour = "ok"
    done = Run(causal.folder, ["train", file, "--resume", "--output", output], env, "").ended()
    assert done.returncode == 0, done.stderr
    assert told(causal, output)["judges"]["far"]["n"] >= 1


def test_a_spent_budget_ends_the_measurement_and_a_larger_one_goes_on(causal, output, server):
    file, env = far(causal, server, output)
    arguments = ["train", file, "--output", output]
    done = Run(causal.folder, [*arguments, "--set", "budget.calls=1"], env, "").ended()
    assert done.returncode == 1, done.stderr
    assert "the budget is spent; nothing was trained yet; --resume goes on" in said(done)
    assert len(server.calls) == 1
    done = Run(causal.folder, [*arguments, "--resume", "--set", "budget.calls=4"], env, "").ended()
    assert done.returncode == 1, done.stderr
    assert "the budget is spent; the trained model is in" in said(done)
    assert len(server.calls) == 4
    done = Run(causal.folder, [*arguments, "--resume", "--set", "budget.calls=20"], env, "").ended()
    assert done.returncode == 0, done.stderr
    assert len(server.calls) <= 8


# --- several processes --------------------------------------------------------------------------------------------


def together(made: Place, *arguments: str, **of: str) -> list[subprocess.CompletedProcess[str]]:
    runs = [made.start(*arguments, env=rank, meddle=of.get(f"rank{i}", "")) for i, rank in enumerate(ranks())]
    try:
        return [run.ended() for run in runs]
    finally:
        for run in runs:
            run.process.kill()


def test_two_processes_measure_each_prompt_once_and_go_on_after_a_signal_to_one_of_them(causal, output):
    expected = f"{output}-expected"
    done = together(causal, "--output", expected)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    rows = samples(causal, expected)
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in samples(causal, "undisturbed")]
    assert all(row["after"]["judgements"].keys() == {"toy", "held", "words"} for row in rows)
    assert done[0].stderr.count("the model is in") == 1
    assert done[1].stderr == ""
    done = together(causal, "--output", output, rank1=at(INTERRUPTED["a look"][1], "interrupt"))
    assert [one.returncode for one in done] == [1, 130], [one.stderr for one in done]
    done = together(causal, "--resume", "--output", output)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert_same(causal, output, expected)


# --- what is wrong is told before it costs ------------------------------------------------------------------------

WRONG = {
    "no judge of the guard": (["--set", "guard.judges=[nope]"], "no judge named 'nope'"),
    "no model of a judge of the guard": (
        ["--set", "guard.judges=[{adapter: classifier, model: ./nope, bad: hate}]"], "there is no model folder",
    ),
    "no judge of the evaluation": (["--set", "evaluation.judges=[nope]"], "no judge named 'nope'"),
    "two of one name": (["--set", "guard.judges=[{adapter: length, name: words}]"], "two judges are named 'words'"),
    "a test part that is empty": (["--set", "data.limit=4"], "0 for the test"),
    "a guard part that is empty": (["--set", "data.limit=9"], "0 for the guard"),
    "a band that is none": (["--set", "guard.length=[2, 1]"], "guard: length should be a band"),
    "a column that only the guard reads": (
        ["--set", "guard.judges=[{adapter: python, function: './gold.py:judge'}]"], "needs the column 'gold'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line_before_a_model_loads(what, causal, main, monkeypatch):
    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("rlaif.training.run.run.load", loaded)
    monkeypatch.chdir(causal.folder)
    (causal.folder / "gold.py").write_text("def judge(completions, gold):\n    return [0.5 for _ in completions]\n")
    arguments, words = WRONG[what]
    done = main("train", "run.yaml", "--output", "never", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in one_line(done)
    assert not (causal.folder / "never").exists()


def test_a_folder_that_holds_a_run_is_refused_with_the_two_ways_on(causal, main, monkeypatch):
    monkeypatch.chdir(causal.folder)
    line = one_line(main("train", "run.yaml", "--output", "undisturbed"))
    assert "--resume" in line
    assert "--output" in line


def test_what_the_guard_has_to_go_on_from_is_missing(causal, output, main, monkeypatch):
    monkeypatch.chdir(causal.folder)
    shutil.copytree("undisturbed", output)
    Path(output, "guard.jsonl").unlink()
    done = main("train", "run.yaml", "--resume", "--output", output)
    assert done.returncode == 2, done.stderr
    assert "what the guard saw before step 5" in done.stderr
    assert "--resume goes on" not in done.stderr


# --- what is said -------------------------------------------------------------------------------------------------

WARNINGS = {
    "no judge is held out": ["--set", "guard.judges=[]", "--set", "evaluation.judges=[]"],
    "nothing guards the training": ["--set", "guard.judges=[]"],
    "no judge of the guard is held out": ["--set", "guard.judges=[{adapter: classifier, model: ./judge, bad: hate, "
                                          "name: toy}]"],
    "both is not held out": ["--set", "evaluation.judges=[{adapter: panel, name: both, judges: [length, {adapter: "
                             "classifier, model: ./judge, good: nothate, name: toy}]}]"],
}  # fmt: skip


@pytest.mark.parametrize("warning", WARNINGS)
def test_a_measurement_that_proves_little_is_told_before_training(warning, causal, output):
    done = causal.train("--output", output, "--set", "training.steps=1", *WARNINGS[warning])
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    (place_of,) = [i for i, line in enumerate(lines) if line.startswith("warning: ") and warning in line]
    assert place_of < next(i for i, line in enumerate(lines) if line.startswith("measuring"))
    assert told(causal, output)["answer"].startswith("no evidence") == (warning == "no judge is held out")


def test_the_training_judge_under_another_name_is_refused_before_anything_is_made(causal, output):
    shutil.copytree(causal.folder / "judge", causal.folder / "copied", dirs_exist_ok=True)
    card = "{adapter: classifier, model: ./copied, bad: hate, text: prompt_and_completion, name: alias}"
    done = causal.train("--output", output, "--set", f"evaluation.judges=[{card}]")
    assert done.returncode == 2
    assert "evaluation.judges: alias is toy under another name, which is learned from" in done.stderr
    assert not (causal.folder / output).exists()


def test_a_run_ends_with_its_numbers_three_pairs_the_answer_and_the_lines_that_load_the_model(causal, output):
    done = causal.train("--output", output)
    lines = done.stderr.splitlines()
    assert sum(line.startswith("before  ") for line in lines) == 3
    assert sum(line.startswith("after   ") for line in lines) == 3
    assert told(causal, output)["answer"] in lines
    for row in ("toy", "held", "words", "reference perplexity", "distinct-2", "tokens per completion"):
        assert any(line.startswith(row) for line in lines), row
    assert lines[-3:] == [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        f"model = AutoModelForCausalLM.from_pretrained('{output}/model')",
        f"tokenizer = AutoTokenizer.from_pretrained('{output}/model')",
    ]


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("llama", {}),
    "seq2seq": ("t5", {"lora": None}),
    "lora": ("llama", {"lora": {"r": 4, "alpha": 8}}),
    "seq2seq-lora": ("t5", {}),
    "merged": ("llama", {"lora": {"r": 4, "alpha": 8}, "merge": True}),
}

SUM = """
given = tokenizer("ask 3?", return_tensors="pt")
decoder = {"decoder_input_ids": given["input_ids"]} if model.config.is_encoder_decoder else {}
sums.append(float(model.eval()(**given, **decoder).logits.detach().double().sum()))
"""


def test_the_printed_lines_load_the_trained_model_in_a_fresh_process(places, output):
    """All kinds in one process."""
    from rlaif.policy.loading import load

    script, trained, untrained = ["import os", "sums = []"], [], []
    for kind, (architecture, keys) in MODELS.items():
        made, name = places[architecture], f"{output}-{kind}"
        made.write(
            f"{name}.yaml", policy=keys, guard={"judges": []}, evaluation={"judges": [], "num_prompts": 1},
            training={"steps": 2, "learning_rate": 0.01},
        )  # fmt: skip
        done = Run(made.folder, ["train", f"{name}.yaml", "--output", name], {}, "").ended()
        assert done.returncode == 0, done.stderr
        assert (made.folder / name / "model" / "adapter_config.json").exists() == ("lora" in kind)
        script += [f"os.chdir({str(made.folder)!r})", *done.stderr.splitlines()[-3:], SUM]
        with contextlib.chdir(made.folder):
            for folder, sums in ((f"{name}/model", trained), ("policy", untrained)):
                loaded = load(str(Path(folder).absolute()), dtype="float32")
                exec(SUM, {"model": loaded.model, "tokenizer": loaded.tokenizer, "sums": sums})
    fresh = processes.run(["-c", "\n".join([*script, "print(sums)"])], text=True, timeout=300)
    assert fresh.returncode == 0, fresh.stderr
    found = json.loads(fresh.stdout)
    assert found == pytest.approx(trained, rel=1e-4)
    for one, other in zip(found, untrained, strict=True):
        assert abs(one - other) > 1e-3 * abs(other)


def test_run_yaml_holds_the_sections_of_measuring(causal):
    written = yaml.safe_load((causal.folder / "undisturbed" / "run.yaml").read_text())
    assert written["guard"]["every"] == 2
    assert written["guard"]["judges"] == [HELD_OUT]
    assert written["evaluation"]["num_prompts"] == 4
