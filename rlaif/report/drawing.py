"""
Draws figures with matplotlib, as SVG elements of a page and as files.

A figure is drawn once, in the colours of the light theme. In a page these colours become variables of the style sheet,
so one drawing works in light, dark and print, without a script, and its text can be selected and searched.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from rlaif.core.system.files import write_atomically
from rlaif.report.escape import visible
from rlaif.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, RULE, PAPER, ALARM, BEFORE = "#1d1f23", "#5b5f66", "#dcd8d0", "#fdfcfa", "#b3261e", "#79736a"
SERIES = ("#0b6b6b", "#a54c0c", "#6a3fa3", "#1f5faa", "#a3346f", "#666a00")
"""Colours of judges or runs, in this order. The style sheet has them too, with their dark variants."""

VARIABLES = {
    INK: "--ink", SOFT: "--soft", RULE: "--rule", PAPER: "--paper", ALARM: "--alarm", BEFORE: "--before",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)},
}  # fmt: skip

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
"""Line styles, which can be told apart without colour."""

LEFT, LINE, SHORT = 0.46, 0.17, 20
"""Inches left of the axes; inches of a line of the legend; longest label, in characters, of which two fit in a line."""

STYLE: dict[str, object] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8.5, "svg.fonttype": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.linewidth": 0.6,
    "axes.labelcolor": SOFT, "axes.facecolor": "none", "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT,
    "xtick.major.size": 2.5, "ytick.major.size": 0, "xtick.major.width": 0.6, "lines.linewidth": 1.5,
    "legend.frameon": False, "legend.fontsize": 8, "legend.labelcolor": INK, "figure.facecolor": "none",
    "axes.unicode_minus": True, "text.parse_math": False, "path.simplify": True,
}  # fmt: skip

ELEMENTS = {"g", "path", "text", "tspan", "use", "defs", "clipPath", "rect", "circle", "line", "polyline", "polygon"}
ATTRIBUTES = {
    "d", "x", "y", "width", "height", "transform", "id", "clip-path", "fill", "fill-opacity", "fill-rule", "stroke",
    "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "stroke-linejoin",
    "opacity", "font-size", "font-weight", "font-style", "text-anchor", "points", "cx", "cy", "r", "href",
}  # fmt: skip
"""Elements and attributes that an SVG in a page may have: none of them runs, loads or links anything."""


@dataclass(frozen=True)
class Plot:
    """
    A figure, with a text and a table of numbers for readers who cannot see it.

    Args:
        name: name of its files, unique on the page.
        title: what the figure shows.
        caption: how to read the figure.
        summary: what can be seen in the figure, in words.
        table: numbers of the figure.
        draw: draws the figure on the axes.
        height: height in inches with up to two lines of legend; further lines are added to it.
        wide: the figure takes the full width instead of standing beside others.
        left: inches for labels left of the axes; the same for all figures in a row, so that their axes line up.
        labels: number of labels in the legend above the axes; 0 for no legend.

    """

    name: str
    title: str
    caption: str
    summary: str
    table: Table
    draw: Callable[[Axes], None]
    height: float = 2.3
    wide: bool = False
    left: float = LEFT
    labels: int = 0

    @property
    def width(self) -> float:
        """Width in inches."""
        return 4.6 if self.wide else 3.6

    @property
    def svg(self) -> Markup:
        """The figure as an SVG element of a page."""
        return _inline(self)


def short(label: str, width: int = 36) -> str:
    """Return a name shortened for the label of an axis."""
    label = visible(label).replace("\n", " ")
    return label if len(label) <= width else f"{label[: width - 1]}…"


def room(labels: Iterable[str]) -> float:
    """Return the inches that shortened names need beside an axis."""
    return 0.2 + 0.068 * max(len(short(label)) for label in labels)


def save(plot: Plot, folder: Path) -> None:
    """Write NAME.svg and NAME.png, with a light background."""
    for kind in ("svg", "png"):
        write_atomically(folder / f"{plot.name}.{kind}", _render(plot, kind, paper=True))


def _render(plot: Plot, kind: str, *, paper: bool) -> bytes:
    with _use_style(plot.name) as figure:
        axes = figure.add_subplot()
        plot.draw(axes)
        labels = axes.get_legend_handles_labels()[1] if plot.labels else []
        columns = 1 if any(len(label) > SHORT for label in labels) else 2
        rows = -(-len(labels) // columns)
        height = plot.height + LINE * max(0, rows - 2)
        figure.set_size_inches(plot.width, height)
        figure.subplots_adjust(
            left=plot.left / plot.width, right=1 - 0.06 / plot.width, bottom=0.38 / height,
            top=1 - (0.1 + LINE * rows + 0.24 * paper) / height,
        )  # fmt: skip
        if rows:
            start = min(0.0, (LEFT - plot.left) / (plot.width - plot.left))
            axes.legend(
                loc="lower left", bbox_to_anchor=(start, 1.0), ncols=columns, borderpad=0, borderaxespad=0.3,
                handlelength=1.8,
            )  # fmt: skip
        if paper:
            title = visible(plot.title).replace("\n", " ")
            figure.text(0.02 if plot.wide else 0.03, 1 - 0.06 / height, title, va="top", fontsize=9.5)
        out = io.BytesIO()
        colour = PAPER if paper else "none"
        figure.savefig(out, format=kind, dpi=200, facecolor=colour, metadata={"Date": None} if kind == "svg" else None)
        return out.getvalue()


@contextmanager
def _use_style(salt: str) -> Iterator[Figure]:
    """Yield a figure in our style, regardless of the user's matplotlibrc. The same numbers give the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "svg.hashsalt": salt}):  # type: ignore[dict-item]
        yield Figure()


# --- SVG in a page ------------------------------------------------------------------------------------------------


def _inline(plot: Plot) -> Markup:
    """Return the figure as an `svg` element: with colours as variables, unique ids, and no needless elements."""
    root = ET.fromstring(_render(plot, "svg", paper=False))
    box, words = root.get("viewBox", ""), Markup.escape(visible(plot.summary))
    for element in list(root.iter()):
        for child in list(element):
            if _local(child.tag) not in ELEMENTS:
                element.remove(child)
    for element in root.iter():
        _clean(element, plot.name)
    body = "".join(ET.tostring(child, encoding="unicode") for child in root)
    return Markup(f'<svg viewBox="{box}" role="img" aria-label="{words}" focusable="false">{body}</svg>')


def _clean(element: ET.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    found = {_local(name): value for name, value in element.attrib.items()}
    styles = (declaration.partition(":") for declaration in found.pop("style", "").split(";"))
    found |= {name.strip(): value.strip() for name, _, value in styles if value}
    if font := re.search(r"([\d.]+)px", found.pop("font", "")):  # keep the size only; the page sets the family
        found["font-size"] = font[1]
    element.attrib.clear()
    for name, value in found.items():
        if name in ATTRIBUTES:
            element.set(name, _value(name, value, prefix))
    if element.tag == "text" and "fill" not in element.attrib:
        element.set("fill", f"var({VARIABLES[INK]})")


def _value(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return f"#{prefix}-{value.removeprefix('#')}"
    if name == "clip-path":
        return value.replace("#", f"#{prefix}-")
    return f"var({VARIABLES[value.lower()]})" if value.lower() in VARIABLES else value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
