"""
The report of a run: one HTML file to be opened from the disk, and its figures as files.

It holds the answer in words, the numbers with their intervals, what went on while training, and every test sample
before and after, with what each judge said of it. Several runs are laid side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from rlaif.core.version import __version__
from rlaif.report import findings, setup
from rlaif.report.curves import curves
from rlaif.report.drawing import Plot
from rlaif.report.explorer import block_of
from rlaif.report.judge_details import more_of_judges
from rlaif.report.page import page
from rlaif.report.reading import RunFolder, read
from rlaif.report.scores import changes, distributions, harmless_helpful
from rlaif.report.writing import write_page

__all__ = ["html_of", "write"]


def write(folders: Sequence[Path], output: Path | None = None, plots: Path | None = None) -> Path:
    """
    Write the report of a run, or of several side by side.

    Args:
        folders: of the runs.
        output: the file; by default `report.html` in the folder of the run, of several in the working directory.
        plots: a folder for the figures, each as SVG and PNG.

    Returns:
        The file.

    Raises:
        InputError: a folder holds no run, or nothing can be written where it should be.
        RlaifError: the disk is full.

    """
    runs = read(folders)
    path = output or (folders[0] if len(folders) == 1 else Path()) / "report.html"
    return write_page(path, lambda: html_of(runs), plots, lambda: itertools.chain(*_plots(runs).values()))


def html_of(runs: Sequence[RunFolder]) -> str:
    """Return the report of runs as a page."""
    return page(
        "report.html",
        title=" and ".join(run.name for run in runs),
        version=__version__,
        runs=[_describe_run(run) for run in runs],
        judges=findings.judge_table(runs),
        seeds=findings.seeds_table(runs),
        prices=findings.price_table(runs),
        more=more_of_judges(runs),
        plots=_plots(runs),
        shown_block=block_of(runs),
        kept=findings.find_kept_step(runs),
        settings=setup.settings_table(runs),
        cost=setup.cost_table(runs),
        versions=setup.versions_table(runs),
    )


def _plots(runs: Sequence[RunFolder]) -> dict[str, list[Plot]]:
    change = changes(runs)
    return {
        "changes": [change] if change else [],
        "curves": curves(runs),
        "distributions": distributions(runs),
        "harmless_helpful": harmless_helpful(runs),
    }


def _describe_run(run: RunFolder) -> dict[str, object]:
    """Return what the page says of each run by itself."""
    kind, words = findings.state_of(run)
    return {
        "name": run.name,
        "state": kind,
        "words": words,
        "answer": findings.answer_of(run),
        "lacks_evidence": findings.lacks_evidence(run),
        "notes": [*run.notes, *findings.limits_of(run)],
        "alarms": run.alarms,
        "settings_text": run.settings_text,
        "whole": setup.whole(run),
        "commands": setup.commands_of(run),
    }
