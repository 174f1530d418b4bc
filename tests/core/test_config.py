"""The run file: its defaults, its comments, what is refused, and `rlaif init` and `rlaif check` on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.config.sections import (
    BudgetSection,
    DataSection,
    EvaluationSection,
    GenerationSection,
    LoraSection,
    PolicySection,
    PPOSection,
    StopSection,
    TrainingSection,
)
from rlaif.core.errors import InputError
from rlaif.core.schema import check, list_keys
from tests.conftest import Command, one_line

# The run file of the design, as it stands there.
EXAMPLE = """\
policy:     {model: google/flan-t5-base, dtype: auto, lora: {r: 16, alpha: 32}}      # trainable weights and Adam stay float32; bfloat16 by autocast or in a frozen base
data:
  dataset: Anthropic/hh-rlhf         # hub id, folder or file: jsonl, csv, parquet, txt. Also: name, data_dir, revision, split, test_split, limit, where
  column: null                       # default: prompt, else what chosen and rejected share, else refused with the columns' names. Message lists and dotted names too
  template: policy/summarize_dialogue
  max_prompt_tokens: 256             # of the text before the template; overlong: drop | truncate
judge: toxicity                      # a card or an inline card
reward: auto                         # auto (logit where the judge has one, else score) | score | logit
generation: {max_new_tokens: 64, min_new_tokens: 5, temperature: 1.0, top_p: 1.0}
training:   {steps: 200, batch_size: 64, mini_batch_size: 16, micro_batch_tokens: 4096, learning_rate: 1.0e-5}     # what every algorithm has
ppo:        {ppo_epochs: 4, kl_coef: 0.05, cliprange: 0.2, vf_coef: 0.1}
stop:       {score: null, window: 10, kl: null}
guard:      {judges: [toxicity_general], every: 10, num_prompts: 64, on_alarm: warn}         # warn | stop
evaluation: {judges: [toxicity_general], num_prompts: 500, completions_per_prompt: 1}
checkpoints: {every: 20, keep: 2}
budget:     {usd: null, calls: null}
trackers:   []
seed: 0
output: runs/flan-t5-hh
"""  # noqa: E501
SHORTEST = "policy: {model: m}\ndata: {dataset: d}\njudge: length\n"


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "detox.yaml"
    path.write_text(SHORTEST)
    return path


def test_the_run_file_of_the_design_is_accepted_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(EXAMPLE)
    run = read_run(path)
    assert run.policy.lora == LoraSection(r=16, alpha=32)
    assert run.data.template == "policy/summarize_dialogue"
    assert run.output == "runs/flan-t5-hh"
    # What it shows for these are the defaults.
    assert (run.generation, run.training, run.ppo, run.stop, run.budget) == (
        GenerationSection(), TrainingSection(), PPOSection(), StopSection(), BudgetSection(),
    )  # fmt: skip


def test_three_keys_are_enough_and_the_output_is_named_after_the_file(run_file: Path) -> None:
    assert read_run(run_file) == RunConfig(
        policy=PolicySection(model="m"), data=DataSection(dataset="d"), judge="length", output="runs/detox"
    )


@pytest.mark.parametrize("key", ["policy.model", "data.dataset", "judge"])
def test_each_of_the_three_keys_is_needed(tmp_path: Path, key: str) -> None:
    section, _, inner = key.partition(".")
    keys = yaml.safe_load(SHORTEST)
    keys[section].pop(inner) if inner else keys.pop(section)
    with pytest.raises(InputError, match=f"x: the key '{key}' is missing"):
        check(RunConfig, keys, "x")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        (
            "training.step=20",
            "detox.yaml with --set: unknown key 'training.step' (did you mean 'steps'?); allowed: steps, batch",
        ),
        ("pop.steps=20", "unknown key 'pop' (did you mean 'ppo'?); allowed: policy, data, judge, "),
        ("policy.lora.rank=8", "unknown key 'policy.lora.rank'; allowed: r, alpha, dropout, target_modules"),
        ("training.steps=many", "training.steps: should be a whole number, not 'many'"),
        ("training.steps=0", "training.steps: should be greater than or equal to 1, not 0"),
        ("ppo=3", "ppo: should be a mapping, not 3"),
        ("training=3", "training: should be a mapping, not 3"),
        ("training.learning_rate=0", "training.learning_rate: should be greater than 0, not 0"),
        ("training.learning_rate=.nan", "training.learning_rate: should be a finite number, not nan"),
        ("policy.lora=yes", "policy.lora: should be a mapping, not 'yes'"),
        ("policy.dtype=int8", "policy.dtype: should be 'auto', 'float32' or 'bfloat16', not 'int8'"),
        ("policy.merge=no", "policy.merge: should be true or false, not 'no'"),
        ("judge=[a]", "judge: should be text or a mapping, not ['a']"),
        ("guard.judges=length", "guard.judges: should be a list, not 'length'"),
        ("guard.judges=[length, 3]", "guard.judges.1: should be text or a mapping, not 3"),
        ("guard.on_alarm=cry", "guard.on_alarm: should be 'warn' or 'stop', not 'cry'"),
        ("stop.score=2", "stop.score: should be less than or equal to 1, not 2"),
        ("training.mini_batch_size=15", "training: batch_size (64) should be a multiple of mini_batch_size (15)"),
        ("generation.min_new_tokens=65", "generation: min_new_tokens (65) should not exceed max_new_tokens (64)"),
        ("policy.load_in_4bit=true", "policy: load_in_4bit needs lora: a 4-bit base cannot be trained"),
        ("seed", "--set 'seed': should be KEY=value, as in training.steps=20"),
        ("=3", "--set '=3': should be KEY=value"),
        ("seed={", "--set seed, line 1: not valid YAML"),
    ],
)
def test_a_wrong_key_is_refused_with_its_path(main: Command, run_file: Path, assignment: str, says: str) -> None:
    done = main("check", str(run_file), "--set", assignment)
    assert done.returncode == 2
    assert says in one_line(done)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "should be a mapping of keys to values, not None"),
        ("- a\n", "should be a mapping of keys to values, not ['a']"),
        ("judge: a\njudge: b\n", "line 2: not valid YAML: the key 'judge' appears twice"),
        (SHORTEST + "ppo:\n", "ppo: should be a mapping, not None"),
    ],
)
def test_a_broken_run_file_is_refused(main: Command, run_file: Path, text: str, says: str) -> None:
    run_file.write_text(text)
    done = main("check", str(run_file), "--set", "seed=1")
    assert done.returncode == 2
    assert says in one_line(done)


def test_set_changes_keys_that_the_file_has_and_keys_that_it_has_not(run_file: Path) -> None:
    run = read_run(
        run_file, ["training.steps=20", "training.learning_rate=2e-6", "policy.lora.r=8", "judge={adapter: length}"]
    )
    assert (run.training.steps, run.training.learning_rate) == (20, 2e-6)
    assert run.policy.lora == LoraSection(r=8)
    assert run.judge == {"adapter": "length"}


def test_a_later_set_wins(run_file: Path) -> None:
    assert read_run(run_file, ["seed=1", "seed=2"]).seed == 2


keys = st.sampled_from([key for cls in (RunConfig, TrainingSection, PPOSection) for key in list_keys(cls)]) | st.text(
    max_size=5
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=6)


@given(st.dictionaries(keys, values))
def test_any_run_file_is_accepted_or_refused_in_words(mapping: dict[str, Any]) -> None:
    whole = {**yaml.safe_load(SHORTEST), **mapping}
    try:
        run = check(RunConfig, whole, "x")
    except InputError as error:
        assert str(error).startswith("x: ")  # noqa: PT017 - either way is right
    else:
        assert run.training.batch_size % run.training.mini_batch_size == 0


# --- rlaif init -----------------------------------------------------------------------------------------------


def knobs(cls: type, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each key of the run file, and its comment."""
    for key in fields(cls):
        yield f"{path}{key.name}", key.metadata.get("meaning", "")
        hint = get_type_hints(cls)[key.name]
        for section in (hint, *get_args(hint)):
            if is_dataclass(section):
                yield from knobs(section, f"{path}{key.name}.")  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "meaning"), knobs(RunConfig), ids=lambda value: value.replace(" ", "_"))
def test_every_knob_says_what_it_is(path: str, meaning: str) -> None:
    assert meaning
    assert meaning == meaning.strip()
    assert "\n" not in meaning


def test_init_writes_every_key_with_its_comment_and_exactly_the_defaults(main: Command, tmp_path: Path) -> None:
    assert main("init").returncode == 0
    text = (tmp_path / "run.yaml").read_text()
    run = read_run(tmp_path / "run.yaml")
    assert run == RunConfig(
        policy=PolicySection(model="google/flan-t5-base"),
        data=DataSection(dataset="Anthropic/hh-rlhf"),
        judge="toxicity",
        output="runs/run",
    )
    written = yaml.safe_load(text)
    for path, meaning in knobs(RunConfig):
        if not path.startswith("policy.lora."):  # null by default: its keys are not written
            section, _, key = path.rpartition(".")
            assert key in (written[section] if section else written)
            lines = [x for x in text.splitlines() if x.strip().startswith(f"{key}:") and x.endswith(f" # {meaning}")]
            assert any(line.startswith("  ") == bool(section) for line in lines), path


def test_init_names_the_file_and_what_to_do_next(main: Command, tmp_path: Path) -> None:
    done = main("init", "-o", "detox.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "wrote detox.yaml; `rlaif check detox.yaml` checks it\n"
    assert "# `rlaif check detox.yaml` checks it." in (tmp_path / "detox.yaml").read_text()


def test_init_writes_to_standard_output_what_it_writes_to_a_file_below_the_schema(main: Command, tmp_path: Path):
    assert not main("init", "-o", "-").stdout.startswith("# yaml-language-server")
    assert list(tmp_path.iterdir()) == []
    main("init")
    schema, _, rest = (tmp_path / "run.yaml").read_text().partition("\n")
    assert schema == "# yaml-language-server: $schema=run.schema.json"
    assert main("init", "-o", "-").stdout == rest


def test_init_writes_the_schema_beside_the_run_file(main: Command, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("run.yaml", "other.yaml"):
        assert main("init", "-o", f"there/{name}").returncode == 0
    assert (tmp_path / "there" / "run.schema.json").read_text() == main("schema", "run").stdout


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("here.yaml", "here.yaml: exists already; name another with --output"),
        (".", ".: exists already"),
        ("absent/run.yaml", "absent/run.yaml: cannot be written: No such file or directory"),
        ("a" * 5000, "cannot be written: File name too long"),
        ("nul\0", "cannot be written"),
    ],
)
def test_init_overwrites_nothing(main: Command, tmp_path: Path, output: str, says: str) -> None:
    (tmp_path / "here.yaml").write_text("mine")
    done = main("init", "-o", output)
    assert done.returncode == 2
    assert says in one_line(done)
    assert (tmp_path / "here.yaml").read_text() == "mine"


# --- rlaif check ----------------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path, policy_folder: Callable[[str], Path]) -> str:
    """The shortest run file of a model and prompts that are there."""
    rows = (json.dumps({"prompt": f"Why {i}?"}) + "\n" for i in range(40))
    (tmp_path / "prompts.jsonl").write_text("".join(rows))
    return f"policy: {{model: {policy_folder('llama')}}}\ndata: {{dataset: {tmp_path}/prompts.jsonl}}\njudge: length\n"


def test_check_probes_each_judge_of_a_run_file(main: Command, run_file: Path, whole: str) -> None:
    judges = "guard: {judges: [lexicon]}\nevaluation: {judges: [{adapter: constant, value: 0.25, name: low}]}\n"
    run_file.write_text(whole + judges)
    done = main("check", str(run_file), "--quick")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.partition("\n\n")[0].splitlines()[1:]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("length", "length", "ok"), ("lexicon", "toxicity", "ok"), ("low", "quality", "ok"),
    ]  # fmt: skip
    assert rows[1][2:4] == ["1.000", "0.000"], "score and toxicity"
    assert rows[2][2] == "0.250"


def test_check_reads_an_inline_card_relative_to_the_run_file(main: Command, tmp_path: Path, whole: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "words.txt").write_text("weather\n")
    inline = "judge: {adapter: lexicon, file: words.txt}"
    (tmp_path / "there" / "run.yaml").write_text(whole.replace("judge: length", inline))
    done = main("check", "there/run.yaml", "--quick")
    assert done.returncode == 0, done.stdout
    assert "0.500" in done.stdout


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_wrong_path_of_an_inline_card_is_told_as_the_run_file_means_it(
    main: Command, tmp_path: Path, whole: str, command: str
) -> None:
    (tmp_path / "there").mkdir()
    inline = "judge: {adapter: classifier, bad: toxic, model: ./tox}"
    (tmp_path / "there" / "run.yaml").write_text(whole.replace("judge: length", inline))
    done = main(command, "there/run.yaml")
    assert done.returncode == 2
    assert f"there is no model folder '{tmp_path}/there/tox'" in one_line(done)


def test_check_tells_of_all_judges_also_where_one_is_wrong(main: Command, run_file: Path, whole: str) -> None:
    run_file.write_text(whole + "guard: {judges: [{adapter: constant, value: 2, name: high}]}\n")
    done = main("check", str(run_file))
    assert done.returncode == 2
    assert "the inline card 'high': value: should be less than or equal to 1, not 2" in one_line(done)
    judges = done.stdout.partition("\n\n")[0]
    assert [line.split()[0] for line in judges.splitlines()[1:]] == ["length", "high"]
    assert judges.split()[-1] == "failed"


def test_check_of_nothing_and_of_a_file_that_is_not_there_is_one_line(main: Command) -> None:
    assert "nothing to check: name a run file, or a judge with -j" in one_line(main("check"))
    done = main("check", "absent.yaml")
    assert done.returncode == 2
    assert "absent.yaml: cannot be read: No such file or directory" in one_line(done)


def test_the_measurement_has_no_held_out_judge_unless_one_is_named() -> None:
    assert EvaluationSection().judges == []
