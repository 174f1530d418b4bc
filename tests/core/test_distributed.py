"""
Several processes on CPUs: one update is that of one process, what fails on one ends all, and a budget holds over all.

Ranks are forked processes with the variables that a launcher sets; one test goes through the launcher itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rlaif.core.system.devices import computes_on
from tests.events import At
from tests.remote import card_of, environment
from tests.runs import Place, Run, assert_same_run, at, place, ranks
from tests.server import Server

DRIVER = """
import json, os
import torch
from rlaif import PPOConfig, PPOTrainer
from rlaif.policy.model import TokenScores
from rlaif.training.loop.rollout import Rollout
import rlaif.training.loop.online as t

rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
told = {}

def trainer_of(name, reward, steps, **args):
    given = {"batch_size": 8, "mini_batch_size": 4, "ppo_epochs": 2, "learning_rate": 1e-3, "max_new_tokens": 6,
             "min_new_tokens": 1, "save_steps": 100, "steps": steps, "output_dir": f"{name}-{world}"}
    return PPOTrainer("policy", reward, PPOConfig(**(given | args)), ["same"] * 5 + ["another one"] * 4)

def fixed(trainer):
    "Let the batch of all ranks be sampled alike on each, which then keeps its own rows."
    real = t.act
    def act(policy, prompts, rewards, sampling, **more):
        step = trainer.progress.step + 1
        torch.manual_seed(step)
        prompts = [trainer.prompts[i] for i in trainer.batches.rows_of(step, range(8))]
        whole, said = real(policy, prompts, rewards, sampling, **more)
        rows = list(trainer.share)
        tokens = whole.tokens.rows(rows)
        length = tokens.mask_BR.shape[1]
        pending = rewards.begin(len(rows))
        for i, row in enumerate(rows):
            pending.add(i, said.samples[row], tokens.response_BR[i].tolist())
        old = TokenScores(*(x[rows, :length] for x in whole.old))
        own = Rollout(tokens, old, whole.reference_BR[rows, :length], whole.ended_B[rows],
                      [whole.completions[row] for row in rows])
        return own, pending
    t.act = act
    return lambda: setattr(t, "act", real)

def vowels(completions):
    "A third abstains."
    return [None if sum(c.encode()) % 3 == 0 else sum(map(c.count, "aeiou")) + len(c.encode()) / 7 for c in completions]

class Seen(t.Callback):
    def __init__(self): self.metrics = []
    def on_step(self, trainer, metrics): self.metrics.append(dict(metrics))

def run(name, trainer):
    seen = Seen()
    trainer.callbacks = [seen]
    trainer.train()
    progress = trainer.progress
    torch.save(trainer.policy.weights(), f"{name}-{world}-{rank}.pt")
    told[name] = {"metrics": seen.metrics, "mean": progress.moments.mean, "count": progress.moments.count,
                  "std": progress.moments.std}
"""

UPDATE = f"""{DRIVER}
trainer = trainer_of("update", vowels, 1, use_score_scaling=True, use_score_norm=True, micro_batch_tokens=30)
undo = fixed(trainer)
run("update", trainer)
undo()
"""

TOGETHER = f"""{UPDATE}
said = []
def listening(completions):
    said.append(list(completions))
    return [float(len(c)) for c in completions]
run("ten", trainer_of("ten", listening, 10))
told["said"] = said

calls = 0
def moody(completions):
    global calls
    calls += 1
    silent = calls == 3 or (calls == 2 and rank == 0) or (calls != 2 and rank == 1)
    return [None if silent else float(len(c)) for c in completions]
run("moody", trainer_of("moody", moody, 4))
"""

END = "\njson.dump(told, open(f'told-{world}-{rank}.json', 'w'))\n"


def ended_all(runs: list[Run]) -> list[subprocess.CompletedProcess[str]]:
    try:
        return [run.ended() for run in runs]
    finally:
        for run in runs:
            run.process.kill()


def together(made: Place, *arguments: str, env: dict[str, str] | None = None, meddle: str = "", **of: str) -> list[Any]:
    """Run `rlaif train` as two ranks; `of` is what meddles with one of them, as `rank1`."""
    runs = [
        made.start(*arguments, env={**rank, **(env or {})}, meddle=meddle + of.get(f"rank{i}", ""))
        for i, rank in enumerate(ranks())
    ]
    return ended_all(runs)


def lines_of(done: list[Any]) -> list[str]:
    """What all ranks complained of."""
    return [line for one in done for line in one.stderr.splitlines() if line.startswith("rlaif: ")]


# --- one update, the same weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driven(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """What one process and two have told of the same updates."""
    folder = place(tmp_path_factory.mktemp("driven")).folder
    runs = [Run(folder, [], {}, UPDATE + END), *(Run(folder, [], env, TOGETHER + END) for env in ranks())]
    for done in ended_all(runs):
        assert done.returncode == 0, done.stderr
    return folder, {name: json.loads((folder / f"told-{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")}


def test_one_update_on_a_fixed_rollout_is_that_of_one_process(driven):
    folder, told = driven
    alone, ours = torch.load(folder / "update-1-0.pt"), torch.load(folder / "update-2-0.pt")
    assert alone.keys() == ours.keys()
    for name in alone:
        torch.testing.assert_close(ours[name], alone[name], rtol=0, atol=1e-5, msg=name)
    (before,), (after,) = told["1-0"]["update"]["metrics"], told["2-0"]["update"]["metrics"]
    assert before["judges"]["vowels"]["abstained"] > 0
    for key in set(before) - {"seconds", "judges"}:
        assert after[key] == pytest.approx(before[key], rel=1e-4, abs=1e-6), key


def test_the_moments_of_rewards_are_those_of_all_ranks(driven):
    _, told = driven
    for rank in ("2-0", "2-1"):
        for key in ("mean", "count", "std"):
            assert told[rank]["update"][key] == pytest.approx(told["1-0"]["update"][key], rel=1e-6)
    assert told["2-0"]["ten"]["count"] == 80


@pytest.mark.parametrize("name", ["update", "ten", "moody"])
def test_weights_are_equal_on_both_ranks(name, driven):
    folder, _ = driven
    one, other = torch.load(folder / f"{name}-2-0.pt"), torch.load(folder / f"{name}-2-1.pt")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_ranks_sample_differently_for_equal_prompts(driven):
    _, told = driven
    for one, other in zip(told["2-0"]["said"], told["2-1"]["said"], strict=True):
        assert len(one) == len(other) == 4
        assert one != other


def test_a_rank_whose_judge_abstains_on_everything_keeps_nobody_waiting(driven):
    _, told = driven
    metrics = told["2-0"]["moody"]["metrics"]
    assert [line["judges"]["moody"]["abstained"] for line in metrics] == [4, 4, 8, 4]
    assert metrics[2]["reward_mean"] is None
    assert metrics[2]["optimizer_steps"] > 0  # the KL of what nobody judged
    assert metrics[1]["optimizer_steps"] > 0
    assert metrics == [
        {**line, "seconds": mine["seconds"]}
        for line, mine in zip(told["2-1"]["moody"]["metrics"], metrics, strict=True)
    ]


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Place:
    """A run of two ranks that nothing disturbed, in `undisturbed`; what they said is in `said.json`."""
    made = place(tmp_path_factory.mktemp("ranks"))
    done = together(made, "--output", "undisturbed")
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    (made.folder / "said.json").write_text(json.dumps([one.stderr for one in done]))
    return made


@pytest.fixture
def output() -> str:
    return f"run-{time.monotonic_ns()}"


def test_only_the_first_rank_writes_and_speaks(made):
    first, second = json.loads((made.folder / "said.json").read_text())
    assert second == ""
    assert first.count("the model is in") == 1
    assert [line["step"] for line in made.metrics("undisturbed")] == [1, 2, 3, 4, 5, 6]


def test_wrong_input_is_told_once(made):
    done = together(made, "--output", "never", "--set", "training.stepz=1")
    assert [one.returncode for one in done] == [2, 2]
    assert len(lines_of(done)) == 1


def test_a_batch_that_the_ranks_cannot_share_is_refused(made):
    done = together(made, "--output", "never", "--set", "training.batch_size=3", "--set", "training.mini_batch_size=3")
    assert [one.returncode for one in done] == [2, 2]
    assert "batch_size (3) should be a multiple of the 2 processes" in lines_of(done)[0]


def test_a_rank_that_is_killed_ends_the_others_and_the_run_can_be_resumed(made, output):
    done = together(made, "--output", output, rank1=at(At("optimizer", n=14, when="after"), "kill"))
    assert done[1].returncode == -signal.SIGKILL
    assert done[0].returncode == 1
    assert len(lines_of(done)) == 1
    assert made.checkpoints(output) == ["step-000002"]
    done = together(made, "--resume", "--output", output)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert_same_run(made, output, "undisturbed")


def test_a_bug_of_the_judge_on_one_rank_stops_both_in_one_line_and_keeps_the_last_whole_step(made, output):
    (made.folder / "bug.py").write_text(
        "import os\ncalls = 0\ndef judge(completions):\n    global calls\n    calls += 1\n"
        "    return [float('nan') if os.environ.get('RANK') == '1' and calls == 2 else 0.5 for _ in completions]\n"
    )
    judge = "judge={adapter: python, function: './bug.py:judge', name: mine}"
    done = together(made, "--output", output, "--set", judge)
    assert [one.returncode for one in done] == [1, 1]
    (line,) = lines_of(done)
    assert "bug.py:3" in line
    assert "step 1 is kept" in line
    assert made.checkpoints(output) == ["step-000001"]


def test_a_disk_that_is_full_for_the_first_rank_stops_both_in_one_line(made, output):
    full = at(At("open", "checkpoints/.step-000002.writing/*"), "limit_files(20_000)")
    done = together(made, "--output", output, rank0=full)
    assert [one.returncode for one in done] == [1, 1]
    (line,) = lines_of(done)
    assert "step-000002: cannot be written: File too large" in line


def test_a_run_of_two_processes_is_not_resumed_by_one(made):
    done = made.train("--resume", "--output", "undisturbed")
    assert done.returncode == 2
    assert "of a run with 2 processes, not 1" in done.stderr


def test_sigterm_to_the_launcher_writes_a_checkpoint_that_two_ranks_go_on_from(made, output):
    launcher = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "rlaif"),
            *("train", "run.yaml", "--output", output, "--set", "training.steps=100000"),
        ],
        cwd=made.folder, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    metrics = made.folder / output / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.05)
    launcher.send_signal(signal.SIGTERM)
    said = launcher.communicate(timeout=60)[1]
    (line,) = [line for line in said.splitlines() if line.startswith("rlaif: ")]
    kept = int(made.checkpoints(output)[-1].removeprefix("step-"))
    assert f"step {kept} is kept in {output}/checkpoints; --resume goes on from it" in line
    done = together(made, "--resume", "--output", output, "--set", f"training.steps={kept + 1}")
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert len(made.metrics(output)) == kept + 1


def test_accelerate_launch_that_starts_one_process_instead_of_two_is_refused_with_what_does(made):
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_MIXED_PRECISION": "no"}
    done = made.start("--output", "never", env=env).ended()
    assert done.returncode == 2
    assert "torchrun --nproc_per_node 2 -m rlaif train" in done.stderr


# --- devices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "env", "kind"), [("cuda", "", "cuda"), ("mps", "", "cpu"), (None, "", "cpu"), ("cuda", "true", "cpu")]
)
def test_a_run_computes_on_the_accelerator_that_has_float64(there, env, kind, monkeypatch):
    found = None if there is None else torch.device(there)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    monkeypatch.setenv("ACCELERATE_USE_CPU", env)
    assert computes_on() == torch.device(kind)


# --- remote judges: calls and budgets -----------------------------------------------------------------------------


def remote(made: Place, server: Server, output: str, **card: Any) -> tuple[str, dict[str, str]]:
    """Write a run file with a remote judge; return its name and the environment."""
    made.write(f"{output}.yaml", judge={**card_of(server, **card), "name": "far"}, training={"judge_patience": 0.0})
    return f"{output}.yaml", environment(made.folder / f"home-{output}")


def far(made: Place, file: str, *arguments: str, env: dict[str, str], count: int = 2) -> list[Any]:
    given = ranks() if count == 2 else [{}]
    return ended_all([Run(made.folder, ["train", file, *arguments], {**rank, **env}, "") for rank in given])


def measured(made: Place, output: str) -> int:
    """The completions that the judge has read before and after training."""
    rows = [json.loads(row) for row in (made.folder / output / "samples.jsonl").read_text().splitlines()]
    sides = [side for row in rows for side in (row["before"], row["after"]) if side]
    return sum(side["judgements"]["far"]["status"] == "ok" for side in sides)


def test_a_remote_judge_is_asked_once_for_each_sample_of_all_ranks(made, output, server):
    file, env = remote(made, server, output)
    done = far(made, file, "--output", output, "--set", "training.steps=3", env=env)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    metrics = made.metrics(output)
    asked = [line["judges"]["far"]["statuses"].get("ok", 0) for line in metrics]
    assert sum(asked) >= 10  # but for blank ones
    assert [line["calls"] for line in metrics] == asked
    assert len(server.calls) == sum(asked) + measured(made, output)


@pytest.mark.parametrize("count", [1, 2])
def test_a_budget_of_calls_holds_over_all_ranks_and_all_resumptions(count, made, output, server):
    file, env = remote(made, server, output)
    done = far(made, file, "--output", output, "--set", "budget.calls=7", env=env, count=count)
    assert {one.returncode for one in done} == {1}, [one.stderr for one in done]
    (line,) = lines_of(done)
    assert "the budget is spent" in line
    assert "step 1 is kept" in line
    assert 4 < len(server.calls) <= 7
    done = far(made, file, "--resume", "--output", output, "--set", "budget.calls=7", env=env, count=count)
    assert len(server.calls) <= 7
    done = far(made, file, "--resume", "--output", output, "--set", "budget.calls=30", env=env, count=count)
    assert {one.returncode for one in done} == {0}, [one.stderr for one in done]
    blank = sum(line["judges"]["far"]["abstained"] for line in made.metrics(output))
    assert len(server.calls) == 24 - blank + measured(made, output)  # nothing was paid twice


def test_a_budget_in_usd_is_shared_by_the_ranks_and_counts_what_was_spent_before_a_kill(made, output, server):
    price = {"input": 1000.0, "output": 1000.0}
    file, env = remote(made, server, output, price=price)
    done = far(made, file, "--output", output, "--set", "training.steps=1", env=env)
    assert {one.returncode for one in done} == {0}, [one.stderr for one in done]
    (line,) = made.metrics(output)
    calls = len(server.calls)
    spent = [json.loads(row) for row in (made.folder / output / "spending.jsonl").read_text().splitlines()]
    usd = sum(row["usd"] for row in spent)
    assert usd >= line["usd"] > 0
    assert sum(row["calls"] for row in spent) == calls
    done = far(made, file, "--resume", "--output", output, "--set", f"budget.usd={usd}", env=env)
    assert {one.returncode for one in done} == {1}
    assert "the budget is spent" in lines_of(done)[0]
    assert len(server.calls) == calls
