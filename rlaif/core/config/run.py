"""
The run file as types: each knob with its unit, its default and what it may be.

`rlaif init` writes the commented run file from here, so that the two cannot disagree.
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

    policy: PolicySection = knob_without_default(None, "the model that is trained")
    data: DataSection = knob_without_default(None, "the prompts")
    judge: JudgeRef = knob_without_default("toxicity", "a card, or a card written inline")
    reward: Literal["auto", "logit", "score"] = knob(
        "auto", "what is learned from; auto: the logit where the judge has one"
    )
    algorithm: Literal["ppo", "grpo", "rloo"] = knob("ppo", "the trainer; the last two are TRL's")
    generation: GenerationSection = knob(GenerationSection(), "how the policy answers")
    training: TrainingSection = knob(TrainingSection(), "what every algorithm has")
    ppo: PPOSection = knob(PPOSection(), "what PPO has beside it; grpo and rloo read some of it")
    group: GroupSection = knob(GroupSection(), "what grpo and rloo have beside it")
    stop: StopSection = knob(StopSection(), "when to stop before the last step")
    guard: GuardSection = knob(GuardSection(), "held-out judges that watch and choose the checkpoint")
    evaluation: EvaluationSection = knob(EvaluationSection(), "before and after")
    checkpoints: CheckpointSection = knob(CheckpointSection(), "what a killed run goes on from")
    budget: BudgetSection = knob(BudgetSection(), "what remote judges may cost")
    trackers: list[str] = knob([], "wandb, tensorboard, ... through accelerate")
    seed: int = knob(0, "of everything that is random")
    output: str | None = knob(None, "folder of the run; null: runs/NAME of this file")

    def __post_init__(self) -> None:
        if self.algorithm != "ppo":
            refuse_split_groups(self.training.batch_size, self.group.num_generations)


def read_run(path: Path, sets: Iterable[str] = (), say: Callable[[str], None] | None = None) -> RunConfig:
    """
    Read a run file, changed by `--set KEY=value`, or raise `InputError` with the path of the wrong key.

    Args:
        path: of the YAML file.
        sets: as in `training.steps=20`; the value is read as YAML.
        say: gets the line that names the keys given by an old name, where there are any.

    """
    keys, of_file = rename_old_keys(read_yaml(read_text(path), str(path)), str(path))
    of_sets = _put_all(keys, sets) if isinstance(keys, dict) else []
    run = check(RunConfig, keys, f"{path} with --set" if sets and isinstance(keys, dict) else str(path))
    if say and (note := format_note({str(path): of_file, "--set": of_sets})):
        say(note)
    return run if run.output else replace(run, output=f"runs/{path.stem}")


def _put_all(keys: dict[str, object], sets: Iterable[str]) -> list[str]:
    """Change keys in place as `--set` says, and return those that were given by their old name."""
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
