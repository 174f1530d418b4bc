"""`rlaif report`: write one HTML file from folders of runs, or from the folder of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlaif.core.errors import InputError


def run(folders: Sequence[Path], output: Path | None, plots: Path | None) -> None:
    """Write the report and print its path."""
    from rlaif.report import report
    from rlaif.report.bench import page as bench

    benches = [folder for folder in folders if bench.holds_bench(folder)]
    if benches and len(folders) > 1:
        raise InputError(f"{benches[0]}: is a benchmark, which has a report of its own; name no other folder with it")
    page = bench.write(benches[0], output, plots) if benches else report.write(folders, output, plots)
    print(page)  # noqa: T201
    if plots:
        print(plots)  # noqa: T201
