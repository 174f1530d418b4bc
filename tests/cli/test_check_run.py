"""`rlaif check RUN.yaml`: what is wrong, all at once, and what the run would take, without a trace of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.types import Estimate, Sample
from rlaif.training.run.forecast.calls import JudgeUse, looks, scale_estimate, stand_ins, uses_of
from rlaif.training.run.forecast.pace import TimedStep, seconds_a_text, whole_run
from tests import tiny
from tests.runs import Place, place
from tests.server import Server

GUARDED = {
    "guard": {"judges": ["lexicon"], "num_prompts": 3, "every": 4},
    "evaluation": {"judges": ["lexicon"], "num_prompts": 5},
}


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Place:
    return place(tmp_path_factory.mktemp("check"), prompts=40, **GUARDED)


@pytest.fixture
def here(made: Place, main, monkeypatch) -> Path:
    """A folder with a run file and all that it names, as the working directory."""
    monkeypatch.chdir(made.folder)
    return made.folder


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose header begins with a word."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.split()[:1] == [first]:
            break
    rows = []
    for line in lines:
        if not line.strip():
            break
        rows.append(re.split(r"  +", line.strip()))
    return rows


def faults(done: Any) -> list[str]:
    """What is told to be wrong; in a test's process the libraries show their bars."""
    return [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]


def remote(server: Server, **keys: Any) -> dict[str, Any]:
    """A card of a judge on this machine that costs as one that is far."""
    return {
        "adapter": "openai", "base_url": server.openai, "model": "far", "name": "far", "prompt": "judge/toxicity",
        "price": {"input": 1.0, "output": 10.0}, "max_tokens": 100, **keys,
    }  # fmt: skip


# --- what is found ------------------------------------------------------------------------------------------------


def test_judges_prompts_memory_and_time_are_told_and_nothing_is_written(here, main):
    before = sorted(here.rglob("*"))
    done = main("check", "run.yaml")
    assert (done.returncode, faults(done)) == (0, [])
    assert [row[0] for row in table(done.stdout, "judge")] == ["toy", "lexicon"], "each judge once"
    assert [row[:2] for row in table(done.stdout, "prompts")] == [["train", "32"], ["guard", "3"], ["test", "5"]]
    assert re.search(r"^memory: about \d+\.\d+ GiB at its peak, \w+; [\d.]+ GiB are free$", done.stdout, re.MULTILINE)
    assert re.search(r"^a step: about [\d.]+ s: .* acting, .* judging, .* learning", done.stdout, re.MULTILINE)
    assert re.search(r"^the run: about .*: training .*, guard .*, before and after .*", done.stdout, re.MULTILINE)
    assert "warning" not in done.stdout
    assert sorted(here.rglob("*")) == before


def test_quick_loads_no_policy(here, main, monkeypatch):
    monkeypatch.setattr("rlaif.training.run.run.load", lambda *_, **__: pytest.fail("a policy was loaded"))
    done = main("check", "run.yaml", "--quick")
    assert (done.returncode, faults(done)) == (0, [])
    assert "memory: about" in done.stdout
    assert "a step" not in done.stdout


def test_what_befell_prompts_is_told(here, main):
    done = main("check", "run.yaml", "--quick", "--set", "data.max_prompt_tokens=6")
    assert "prompts cut to their last 6 tokens (max_prompt_tokens)" in done.stdout


def test_a_run_file_may_have_further_judges_beside_it(here, main):
    done = main("check", "run.yaml", "--quick", "-j", "length")
    assert [row[0] for row in table(done.stdout, "judge")] == ["toy", "lexicon", "length"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["evaluation.judges=[]", "guard.judges=[]"], "no judge is held out: the numbers will be no evidence"),
        (["guard.judges=[]"], "nothing guards the training"),
        (["output=judge"], "judge: is there already; go on with its run by --resume, or name another by --output"),
        (
            [
                "evaluation.judges=[{adapter: panel, name: other, judges: "
                "[lexicon, {adapter: classifier, model: ./judge, bad: hate, name: toy}]}]"
            ],
            "other is not held out: it shares its model with toy, which is learned from",
        ),
    ],
)
def test_what_one_may_not_have_meant_is_a_warning(changes, says, here, main):
    done = main("check", "run.yaml", "--quick", *(word for change in changes for word in ("--set", change)))
    assert done.returncode == 0, done.stderr
    assert f"warning: {says}" in done.stdout


# --- what is wrong ------------------------------------------------------------------------------------------------


def test_a_copy_of_the_training_judge_under_another_name_is_wrong(here, main, tmp_path):
    shutil.copytree(here / "judge", tmp_path / "copied")
    card = f"{{adapter: classifier, model: {tmp_path}/copied, bad: hate, text: prompt_and_completion, name: other}}"
    done = main("check", "run.yaml", "--quick", "--set", f"guard.judges=[{card}]")
    assert done.returncode == 2
    (fault,) = faults(done)
    assert "guard.judges and evaluation.judges: other is toy under another name, which is learned from" in fault


def test_what_is_wrong_comes_out_at_once(here, main):
    wrong = ["data.dataset=nope.jsonl", "trackers=[nope]", "guard.judges=[nosuch]"]  # each in a place of its own
    done = main("check", "run.yaml", *(word for change in wrong for word in ("--set", change)))
    assert done.returncode == 2
    assert len(faults(done)) == 3, done.stderr
    for word in ("nope.jsonl: no such file", "trackers: there is no 'nope'", "no judge named 'nosuch'"):
        assert word in done.stderr
    assert [row[-1] for row in table(done.stdout, "judge")] == ["ok", "failed", "ok"]


def test_a_card_that_is_wrong_is_told_once_however_often_it_is_named_and_is_not_taken_for_none(here, main):
    done = main("check", "run.yaml", "--quick", "--set", "guard.judges=[nosuch]", "--set", "evaluation.judges=[nosuch]")
    assert len(faults(done)) == 1, done.stderr
    assert [row[-1] for row in table(done.stdout, "judge")] == ["ok", "failed"]
    assert "no judge is held out" not in done.stdout


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["policy.model=./t5"], "algorithm: grpo is TRL's, which trains causal models only"),
        (["ppo.target_kl=0.1"], "ppo.target_kl: 0.1 means nothing to algorithm: grpo"),
    ],
)
def test_an_algorithm_that_cannot_train_the_model_is_told(sets, says, here, main):
    if not (here / "t5").exists():
        tiny.policy(here / "t5", "t5")
    sets = ["algorithm=grpo", "group.num_generations=2", *sets]
    done = main("check", "run.yaml", "--quick", *(word for change in sets for word in ("--set", change)))
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("policy.model=./nope", "there is no model folder"),
        ("policy.model=./judge", "which does not generate text"),
        ("data.where=kind == 'x'", "do not match data.where"),
        ("data.limit=3", "no part may be empty; give more prompts"),
        (
            "judge={adapter: python, function: './needs.py:judge'}",
            "needs the column 'answer' of the data; there are: kind",
        ),
        ("reward=logit", None),
        ("generation.max_new_tokens=1000", "the model has 512 positions"),
    ],
)
def test_what_a_run_would_be_refused_for_is_told(change, says, here, main):
    (here / "needs.py").write_text("def judge(completions, answer): return [1.0 for _ in completions]\n")
    done = main("check", "run.yaml", "--set", change)
    assert done.returncode == (2 if says else 0), done.stderr
    assert (says or "") in done.stderr


def test_a_model_that_is_too_large_is_told_before_it_loads(here, main, monkeypatch):
    monkeypatch.setattr("rlaif.training.run.run.load", lambda *_, **__: pytest.fail("a policy was loaded"))
    monkeypatch.setattr("rlaif.cli.check_run.free", lambda device: -(10**9))
    done = main("check", "run.yaml")
    assert done.returncode == 2
    assert re.search(r"policy\.model: \S+policy would take about \d+\.\d+ GiB of memory", done.stderr)
    assert "training.micro_batch_tokens" in done.stderr
    assert "a step" not in done.stdout


# --- calls and money ----------------------------------------------------------------------------------------------


def test_calls_and_cost_of_the_whole_run_are_told_and_one_call_is_made(here, main, made, nobody: None, server: Server):
    made.write("far.yaml", judge=remote(server))
    done = main("check", "far.yaml", "--set", "evaluation.completions_per_prompt=2")
    assert done.returncode == 0, done.stderr
    assert len(server.calls) == 1, "the probe; the step asks nobody"
    rows = table(done.stdout.partition("prompts  ")[2], "judge")
    # 6 steps of 4; looks before, after 4 and after 6 steps at 3 prompts; 2 completions of 5 prompts, twice.
    assert [(row[1], row[2]) for row in rows] == [
        ("training", "24"),
        ("guard", "9"),
        ("before and after", "20"),
        ("53", rows[-1][2]),
    ]
    for row in rows[:-1]:
        calls, tokens_in, tokens_out, usd = (float(cell) for cell in row[2:])
        assert tokens_out == 100 * calls
        assert usd == pytest.approx((tokens_in + 10 * tokens_out) / 1e6, abs=0.006)
    assert "waiting for the judge (estimated from its probe)" in done.stdout


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("usd=0.01", "budget.usd: 0.01 USD may not last"),
        ("calls=20", "budget.calls: 20 may not last: the run takes up to 43 calls"),
    ],
)
def test_a_budget_that_may_not_last_is_a_warning(budget, says, here, main, made, nobody: None, server: Server):
    made.write("far.yaml", judge=remote(server))
    done = main("check", "far.yaml", "--quick", "--set", f"budget.{budget}")
    assert done.returncode == 0, done.stderr
    assert f"warning: {says}" in done.stdout


def test_without_a_price_the_cost_is_unknown(here, main, made, nobody: None, server: Server):
    card = {key: value for key, value in remote(server).items() if key != "price"}
    made.write("far.yaml", judge=card)
    done = main("check", "far.yaml", "--quick")
    assert "unknown" in table(done.stdout.partition("prompts  ")[2], "judge")[0][-1]


# --- the arithmetic -----------------------------------------------------------------------------------------------


def config(**sections: Any) -> RunConfig:
    run = {"policy": {"model": "m"}, "data": {"dataset": "d"}, "judge": "length", **sections}
    path = Path("numbers.yaml")
    path.write_text(yaml.safe_dump(run))
    return read_run(path)


class Far:
    """A judge whose estimate is known."""

    name = "far"
    remote = True
    measures = "toxicity"
    identity = "far"

    def estimate(self, samples: list[Sample]) -> Estimate:
        return Estimate(2 * len(samples), 30 * len(samples), 5 * len(samples), 0.25 * len(samples))


@pytest.mark.parametrize(("steps", "every", "count"), [(6, 4, 3), (8, 4, 3), (3, 4, 2), (4, 1, 5)])
def test_the_guard_looks_before_every_so_often_and_at_the_end(steps, every, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert looks(config(training={"steps": steps}, guard={"every": every, "judges": ["length"]})) == count


def test_uses_are_counted_and_scaled_from_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = config(training={"steps": 10, "batch_size": 32}, guard={"every": 5}, evaluation={"completions_per_prompt": 3})
    judge: Any = Far()
    uses = uses_of(run, [judge], [judge], [judge], guard_prompts=7, test_prompts=11)
    assert [(use.purpose, use.texts) for use in uses] == [("training", 320), ("guard", 21), ("before and after", 66)]
    assert scale_estimate(uses[0], [Sample("a"), Sample("b")]) == Estimate(640, 9600, 1600, 80.0)
    without = uses_of(run, [judge], [judge], [judge], guard_prompts=0, test_prompts=11)
    assert [use.purpose for use in without] == ["training", "before and after"]


def test_the_time_of_a_run_is_that_of_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = config(training={"steps": 10, "batch_size": 20, "mini_batch_size": 10}, guard={"every": 5})
    judge: Any = Far()
    step = TimedStep(acting=4.0, judging=0.0, learning=6.0, samples=[])
    uses = [JudgeUse(judge, "training", 200), JudgeUse(judge, "guard", 15), JudgeUse(judge, "before and after", 20)]
    told = whole_run(run, step, uses, lambda _: 0.5, guard=5, test=10)
    # 10 x (4 + 6) + 200 x 0.5; 3 looks x 5 x 4/20 + 15 x 0.5; 2 x 10 x 4/20 + 20 x 0.5
    assert told == {"training": 200.0, "guard": 10.5, "before and after": 14.0}


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [({"concurrency": 4}, 0.5), ({"concurrency": 4, "samples": 3, "temperature": 1.0}, 1.5), ({"rpm": 30}, 2.0)],
)
def test_a_remote_judge_takes_what_its_limits_leave(keys, seconds, nobody: None, server: Server):
    from rlaif import load_judge

    judge = load_judge(remote(server, **keys))
    samples = [Sample("a"), Sample("b")]
    assert seconds_a_text(judge, samples, latency=2.0) == pytest.approx(seconds)
    assert not server.calls


def test_stand_ins_are_prompts_of_the_run_with_completions_of_full_length(policy_folder):
    from rlaif.data.prompts import Prompt
    from rlaif.policy.tokenizer import read_tokenizer

    tokenizer = read_tokenizer(str(policy_folder("llama")))
    prompts = [Prompt(text, tokenizer(text)["input_ids"], {"kind": text}) for text in ("Why so?", "Who says that?")]
    samples = stand_ins(prompts, tokenizer, 40)
    assert len({sample.completion for sample in samples}) == len(samples) == 64
    assert {(sample.prompt, sample.columns["kind"]) for sample in samples} == {(p.text, p.text) for p in prompts}
    assert all(30 < len(sample.completion) < 45 for sample in samples), "a byte a token, but for those that are marks"
