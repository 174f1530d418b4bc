"""Writes pages and figures to disk. Checks that they can be written before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.files import write_atomically
from rlaif.report.drawing import Plot, save


def write_page(
    path: Path, html: Callable[[], str], plots: Path | None = None, figures: Callable[[], Iterable[Plot]] = tuple
) -> Path:
    """
    Write a page atomically, and its figures if a folder is given for them.

    Args:
        path: path of the page; its folder is created.
        html: returns the page.
        plots: folder for the figures, each as SVG and PNG; None to write none.
        figures: returns the figures.

    Raises:
        InputError: the page or the figures cannot be written there.
        RlaifError: the disk is full.

    """
    for folder in filter(None, (path.parent, plots)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made: {reason_of(error)}; name another folder") from None
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file, as {path / 'report.html'}")
    write_atomically(path, html())
    if plots:
        for plot in figures():
            save(plot, plots)
    return path
