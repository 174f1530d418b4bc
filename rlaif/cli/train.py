"""`rlaif train`: a run file in, a model and its metrics out."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from rlaif.core.config import recipes
from rlaif.core.errors import InputError


def run(path: str, sets: tuple[str, ...], resume: bool, output: str | None) -> None:
    """Train by a run file or a recipe's name, changed by `--set` and `--output`."""
    file = recipes.find_run_file(path)
    if not file.is_file():
        raise InputError(
            f"{path}: there is no such run file; `rlaif init` writes one, and recipes are: {recipes.list_names()}"
        )
    from rlaif.training.run.run import train

    with redirect_stdout(sys.stderr):  # what a user's module prints is no result
        train(file, [*sets, *([f"output={output}"] if output else [])], resume=resume)
