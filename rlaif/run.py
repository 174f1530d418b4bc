"""A run file, from its prompts to the model that is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from rlaif.adapters import load_judge, settled
from rlaif.checkpoint import write_atomically
from rlaif.config import GenerationSection, JudgeRef, PPOConfig, PPOSection, RunConfig, read_run
from rlaif.data import load_parts, refuse_missing
from rlaif.errors import InputError
from rlaif.limits import Budget
from rlaif.policy.loading import load, read_tokenizer
from rlaif.processes import computes_on, refuse_misfit, refuse_unknown_trackers
from rlaif.rewards import Rewards
from rlaif.schema import check, read_text, read_yaml, reason_of, shown
from rlaif.session import Session
from rlaif.spending import Spending
from rlaif.trainer import PPOTrainer

MAY_CHANGE = ("ppo.steps", "ppo.judge_patience", "stop", "checkpoints", "budget", "trackers", "output")
"""What a resumed run may have otherwise: nothing that has acted on the steps before."""


def train(run: str | Path | RunConfig, sets: Iterable[str] = (), *, resume: bool = False) -> None:
    """
    Train by a run file.

    Args:
        run: its path, or what was read of it.
        sets: changes, as `--set` gives them: `ppo.steps=20`.
        resume: go on from the newest whole checkpoint in the output folder.

    Raises:
        InputError: a key, the data, a judge or the model is wrong; before a step is made.
        RlaifError: a judge stayed down, the budget is spent, memory or disk ran out.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.

    """
    config = run if isinstance(run, RunConfig) else read_run(Path(run), sets)
    if not config.output:
        raise InputError("output: is missing; name the folder of the run")
    folder = Path() if isinstance(run, RunConfig) else Path(run).parent
    if config.algorithm != "ppo":
        raise InputError(f"algorithm: {config.algorithm} is not here yet; take ppo")
    config = _settled(config, folder)
    output, budget = Path(str(config.output)), Budget(config.budget.usd, config.budget.calls)
    # From the cheap to the dear: what is wrong with a card or the data is told before a model loads.
    _refuse_output(config, output, resume)
    refuse_misfit(config.ppo.batch_size)
    refuse_missing(config.data)
    rewards = Rewards(load_judge(config.judge, session=Session(budget)), reward=config.reward)
    if config.trackers:
        refuse_unknown_trackers(config.trackers)
    tokenizer = read_tokenizer(config.policy.model, config.policy.revision)
    parts = load_parts(
        config.data,
        tokenizer,
        guard_prompts=config.guard.num_prompts if config.guard.judges else 0,
        test_prompts=config.evaluation.num_prompts,
    )
    rewards.refuse_lacking(parts.train)
    _make(output)
    trainer = trainer_of(config, rewards, tokenizer, list(parts.train))
    if trainer.processes.is_main:
        write_atomically(output / "run.yaml", as_yaml(config))
    for note in parts.notes:
        trainer.view.say(note)
    trainer.view.say(
        f"{len(parts.train)} prompts to train on, {len(parts.guard)} for the guard, {len(parts.test)} to test on"
    )
    with Spending(budget, output / "spending.jsonl").of(trainer):
        trainer.train(resume_from_checkpoint=resume)
    trainer.view.say(f"the model is in {output / 'model'}")


def trainer_of(config: RunConfig, rewards: Rewards, tokenizer: Any, prompts: list[Any]) -> PPOTrainer:
    """Make the trainer of a run."""
    policy = config.policy
    loaded = load(
        policy.model,
        revision=policy.revision,
        dtype=policy.dtype,
        lora=policy.lora,
        load_in_4bit=policy.load_in_4bit,
        device=computes_on(),
        tokenizer=tokenizer,
    )
    return PPOTrainer(loaded, rewards, args_of(config), prompts, merge=policy.merge)


def args_of(config: RunConfig) -> PPOConfig:
    """Return the trainer's settings: the same keys, flat."""
    sections = {
        field.name: getattr(section, field.name)
        for section, kind in ((config.ppo, PPOSection), (config.generation, GenerationSection))
        for field in fields(kind)
    }
    return PPOConfig(
        **sections,
        output_dir=str(config.output),
        seed=config.seed,
        reward=config.reward,
        dtype=config.policy.dtype,
        critic=config.policy.critic,
        gradient_checkpointing=config.policy.gradient_checkpointing,
        save_steps=config.checkpoints.every,
        save_total_limit=config.checkpoints.keep,
        stop_score=config.stop.score,
        stop_window=config.stop.window,
        stop_kl=config.stop.kl,
        report_to=config.trackers,
    )


def as_yaml(config: RunConfig) -> str:
    """Return a run file of all keys as they are: what `--resume` compares with."""
    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, default_flow_style=None)


def _settled(config: RunConfig, folder: Path) -> RunConfig:
    """Make the paths of inline cards, relative to the run file, absolute: the run's own run.yaml lies elsewhere."""

    def of(card: JudgeRef) -> JudgeRef:
        return settled(card, folder) if isinstance(card, dict) else card

    guard, evaluation = config.guard, config.evaluation
    return replace(
        config,
        judge=of(config.judge),
        guard=replace(guard, judges=[of(card) for card in guard.judges]),
        evaluation=replace(evaluation, judges=[of(card) for card in evaluation.judges]),
    )


def _make(output: Path) -> None:
    """Make the folder of the run, or raise `InputError`."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made: {reason_of(error)}; name another folder by --output") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(f"{output}: cannot be written; name another folder by --output")


def _refuse_output(config: RunConfig, output: Path, resume: bool) -> None:
    """Raise `InputError` where the output folder is somebody else's, or of a run with other settings."""
    there = output / "run.yaml"
    if not resume:
        nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
        if nearest != output and not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise InputError(f"{output}: cannot be made in {nearest}; name another folder by --output")
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"{output}: is there already; go on with its run by --resume, or name another by --output")
        return
    if not there.exists():
        raise InputError(f"{output}: holds no run to go on with (no run.yaml); leave --resume out to begin one")
    before = _flat(asdict(check(RunConfig, read_yaml(read_text(there), str(there)), str(there))))
    now = _flat(asdict(config))
    for key in now | before:  # one without `lora` has no policy.lora.r, which the other one may have
        theirs, mine = before.get(key), now.get(key)
        if mine != theirs and not any(key == word or key.startswith(f"{word}.") for word in MAY_CHANGE):
            raise InputError(
                f"{output}: its run has {key}: {shown(theirs)}, not {shown(mine)}; "
                "go on with the same, or name another folder by --output"
            )


def _flat(keys: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in keys.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
