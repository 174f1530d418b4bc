"""`rlaif train`: train a model as a run file says."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from rlaif.core.config import recipes
from rlaif.core.errors import InputError


def run(path: str, sets: tuple[str, ...], resume: bool, output: str | None) -> None:
    """Train from a run file or a recipe, with the overrides of `--set` and `--output`."""
    file = recipes.find_run_file(path)
    if not file.is_file():
        raise InputError(
            f"{path}: there is no such run file; `rlaif init` writes one, and recipes are: {recipes.list_names()}"
        )
    from rlaif.training.run.run import train

    with redirect_stdout(sys.stderr):  # a user's module may print
        train(file, [*sets, *([f"output={output}"] if output else [])], resume=resume)
