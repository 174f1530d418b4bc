"""Prints tables, progress and errors of one line. Text written by a model is escaped first."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console


def harmless(text: str, width: int | None = None) -> str:
    """
    Return text on one line that is safe to print: control and bidirectional characters become escapes.

    Args:
        text: text written by a model, a file or a server.
        width: largest number of characters; longer text is cut and ends with an ellipsis. None for no limit.

    """
    text = text.strip()
    head = text if width is None else text[: 4 * width]  # do not process 1 MB of text for one cell
    flat = " ".join(head.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)
    if width is None or (len(shown) <= width and len(head) == len(text)):
        return shown
    return shown[: width - 1] + "…"


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of a text that a spreadsheet would treat as a formula (OWASP, "CSV injection")."""


def cell(value: Any) -> Any:
    """Return the value of a CSV cell. A text that a spreadsheet would treat as a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def complain(message: str) -> None:
    """Print an error message on one line. `RLAIF_DEBUG=1` adds the traceback of the current exception."""
    if os.environ.get("RLAIF_DEBUG") and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    if len(message) > 2000:  # keep the end, which says what to do
        message = f"{message[:1000]} … {message[-1000:]}"
    print(f"rlaif: {harmless(message)}", file=sys.stderr)  # noqa: T201


def is_stdout(path: Path) -> bool:
    """Whether a file is our standard output, which a shell creates before the command starts."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; None becomes a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def console(stderr: bool = False) -> Console:
    """Return a rich console that does not interpret markup."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 1000  # in a pipe, each row is one line
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, stderr: bool = False) -> None:
    """Print a table. Empty columns of numbers are left out, such as toxicity if no judge measures harm."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    rows, shown = [[harmless(cell) for cell in row] for row in rows], []
    for i, column in enumerate(columns):
        is_text = column in ("text", "status", "judge", "card", "adapter", "measures", "ready", "abstained")
        longest = max((len(row[i]) for row in rows), default=0)
        if longest or is_text:
            shown.append(i)
            table.add_column(
                column,
                justify="left" if is_text else "right",
                overflow="fold",
                no_wrap=not is_text,
                min_width=min(8, longest) or None,  # a narrow terminal must not squeeze a name away
            )
    for row in rows:
        table.add_row(*(Text(row[i]) for i in shown))
    target = console(stderr)
    with target.capture() as captured:  # print it ourselves, because rich exits if the pipe is closed
        target.print(table)
    print(captured.get(), end="", file=sys.stderr if stderr else sys.stdout)


class ProgressBar:
    """A progress bar on a terminal, and a line every ten seconds otherwise. Short work shows nothing."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._done, self._skipped = what, total, 0, 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def skip(self, count: int) -> None:
        """Add items that were done before; they do not count for the speed."""
        self._done += count
        self._skipped += count

    def advance(self, count: int) -> None:
        """Add items that are done, and update the display."""
        self._done += count
        now = time.monotonic()
        if sys.stderr.isatty():
            if self._bar is None and now - self._start > 1:
                self._bar = self._new_bar()
            if self._bar is not None:
                self._bar.update(0, completed=self._done)
        elif now - self._last > 10:
            self._last = now
            rate = (self._done - self._skipped) / (now - self._start)
            left = f" of {self._total}, {(self._total - self._done) / rate:.0f} s left" if self._total else ""
            print(f"{self._what}: {self._done}{left}, {rate:.0f}/s", file=sys.stderr, flush=True)  # noqa: T201

    def _new_bar(self) -> Any:
        from rich import progress

        bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=console(stderr=True),
            transient=True,
        )
        bar.start()
        bar.add_task(self._what, total=self._total, completed=self._skipped)
        return bar


def duration(seconds: float) -> str:
    """Format a time in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
