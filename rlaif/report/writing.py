"""Pages and figures on disk: refused in one line where they cannot be, before anything is drawn."""

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
    Write a page whole or not at all, and its figures if a folder is named for them.

    Args:
        path: of the page; its folder is made.
        html: makes the page.
        plots: a folder for the figures, each as SVG and PNG.
        figures: makes them.

    Raises:
        InputError: nothing can be written there.
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
