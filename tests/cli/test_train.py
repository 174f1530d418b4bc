"""`rlaif train` as people use it: what is wrong is told in one line before it costs, and what is kept loads."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import yaml

from rlaif.core.errors import RlaifError
from tests.conftest import one_line
from tests.events import At
from tests.runs import Place, at, bytes_of, place


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Place:
    """A folder with all that a run needs."""
    return place(tmp_path_factory.mktemp("train"), training={"steps": 2})


@pytest.fixture
def here(made: Place, main, monkeypatch) -> Place:
    """The same, as the working directory."""
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def output(made: Place):
    name = f"run-{time.monotonic_ns()}"
    yield name
    shutil.rmtree(made.folder / name, ignore_errors=True)


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model is a failure of the test, reading a tokenizer too where it is said."""

    def loaded(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("rlaif.training.run.run.load", loaded)
    return monkeypatch


def refused(main, *arguments: str) -> str:
    done = main("train", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return one_line(done)


def test_help_says_what_it_writes_and_how_it_goes_on(main):
    done = main("train", "--help")
    assert done.returncode == 0
    for word in ("RUN.yaml", "--set", "--resume", "--output", "metrics.jsonl", "Ctrl-C", "accelerate launch"):
        assert word in done.stdout


# --- what is wrong with the input -------------------------------------------------------------------------------

CHEAP = {
    "unknown key": (["--set", "training.stepz=2"], "unknown key 'training.stepz' (did you mean 'steps'?)"),
    "wrong type": (["--set", "training.steps=many"], "training.steps: should be a whole number, not 'many'"),
    "no key": (["--set", "training.steps"], "should be KEY=value"),
    "batch not divisible": (["--set", "training.mini_batch_size=3"], "batch_size (4) should be a multiple of"),
    "a group too large": (["--set", "algorithm=grpo"], "batch_size (4) should be a multiple of num_generations"),
    "no card": (["--set", "judge=nope"], "no judge named 'nope'"),
    "no card file": (["--set", "judge=./nope.yaml"], "nope.yaml: no such judge file"),
    "wrong key of a card": (["--set", "judge.badd=hate"], "unknown key 'badd' (did you mean 'bad'?)"),
    "no model of a judge": (["--set", "judge.model=./nope"], "there is no model folder"),
    "no model": (["--set", "policy.model=./nope"], "there is no model folder 'nope'"),
    "no data": (["--set", "data.dataset=nope.jsonl"], "nope.jsonl: no such file"),
    "no test data": (["--set", "data.test_split=nope.jsonl"], "data.test_split: 'nope.jsonl' is no file"),
    "no template": (["--set", "data.template=nope"], "no prompt named 'nope'"),
    "unknown tracker": (["--set", "trackers=[nope]"], "trackers: there is no 'nope'; there are: "),
    "a file for an output": (["--output", "prompts.jsonl"], "prompts.jsonl: is there already"),
    "an output in a file": (["--output", "prompts.jsonl/run"], "prompts.jsonl/run: cannot be made"),
    "an output in use": (["--output", "judge"], "--resume, or name another by --output"),
    "logit of what has none": (
        ["--set", "judge={adapter: length}", "--set", "reward=logit"], "judge length has no logit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHEAP)
def test_what_can_be_known_at_once_is_told_before_even_a_tokenizer_is_read(what, here, main, no_model):
    no_model.setattr("rlaif.training.run.run.read_tokenizer", lambda *_, **__: pytest.fail("a tokenizer was read"))
    arguments, said = CHEAP[what]
    if "--output" not in arguments:
        arguments = [*arguments, "--output", "never"]
    assert said in refused(main, "run.yaml", *arguments)
    assert not (here.folder / "never").exists()


DATA = {
    "no prompt column": ([{"question": "a"}, {"question": "b"}], [], "question"),
    "empty prompts": ([{"prompt": " "}] * 9, [], "no prompt is left of 9 rows; 9 of 9 rows left out: the prompt is"),
    "over-long prompts": (
        [{"prompt": f"{i} " * 50} for i in range(9)],
        ["--set", "data.overlong=drop", "--set", "data.max_prompt_tokens=10"],
        "longer than max_prompt_tokens (10)",
    ),
    "one row": ([{"prompt": "alone"}], [], "no part may be empty; give more prompts"),
    "no rows": ([], [], "no prompt is left of 0 rows"),
    "nothing matches": ([{"prompt": f"{i}", "kind": "q"} for i in range(9)], ["--set", "data.where=kind == 'x'"],
                        "do not match data.where"),
    "a column for the judge": (
        [{"prompt": f"{i}", "kind": "q"} for i in range(9)],
        ["--set", "judge={adapter: python, function: './needs.py:judge'}"],
        "judge python needs the column 'answer' of the data; there are: kind",
    ),
}  # fmt: skip


def test_a_model_loads_in_the_dtype_that_the_device_of_the_run_is_fast_at(here, main, monkeypatch):
    import torch

    asked = []

    def loaded(*_, device, **__):
        asked.append(device)
        raise RlaifError("enough")

    monkeypatch.setattr("rlaif.training.run.run.load", loaded)
    monkeypatch.setattr("rlaif.training.run.run.computes_on", lambda: torch.device("cuda"))
    assert main("train", "run.yaml", "--output", "device").returncode == 1
    assert asked == [torch.device("cuda")]


@pytest.mark.parametrize("what", DATA)
def test_what_is_wrong_with_the_prompts_is_told_before_the_model_loads(what, here, main, no_model):
    rows, arguments, said = DATA[what]
    (here.folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (here.folder / "needs.py").write_text("def judge(completions, answer):\n    return [0.5 for _ in completions]\n")
    line = refused(main, "run.yaml", "--output", "never", "--set", "data.dataset=bad.jsonl", *arguments)
    assert said in line
    assert not (here.folder / "never").exists()


def test_a_run_file_that_is_not_there_is_refused_with_the_command_that_writes_one(here, main):
    line = refused(main, "nope.yaml")
    assert "nope.yaml: there is no such run file" in line
    assert "rlaif init" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [("[1, 2", "line 1: not valid YAML"), ("- a\n", "should be a mapping"), ("", "should be a mapping")],
)
def test_a_file_that_is_no_run_file_is_refused(text, said, here, main):
    (here.folder / "bad.yaml").write_text(text)
    assert said in refused(main, "bad.yaml")


def test_a_folder_without_a_model_is_refused(here, main):
    (here.folder / "empty").mkdir(exist_ok=True)
    assert "empty" in refused(main, "run.yaml", "--output", "never", "--set", "policy.model=./empty")


def test_a_classifier_is_no_policy(made, output):
    done = made.train("--output", output, "--set", "policy.model=./judge")
    assert done.returncode == 2
    assert "policy.model" in one_line(done)


# --- what fails at work -----------------------------------------------------------------------------------------

JUDGES = {
    "too few": ("return [0.5]", "returned 1 rewards for 4 completions"),
    "NaN": ("return [float('nan')] * len(completions)", "returned nan"),
    "raises": ("return [1 / 0]", "ZeroDivisionError"),
    "off its scale": ("return [7.0] * len(completions)", "off its scale"),
}


@pytest.mark.parametrize("what", JUDGES)
def test_a_judge_with_a_bug_stops_the_run_in_one_line_with_file_and_line(what, made, output):
    body, said = JUDGES[what]
    (made.folder / f"{output}.py").write_text(f"def judge(completions):\n    {body}\n")
    judge = f"judge={{adapter: python, function: './{output}.py:judge', name: mine}}"
    done = made.train("--output", output, "--set", judge)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]
    assert said in line
    assert f"{output}.py:" in line
    assert "Traceback" not in done.stderr


# In the second step.
ACTING = At("forward", since=At("append", "metrics.jsonl"))
LEARNING = At("backward", n=2, since=At("append", "metrics.jsonl"))
MEMORY = {
    "acting, on a GPU": (
        ACTING, "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
        "out of memory while acting: lower training.batch_size, generation.max_new_tokens or "
        "training.micro_batch_tokens",
    ),
    "acting, on a CPU": (
        ACTING,
        "RuntimeError(\"[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 999 bytes. Error code 12 (Cannot allocate memory)\")",
        "out of memory while acting",
    ),
    "learning, on a GPU": (
        LEARNING, "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
        "out of memory while learning: lower training.micro_batch_tokens, or set policy.gradient_checkpointing: true",
    ),
    "learning, on a CPU": (
        LEARNING, "MemoryError()", "out of memory while learning",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MEMORY)
def test_where_memory_runs_out_it_says_what_to_lower_and_keeps_the_last_whole_step(what, made, output):
    moment, error, said = MEMORY[what]
    done = made.train("--output", output, meddle=f"import torch\n{at(moment, f'fail({error})')}")
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]
    assert said in line
    assert "Traceback" not in done.stderr
    if "acting" in what:
        assert f"step 1 is kept in {output}/checkpoints; --resume goes on from it" in line
        assert made.checkpoints(output) == ["step-000001"]
    done = made.train("--resume", "--output", output)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_in_a_checkpoint_is_one_line_keeps_the_earlier_ones_and_can_be_resumed(made, output):
    full = at(At("open", "checkpoints/.step-000002.writing/*"), "limit_files(20_000)")
    done = made.train("--output", output, "--set", "checkpoints.every=1", meddle=full)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rlaif: ")]
    assert "step-000002: cannot be written: File too large" in line
    assert "free space, then go on with `--resume`" in line
    assert made.checkpoints(output) == ["step-000001"]
    done = made.train("--resume", "--output", output, "--set", "checkpoints.every=1")
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in made.metrics(output)] == [1, 2]


# --- what is kept -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def trained(made: Place) -> Place:
    for name, sets in (("full", []), ("lora", ["policy.lora={r: 4, alpha: 8}"]), ("merged", ["policy.merge=true"])):
        sets = [*sets, "policy.lora={r: 4, alpha: 8}"] if name == "merged" else sets
        done = made.train("--output", name, *(word for text in sets for word in ("--set", text)))
        assert done.returncode == 0, done.stderr
    return made


def test_a_run_speaks_in_plain_lines_and_tells_where_the_model_is(made, output):
    done = made.train("--output", output)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[0] == "8 prompts to train on, 0 for the guard, 1 to test on"
    assert lines[1].startswith("warning: no judge is held out")
    assert lines[2].startswith("warning: nothing guards the training")
    assert any(line.startswith("reward of the first batch: ") for line in lines)
    assert any(line.startswith("step 2/2 ") for line in lines)
    assert lines[-5] == f"the model is in {output}/model; to load it:"
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr


def _generated(model, folder) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    given = tokenizer("ask 3?", return_tensors="pt")
    return model.generate(**given, max_new_tokens=6, do_sample=False)[0].tolist()


def test_a_model_loads_by_transformers_alone_with_its_tokenizer_and_generation_settings(trained):
    from transformers import AutoModelForCausalLM, GenerationConfig

    folder = trained.folder / "full" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    before = AutoModelForCausalLM.from_pretrained(trained.folder / "policy")
    moved = [float((a - b).detach().abs().max()) for a, b in zip(model.parameters(), before.parameters(), strict=True)]
    assert max(moved) > 1e-4
    assert GenerationConfig.from_pretrained(folder).eos_token_id == 2
    assert len(_generated(model, folder)) > 6


def test_an_adapter_loads_by_peft_alone_and_merged_it_is_a_model_that_says_the_same(trained):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    adapter, merged = trained.folder / "lora" / "model", trained.folder / "merged" / "model"
    assert (adapter / "adapter_config.json").exists()
    assert not (merged / "adapter_config.json").exists()
    one, other = AutoPeftModelForCausalLM.from_pretrained(adapter), AutoModelForCausalLM.from_pretrained(merged)
    assert _generated(one, adapter) == _generated(other, merged)


def test_run_yaml_is_the_whole_config_and_a_run_file_itself_wherever_it_lies(trained, output, main, monkeypatch):
    written = yaml.safe_load((trained.folder / "full" / "run.yaml").read_text())
    assert written["training"]["steps"] == 2
    assert written["ppo"]["cliprange"] == 0.2
    assert written["judge"]["model"] == str(trained.folder / "judge")
    monkeypatch.chdir(trained.folder)
    done = main("train", "full/run.yaml", "--output", output)
    assert done.returncode == 0, done.stderr
    again = trained.folder / output
    assert bytes_of(again / "model") == bytes_of(trained.folder / "full" / "model")
    assert yaml.safe_load((again / "run.yaml").read_text()) == {**written, "output": output}


def test_inline_cards_of_a_run_file_in_another_folder_find_their_files(made, main, monkeypatch, output):
    elsewhere = made.folder / "configs"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text("def judge(completions):\n    return [len(c) / 1000 for c in completions]\n")
    (elsewhere / "short.yaml").write_text("{adapter: length}")
    panel = {
        "adapter": "panel", "name": "both",
        "judges": [{"judge": {"adapter": "python", "function": "./mine.py:judge"}, "weight": 2}, "./short.yaml"],
    }  # fmt: skip
    made.write("configs/run.yaml", judge=panel)
    monkeypatch.chdir(made.folder)
    done = main("train", "configs/run.yaml", "--output", output)
    assert done.returncode == 0, done.stderr
    done = main("train", f"{output}/run.yaml", "--resume", "--output", output)
    assert done.returncode == 0, done.stderr
    judges = yaml.safe_load((made.folder / output / "run.yaml").read_text())["judge"]["judges"]
    assert judges[0]["judge"]["function"] == f"{elsewhere}/mine.py:judge"
    assert judges[1] == f"{elsewhere}/short.yaml"
