"""
The page of a benchmark: which judge is best and how sure that is, what else its scores follow, and texts to read.

All of it comes from bench.json, so that it can be made again from the folder alone.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from rlaif.core.version import __version__
from rlaif.report.bench import figures, numbers, texts
from rlaif.report.bench.groups import group_plots, group_tables
from rlaif.report.bench.reading import BenchFolder, holds_bench, read
from rlaif.report.drawing import Plot
from rlaif.report.page import page
from rlaif.report.writing import write_page

__all__ = ["holds_bench", "html_of", "write"]


def write(folder: Path, output: Path | None = None, plots: Path | None = None) -> Path:
    """
    Write the page of a benchmark.

    Args:
        folder: of the benchmark.
        output: the file; by default `bench.html` in the folder.
        plots: a folder for the figures, each as SVG and PNG.

    Returns:
        The file.

    Raises:
        InputError: the folder holds no benchmark that is done, or nothing can be written where it should be.
        RlaifError: the disk is full.

    """
    bench = read(folder)
    path = output or folder / "bench.html"
    return write_page(path, lambda: html_of(bench), plots, lambda: itertools.chain(*_plots(bench).values()))


def html_of(bench: BenchFolder) -> str:
    """Return the page of a benchmark."""
    return page(
        "bench.html",
        title=bench.name,
        version=__version__,
        bench=bench,
        plots=_plots(bench),
        coverage=numbers.coverage_table(bench),
        rankings=[numbers.ranking_table(bench, part) for part in bench.parts],
        comparisons=numbers.comparison_tables(bench),
        fitness=numbers.fitness_table(bench),
        groups=group_tables(bench),
        probes=numbers.probe_tables(bench),
        cost=numbers.cost_table(bench),
        judges=numbers.judge_table(bench),
        data=numbers.data_table(bench),
        shown_block=texts.block_of(bench),
    )


def _plots(bench: BenchFolder) -> dict[str, list[Plot]]:
    return {
        "ranking": figures.rankings(bench),
        "reliability": figures.reliabilities(bench),
        "groups": group_plots(bench),
        "agreement": figures.agreement(bench),
        "cost": figures.costs(bench),
        "best_of": figures.best_of(bench),
    }
