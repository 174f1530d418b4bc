"""`rlaif train`: a run file in, a model and its metrics out."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from rlaif.errors import InputError


def run(path: str, sets: tuple[str, ...], resume: bool, output: str | None) -> None:
    """Train by a run file, changed by `--set` and `--output`."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such run file; `rlaif init` writes one")
    from rlaif.run import train

    with redirect_stdout(sys.stderr):  # what a user's module prints is no result
        train(path, [*sets, *([f"output={output}"] if output else [])], resume=resume)
