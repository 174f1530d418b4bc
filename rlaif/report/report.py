"""
The report of a run: one HTML file that needs no server, and its figures as files.

It has the conclusion in words, the numbers with their intervals, the curves of the training, and every test sample
before and after with its judgements. Several runs are shown side by side.
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
        folders: folders of the runs.
        output: path of the report; by default `report.html` in the folder of the run, or in the working directory for
            several runs.
        plots: folder for the figures, each as SVG and PNG; None to write none.

    Returns:
        The path of the report.

    Raises:
        InputError: a folder holds no run, or the report cannot be written there.
        RlaifError: the disk is full.

    """
    runs = read(folders)
    path = output or (folders[0] if len(folders) == 1 else Path()) / "report.html"
    return write_page(path, lambda: html_of(runs), plots, lambda: itertools.chain(*_plots(runs).values()))


def html_of(runs: Sequence[RunFolder]) -> str:
    """Return the report of runs as HTML."""
    return page(
        "report.html",
        title=" and ".join(run.name for run in runs),
        version=__version__,
        runs=[_describe_run(run) for run in runs],
        judges=findings.judge_table(runs),
        seeds=findings.seeds_table(runs),
        side_effects=findings.side_effects_table(runs),
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
    """Return the values for the template that describe one run."""
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
