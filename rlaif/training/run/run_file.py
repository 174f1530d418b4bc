"""A run file as a command reads it: the one place where the paths of its inline cards become absolute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from rlaif.core.config.knobs import JudgeRef
from rlaif.core.config.run import RunConfig, read_run
from rlaif.judges.registry import make_paths_absolute


def open_run(
    run: str | Path | RunConfig, sets: Iterable[str] = (), note: Callable[[str], None] | None = None
) -> RunConfig:
    """
    Return a run file whose cards mean the same wherever they are read: the run's own run.yaml lies elsewhere.

    Args:
        run: its path, or what was read of it. Paths of inline cards are relative to the file, or else to the working
            directory.
        sets: changes, as `--set` gives them: `training.steps=20`.
        note: gets a line about keys that are given by their old names.

    Raises:
        InputError: a key is wrong. What is wrong with a card is found when its judge is made.

    """
    config, folder = (
        (run, Path()) if isinstance(run, RunConfig) else (read_run(Path(run), sets, note), Path(run).parent)
    )

    def resolve(card: JudgeRef) -> JudgeRef:
        return make_paths_absolute(card, folder) if isinstance(card, dict) else card

    guard, evaluation = config.guard, config.evaluation
    return replace(
        config,
        judge=resolve(config.judge),
        guard=replace(guard, judges=[resolve(card) for card in guard.judges]),
        evaluation=replace(evaluation, judges=[resolve(card) for card in evaluation.judges]),
    )
