"""
The run file as types: each knob with its unit, its default and what it may be.

`rlaif init` writes the commented run file from here, so that the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rlaif.core.config.knobs import JudgeRef, knob, knob_without_default
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
    ppo: PPOSection = knob(PPOSection(), "how it learns")
    group: GroupSection = knob(GroupSection(), "how grpo and rloo learn, beside the keys of ppo")
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
            refuse_split_groups(self.ppo.batch_size, self.group.num_generations)


def read_run(path: Path, sets: Iterable[str] = ()) -> RunConfig:
    """
    Read a run file, changed by `--set KEY=value`, or raise `InputError` with the path of the wrong key.

    Args:
        path: of the YAML file.
        sets: as in `ppo.steps=20`; the value is read as YAML.

    """
    keys = read_yaml(read_text(path), str(path))
    where = str(path)
    for text in sets:
        if not isinstance(keys, dict):
            break
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {short_repr(text)}: should be KEY=value, as in ppo.steps=20")
        put(keys, key.strip(), read_yaml(value, f"--set {key}"))
        where = f"{path} with --set"
    run = check(RunConfig, keys, where)
    return run if run.output else replace(run, output=f"runs/{path.stem}")
