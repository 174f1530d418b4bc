"""
The embedded default: a job of detoxification that needs no network, key or GPU.

A run file names its parts as `quickstart:policy`, `quickstart:prompts`, `quickstart:judge` and `quickstart:held_out`.
They are made of a corpus of our own on first use; from there on they are a model, judges and data like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlaif.core.config.run import RunConfig
from rlaif.core.errors import InputError
from rlaif.core.paths import QUICKSTART
from rlaif.judges.quickstart.cache import PROMPTS_FILE, make_parts
from rlaif.judges.quickstart.plan import PLAN, Plan

__all__ = ["resolve"]

MODELS, JUDGES, PROMPTS = ("policy",), ("judge", "held_out"), ("prompts",)


def resolve(config: RunConfig, say: Callable[[str], None], plan: Plan = PLAN) -> RunConfig:
    """
    Replace the names of the quickstart's parts by the folders that they are in; what is not there is made first.

    Args:
        config: a run file as it was read; one that names no such part is returned as it is.
        say: is told what is being made.
        plan: what the parts are made of.

    Raises:
        InputError: there is no such part, or `RLAIF_HOME` cannot be written.
        RlaifError: the disk is full; what was finished is kept.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was finished is kept.

    """
    named = []

    def note(part: str) -> str:
        named.append(part)
        return part

    _replace_parts(config, note)
    if not named:
        return config
    folders = make_parts(named, say, plan)
    return _replace_parts(config, lambda part: str(_place(part, folders[part])))


def _place(part: str, folder: Path) -> Path:
    return folder / PROMPTS_FILE if part == "prompts" else folder


def _replace_parts(config: RunConfig, found: Callable[[str], str]) -> RunConfig:
    """Return the run file with what `found` says in the place of each part's name."""

    def resolve_part(value: str, key: str, allowed: tuple[str, ...]) -> str:
        if not value.startswith(QUICKSTART):
            return value
        part = value.removeprefix(QUICKSTART)
        if part not in allowed:
            known = " or ".join(QUICKSTART + name for name in allowed)
            raise InputError(f"{key}: {value} is no part of the quickstart that goes here; name {known}")
        return found(part)

    def resolve_card(card: Any, key: str) -> Any:
        """Look into inline cards, and into those inside a panel."""
        if isinstance(card, list):
            return [resolve_card(member, f"{key}.{i}") for i, member in enumerate(card)]
        if not isinstance(card, Mapping):
            return card
        return {
            name: resolve_part(value, f"{key}.model", JUDGES)
            if name == "model" and isinstance(value, str)
            else resolve_card(value, f"{key}.{name}")
            for name, value in card.items()
        }

    policy, data, guard, evaluation = config.policy, config.data, config.guard, config.evaluation
    return replace(
        config,
        policy=replace(policy, model=resolve_part(policy.model, "policy.model", MODELS)),
        data=replace(data, dataset=resolve_part(data.dataset, "data.dataset", PROMPTS)),
        judge=resolve_card(config.judge, "judge"),
        guard=replace(guard, judges=resolve_card(guard.judges, "guard.judges")),
        evaluation=replace(evaluation, judges=resolve_card(evaluation.judges, "evaluation.judges")),
    )
