"""Keys of `training` under the names that they had in `ppo`, until 0.1.0: read, named in one line, never both."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.core.config.run import read_run
from rlaif.core.config.sections import TrainingSection
from rlaif.core.errors import InputError

SHORTEST = "policy: {model: m}\ndata: {dataset: d}\njudge: length\n"
VALUES = {
    "steps": 7, "batch_size": 6, "mini_batch_size": 3, "micro_batch_tokens": 99, "learning_rate": 0.5,
    "lr_scheduler_type": "cosine", "warmup_steps": 2, "max_grad_norm": 0.25, "judge_patience": 1.5,
}  # fmt: skip


def run_file(folder: Path, *sections: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(SHORTEST + "".join(f"{section}\n" for section in sections))
    return path


def read(path: Path, *sets: str) -> tuple[TrainingSection, list[str]]:
    """Return the section and the lines that were said."""
    lines: list[str] = []
    return read_run(path, sets, lines.append).training, lines


def test_every_key_of_training_is_read_by_its_old_name_and_all_are_named_in_one_line(tmp_path: Path) -> None:
    path = run_file(tmp_path, f"ppo: {{{', '.join(f'{key}: {value}' for key, value in VALUES.items())}, lam: 0.5}}")
    training, lines = read(path)
    assert training == TrainingSection(**VALUES)  # type: ignore[arg-type]
    assert read_run(path).ppo.lam == 0.5
    old, new = (", ".join(f"{section}.{key}" for key in VALUES) for section in ("ppo", "training"))
    assert lines == [f"note: {path}: {old} are the old names of {new}"]


def test_nothing_is_said_of_keys_by_their_names_of_today(tmp_path: Path) -> None:
    path = run_file(tmp_path, "training: {steps: 7}", "ppo: {lam: 0.5}")
    assert read(path, "training.batch_size=16", "ppo.gamma=0.9") == (TrainingSection(steps=7, batch_size=16), [])


@pytest.mark.parametrize("section", ["training", "ppo"])
@pytest.mark.parametrize("name", ["training", "ppo"])
def test_set_by_either_name_overrides_the_file_that_has_either(tmp_path: Path, section: str, name: str) -> None:
    path = run_file(tmp_path, f"{section}: {{steps: 7, warmup_steps: 2}}")
    training, lines = read(path, f"{name}.steps=5")
    assert (training.steps, training.warmup_steps) == (5, 2)
    places = [str(path)] * (section == "ppo") + ["--set"] * (name == "ppo")
    assert [line.split(": ")[1] for line in lines] == ([" and ".join(places)] if places else [])


def test_a_whole_section_by_set_may_hold_old_names(tmp_path: Path) -> None:
    path = run_file(tmp_path, "training: {steps: 7, batch_size: 32}")
    training, lines = read(path, "ppo={steps: 5, lam: 0.5}")
    assert (training.steps, training.batch_size) == (5, 32)
    assert read_run(path, ["ppo={steps: 5, lam: 0.5}"]).ppo.lam == 0.5
    assert lines == ["note: --set: ppo.steps is the old name of training.steps"]


def test_of_an_old_name_that_is_set_twice_the_later_wins(tmp_path: Path) -> None:
    assert read(run_file(tmp_path), "ppo.steps=5", "ppo.steps=6")[0].steps == 6


def test_a_file_with_both_names_of_a_key_is_refused(tmp_path: Path) -> None:
    path = run_file(tmp_path, "training: {steps: 7}", "ppo: {steps: 7, batch_size: 32}")
    with pytest.raises(InputError) as refused:
        read(path)
    assert (
        str(refused.value) == f"{path}: ppo.steps is the old name of training.steps, which is given too; leave it out"
    )


@pytest.mark.parametrize(
    "sets",
    [
        ["ppo.steps=5", "training.steps=5"],
        ["training={steps: 5}", "ppo.steps=6"],
        ["ppo={steps: 5}", "training.steps=6"],
    ],
)
def test_a_command_line_with_both_names_of_a_key_is_refused(tmp_path: Path, sets: list[str]) -> None:
    with pytest.raises(InputError, match=r"^--set: ppo\.steps is the old name of training\.steps, which is given too"):
        read(run_file(tmp_path), *sets)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        (["ppo: {steps: many}"], "training.steps: should be a whole number, not 'many'"),
        (["training: 3", "ppo: {steps: 5}"], "training: should be a mapping, not 3"),
        (["training: {steps: 5}", "ppo: 3"], "ppo: should be a mapping, not 3"),
        (["ppo: {steps: {a: 1}}"], "training.steps: should be a whole number"),
    ],
)
def test_what_is_wrong_is_refused_under_an_old_name_too(tmp_path: Path, sections: list[str], says: str) -> None:
    path = run_file(tmp_path, *sections)
    with pytest.raises(InputError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: {says}")
