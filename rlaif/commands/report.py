"""`rlaif report`: folders of runs in, one HTML file out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(folders: Sequence[Path], output: Path | None, plots: Path | None) -> None:
    """Write the report, and say where it is."""
    from rlaif.report import write

    print(write(folders, output, plots))  # noqa: T201
    if plots:
        print(plots)  # noqa: T201
