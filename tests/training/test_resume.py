"""
A run that is killed or interrupted at any moment, and resumed, ends as if nothing had happened.

Real processes, really killed. What is compared is bit for bit: the weights that are kept, Adam's state, and each line
of metrics but for clocks, cost and store hits.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time

import pytest

from rlaif.training.loop.checkpoint.checkpoint import TrainingState, newest, save
from tests.conftest import one_line
from tests.events import At
from tests.remote import card_of, environment
from tests.runs import Place, Run, assert_same_run, at, place, same_metrics

SETTINGS = {
    "llama": {"ppo": {"use_score_scaling": True, "use_score_norm": True}},
    "t5": {
        "policy": {"lora": {"r": 4, "alpha": 8}},
        "training": {"lr_scheduler_type": "linear"},
        "ppo": {"adap_kl_ctrl": True, "target": 0.1, "horizon": 8},
    },
}


@pytest.fixture(scope="session")
def places(tmp_path_factory) -> dict[str, Place]:
    """A causal and a seq2seq run that nothing disturbed, in `undisturbed`."""
    made = {}
    for architecture, sections in SETTINGS.items():
        made[architecture] = place(tmp_path_factory.mktemp(architecture), architecture, **sections)
        done = made[architecture].train("--output", "undisturbed")
        assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def causal(places: dict[str, Place]) -> Place:
    return places["llama"]


@pytest.fixture
def output(request, places: dict[str, Place]):
    """A name for a run's folder, removed at the end."""
    name = f"run-{time.monotonic_ns()}"
    yield name
    for made in places.values():
        shutil.rmtree(made.folder / name, ignore_errors=True)


def resumed(made: Place, output: str, *arguments: str) -> str:
    done = made.train("--resume", "--output", output, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_undisturbed_runs_learn_and_steer_so_that_what_is_compared_could_differ(places):
    for made in places.values():
        lines = made.metrics("undisturbed")
        assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
        assert lines[-1]["kl"] > 0.001
        assert made.checkpoints("undisturbed") == ["step-000004", "step-000006"]
    facts = {
        name: json.loads((made.folder / "undisturbed/checkpoints/step-000006/checkpoint.json").read_text())["facts"]
        for name, made in places.items()
    }
    assert facts["llama"]["moments"]["count"] == 24
    assert facts["t5"]["kl_coef"] != 0.05


# --- kill -9 --------------------------------------------------------------------------------------------------

# A step makes four optimizer steps, and every second one writes a checkpoint.
JUDGE = "RobertaForSequenceClassification"
MODEL_IS_WRITTEN = At("open", "model/*")
MOMENTS = {
    "while a completion is written": At("forward", n=4, since=At("append", "metrics.jsonl", n=3)),
    "before the judge is asked": At("forward", JUDGE, since=At("append", "metrics.jsonl", n=3)),
    "after the judge has answered": At("forward", JUDGE, since=At("append", "metrics.jsonl", n=3), when="after"),
    "between two optimizer steps": At("optimizer", n=14, when="after"),
    "in a backward pass": At("backward", n=19),
    "before the line of metrics": At("append", "metrics.jsonl", n=5),
    "between the line of metrics and the checkpoint": At("append", "metrics.jsonl", n=4, when="after"),
    "in the middle of a file of a checkpoint": At("fsync", ".step-000004.writing/*.safetensors", n=2, when="half"),
    "before a checkpoint is renamed into its place": At("rename", "checkpoints/step-000004"),
    "while old checkpoints are removed": At("removal", "checkpoints/.step-000002.removed/*", n=2),
    "right after a checkpoint": At("fsync", "checkpoints", n=2, when="after"),
    "while the model is written": MODEL_IS_WRITTEN,
    "after the model is written": At("forward", since=MODEL_IS_WRITTEN),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_a_named_moment_ends_as_the_undisturbed_one(moment, causal, output):
    killed = causal.train("--output", output, meddle=at(MOMENTS[moment], "kill"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed(causal, output)
    assert_same_run(causal, output, "undisturbed")


@pytest.mark.parametrize(
    "moment", ["while a completion is written", "between two optimizer steps", "right after a checkpoint"]
)
def test_so_does_a_seq2seq_model_with_lora_a_steered_kl_and_a_schedule(moment, places, output):
    made = places["t5"]
    killed = made.train("--output", output, meddle=at(MOMENTS[moment], "kill"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed(made, output)
    assert_same_run(made, output, "undisturbed")


@pytest.mark.parametrize("architecture", SETTINGS)
def test_a_run_killed_at_random_moments_again_and_again_ends_as_the_undisturbed_one(architecture, places, output):
    made, draw, kills = places[architecture], random.Random(architecture), 0
    for attempt in range(6):
        run = made.start(*(["--resume"] if attempt else []), "--output", output)
        while "prompts to train on" not in run.stderr and run.is_alive:
            time.sleep(0.005)
        run.join(draw.uniform(0.0, 0.9 if attempt else 0.3))
        if run.is_alive:
            run.signal(signal.SIGKILL)
        done = run.ended()
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode != 0
    resumed(made, output)
    assert kills
    assert_same_run(made, output, "undisturbed")


def test_a_line_of_metrics_that_a_kill_has_torn_is_written_again(causal, output):
    assert causal.train("--output", output, meddle=at(MOMENTS["between two optimizer steps"], "kill")).returncode < 0
    with (causal.folder / output / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "samp')
    resumed(causal, output)
    assert_same_run(causal, output, "undisturbed")


def test_a_run_killed_before_its_first_checkpoint_begins_at_the_first_step(causal, output):
    meddle = at(At("optimizer", n=3, when="after"), "kill")
    assert causal.train("--output", output, meddle=meddle).returncode == -signal.SIGKILL
    assert "holds no checkpoint yet; beginning at the first step" in resumed(causal, output)
    assert_same_run(causal, output, "undisturbed")


# --- checkpoints ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def halted(places: dict[str, Place]) -> Place:
    """A run in `halted`, killed in its fifth step: checkpoints of the second and the fourth."""
    made = places["llama"]
    done = made.train("--output", "halted", meddle=at(At("optimizer", n=18, when="after"), "kill"))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert made.checkpoints("halted") == ["step-000002", "step-000004"]
    return made


@pytest.fixture
def copy(halted: Place, output: str) -> str:
    """A copy of it."""
    shutil.copytree(halted.folder / "halted", halted.folder / output)
    return output


def test_a_broken_checkpoint_is_named_and_the_newest_whole_one_resumed(causal, copy):
    weights = causal.folder / copy / "checkpoints/step-000004/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    said = resumed(causal, copy)
    assert f"checkpoint {copy}/checkpoints/step-000004: weights.safetensors: the checksum" in said
    assert "passed over" in said
    assert_same_run(causal, copy, "undisturbed")


def test_without_a_whole_checkpoint_all_are_named_and_the_run_begins_at_the_first_step(causal, copy):
    for step in ("step-000002", "step-000004"):
        (causal.folder / copy / "checkpoints" / step / "optimizer.safetensors").unlink()
    said = resumed(causal, copy)
    assert said.count("optimizer.safetensors is missing; passed over") == 2
    assert "beginning at the first step" in said
    assert_same_run(causal, copy, "undisturbed")


def test_metrics_are_cut_back_to_the_checkpoint_before_the_first_step(causal, copy):
    assert [line["step"] for line in causal.metrics(copy)] == [1, 2, 3, 4]
    shutil.rmtree(causal.folder / copy / "checkpoints/step-000004")
    meddle = at(At("forward", since=At("append", "environment.jsonl")), "kill")
    assert causal.train("--resume", "--output", copy, meddle=meddle).returncode == -signal.SIGKILL
    assert [line["step"] for line in causal.metrics(copy)] == [1, 2]


def test_more_steps_go_on_from_where_a_finished_run_ended(causal, output):
    done = causal.train("--output", output, "--set", "training.steps=3")
    assert done.returncode == 0, done.stderr
    assert causal.checkpoints(output) == ["step-000002", "step-000003"]
    resumed(causal, output)
    assert same_metrics(causal.metrics(output)) == same_metrics(causal.metrics("undisturbed"))
    assert_same_run(causal, output, "undisturbed")


def test_a_finished_run_resumed_makes_no_step_and_keeps_its_model(causal, output):
    shutil.copytree(causal.folder / "undisturbed", causal.folder / output)
    before = (causal.folder / output / "metrics.jsonl").read_bytes()
    resumed(causal, output)
    assert (causal.folder / output / "metrics.jsonl").read_bytes() == before
    assert_same_run(causal, output, "undisturbed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.learning_rate=2e-3", "its run has training.learning_rate: 0.001, not 0.002"),
        ("seed=1", "its run has seed: 0, not 1"),
        ("generation.max_new_tokens=9", "its run has generation.max_new_tokens: 8, not 9"),
        ("judge.bad=nothate", "its run has judge.bad: 'hate', not 'nothate'"),
        ("policy.lora.r=2", "its run has policy.lora"),
    ],
)
def test_a_run_of_other_settings_is_not_resumed_and_the_key_is_named(change, said, causal, main, monkeypatch):
    monkeypatch.chdir(causal.folder)
    done = main("train", "run.yaml", "--resume", "--output", "undisturbed", "--set", change)
    assert done.returncode == 2
    assert said in one_line(done)


def test_a_key_that_the_run_had_and_this_one_lacks_is_another_setting(places, main, monkeypatch):
    monkeypatch.chdir(places["t5"].folder)
    done = main("train", "run.yaml", "--resume", "--output", "undisturbed", "--set", "policy.lora=null")
    assert done.returncode == 2
    assert "its run has policy.lora.r: 4, not None" in one_line(done)


def test_a_checkpoint_of_several_processes_is_not_resumed_by_one(causal, copy):
    folder = causal.folder / copy / "checkpoints"
    state, _ = newest(folder)
    assert state is not None
    save(folder, TrainingState(state.step, state.tensors, {**state.facts, "processes": 2}), keep=2)
    done = causal.train("--resume", "--output", copy)
    assert done.returncode == 2
    assert "of a run with 2 processes, not 1" in done.stderr
    assert "launch as many" in done.stderr


def test_a_new_run_is_refused_a_folder_that_holds_one_with_both_ways_on(causal, main, monkeypatch):
    monkeypatch.chdir(causal.folder)
    done = main("train", "run.yaml", "--output", "undisturbed")
    assert done.returncode == 2
    assert "--resume" in one_line(done)
    assert "--output" in one_line(done)


def test_a_folder_that_holds_no_run_is_not_resumed(causal, main, monkeypatch):
    monkeypatch.chdir(causal.folder)
    done = main("train", "run.yaml", "--resume", "--output", "nothing")
    assert done.returncode == 2
    assert "leave --resume out" in one_line(done)


# --- Ctrl-C and SIGTERM ---------------------------------------------------------------------------------------

INTERRUPTED = {
    "Ctrl-C in a rollout": (MOMENTS["while a completion is written"], "interrupt", 3),
    "SIGTERM in a rollout": (MOMENTS["while a completion is written"], "terminate", 3),
    "Ctrl-C while the judge is asked": (MOMENTS["before the judge is asked"], "interrupt", 4),
    "Ctrl-C in an update": (At("optimizer", n=10, when="after"), "interrupt", 3),
    "SIGTERM in an update": (At("optimizer", n=10, when="after"), "terminate", 3),
    "SIGTERM while a checkpoint is written": (At("rename", "checkpoints/step-000002"), "terminate", 2),
}


@pytest.mark.parametrize("moment", INTERRUPTED)
def test_an_interrupted_run_keeps_its_last_whole_step_and_ends_as_the_undisturbed_one(moment, causal, output):
    when, signalled, step = INTERRUPTED[moment]
    done = causal.train("--output", output, meddle=at(when, signalled))
    assert done.returncode == 130, done.stderr
    last = done.stderr.splitlines()[-1]
    kept = int(causal.checkpoints(output)[-1].removeprefix("step-"))
    assert last.startswith("rlaif: interrupted")
    assert f"step {kept} is kept in {output}/checkpoints" in last
    assert "--resume" in last
    assert kept in (step, step - 1)
    assert not (causal.folder / output / "model").exists()
    resumed(causal, output)
    assert_same_run(causal, output, "undisturbed")


def test_a_signal_while_the_judge_is_asked_before_training_ends_the_run_before_it_trains(causal, output):
    """The classifier's fourth pass is its only one over completions; three at its loading look for padding."""
    done = causal.train("--output", output, meddle=at(At("forward", JUDGE, n=4), "interrupt"))
    assert done.returncode == 130, done.stderr
    assert "nothing was trained yet; --resume goes on" in done.stderr.splitlines()[-1]
    assert not (causal.folder / output / "checkpoints").exists()
    resumed(causal, output)
    assert_same_run(causal, output, "undisturbed")


def test_a_second_signal_ends_a_run_at_once_also_in_an_update(causal, output):
    meddle = at(At("optimizer", n=10, when="after"), "interrupt") * 2
    done = causal.train("--output", output, meddle=meddle)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1].startswith("rlaif: interrupted")
    assert causal.checkpoints(output) == ["step-000002"]  # none of weights in the middle of a step
    resumed(causal, output)
    assert_same_run(causal, output, "undisturbed")


# --- a judge that is far away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_interrupted_while_it_waits_for_a_judge_ends_soon_and_ends_as_the_undisturbed_one(
    number, causal, output, server
):
    env = environment(causal.folder / f"home-{output}")
    causal.write("far.yaml", judge={**card_of(server), "name": "far"}, training={"steps": 3})

    def started(*arguments: str) -> Run:
        return Run(causal.folder, ["train", "far.yaml", *arguments], env, "")

    expected = f"{output}-undisturbed"
    assert started("--output", expected).ended().returncode == 0
    shutil.rmtree(env["RLAIF_HOME"])
    server.clear()
    server.behaviour = lambda _: "hang" if len(server.calls) > 5 else "ok"  # one is of the measurement before
    run = started("--output", output)
    deadline = time.monotonic() + 30
    while len(server.calls) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    run.signal(number)
    begun = time.monotonic()
    done = run.ended()
    assert time.monotonic() - begun < 8  # the server would let it wait for 30 s
    assert done.returncode == 130, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]
    assert f"step 1 is kept in {output}/checkpoints; --resume goes on from it" in line
    server.behaviour = "ok"
    assert started("--resume", "--output", output).ended().returncode == 0
    assert_same_run(causal, output, expected)
    assert causal.metrics(output)[0]["calls"] == 4


def test_a_judge_that_goes_down_is_waited_for_then_the_run_stops_with_a_checkpoint(causal, output, server):
    env = environment(causal.folder / f"home-{output}")
    card = card_of(server, timeout=1.0, total_timeout=0.5)
    causal.write("down.yaml", judge={**card, "name": "far"}, training={"steps": 3, "judge_patience": 1.5})
    server.behaviour = lambda _: "error_503" if len(server.calls) > 9 else "ok"
    done = Run(causal.folder, ["train", "down.yaml", "--output", output], env, "").ended()
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]
    assert "judge far stayed down for 1.5 s" in line
    assert "step 2 is kept" in line
    server.behaviour = "ok"
    done = Run(causal.folder, ["train", "down.yaml", "--resume", "--output", output], env, "").ended()
    assert done.returncode == 0, done.stderr
    assert len(causal.metrics(output)) == 3
