"""
The run file as a typed dataclass: each key with its type, default, unit and meaning.

`rlaif init` generates the commented run file from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rlaif.core.config.knobs import JudgeRef, knob, knob_without_default
from rlaif.core.config.old_keys import (
    format_note,
    names_assigned,
    refuse_both,
    rename_old_assignment,
    rename_old_keys,
)
from rlaif.core.config.sections import (
    BudgetSection,
    CheckpointSection,
    DataSection,
    EvaluationSection,
    GenerationSection,
    GroupSection,
    GuardSection,
    PolicySection,
    PPOSection,
    StopSection,
    TrainingSection,
    refuse_split_groups,
)
from rlaif.core.errors import InputError
from rlaif.core.overrides import put
from rlaif.core.schema import Checked, check, read_text, read_yaml, short_repr


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """A run file."""

    policy: PolicySection = knob_without_default(None, "the model to train")
    data: DataSection = knob_without_default(None, "the prompts")
    judge: JudgeRef = knob_without_default("toxicity", "a card, or a card written inline")
    reward: Literal["auto", "logit", "score"] = knob(
        "auto", "number of the judge to learn from; auto: the logit if the judge has one"
    )
    algorithm: Literal["ppo", "grpo", "rloo"] = knob("ppo", "the trainer; the last two are TRL's")
    generation: GenerationSection = knob(GenerationSection(), "how the policy samples completions")
    training: TrainingSection = knob(TrainingSection(), "settings of all algorithms")
    ppo: PPOSection = knob(PPOSection(), "settings of PPO; grpo and rloo use some of them")
    group: GroupSection = knob(GroupSection(), "settings of grpo and rloo")
    stop: StopSection = knob(StopSection(), "when to stop before the last step")
    guard: GuardSection = knob(GuardSection(), "held-out judges that watch the training and choose the checkpoint")
    evaluation: EvaluationSection = knob(EvaluationSection(), "measurement before and after training")
    checkpoints: CheckpointSection = knob(CheckpointSection(), "states that a stopped run resumes from")
    budget: BudgetSection = knob(BudgetSection(), "limits on the cost of remote judges")
    trackers: list[str] = knob([], "wandb, tensorboard, ... through accelerate")
    seed: int = knob(0, "seed of everything random")
    output: str | None = knob(None, "folder of the run; null: runs/NAME of this file")

    def __post_init__(self) -> None:
        if self.algorithm != "ppo":
            refuse_split_groups(self.training.batch_size, self.group.num_generations)


def read_run(path: Path, sets: Iterable[str] = (), say: Callable[[str], None] | None = None) -> RunConfig:
    """
    Read a run file and apply the overrides of `--set KEY=value`.

    Args:
        path: path of the YAML file.
        sets: overrides such as `training.steps=20`; values are parsed as YAML.
        say: called with a note on keys that have old names, if there are any.

    Raises:
        InputError: a key is unknown, missing or has a wrong value; the message names its path.

    """
    keys, of_file = rename_old_keys(read_yaml(read_text(path), str(path)), str(path))
    of_sets = _put_all(keys, sets) if isinstance(keys, dict) else []
    run = check(RunConfig, keys, f"{path} with --set" if sets and isinstance(keys, dict) else str(path))
    if say and (note := format_note({str(path): of_file, "--set": of_sets})):
        say(note)
    return run if run.output else replace(run, output=f"runs/{path.stem}")


def _put_all(keys: dict[str, object], sets: Iterable[str]) -> list[str]:
    """Apply `--set` overrides in place, and return the keys that were given under their old names."""
    old: list[str] = []
    new: list[str] = []
    for text in sets:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"--set {short_repr(text)}: should be KEY=value, as in training.steps=20")
        read = read_yaml(value, f"--set {key}")
        old += names_assigned("ppo", key, read)
        new += names_assigned("training", key, read)
        for name, assigned in rename_old_assignment(key, read).items():
            put(keys, name, assigned)
    refuse_both(old, new, "--set")
    return old
