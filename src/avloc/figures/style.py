"""One look for all figures: sizes, colours, and how they are written. matplotlib loads when something is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avloc.errors import InputError
from avloc.system.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FIGURE_FORMATS",
    "INK",
    "MARKERS",
    "MUTED",
    "any_letters",
    "figure_format",
    "literal",
    "make_figure",
    "plain",
    "save_figure",
]

INK, MUTED = "#1d2733", "#8893a0"
COLOURS = ("#1f5fa8", "#b5541c", "#6b4fa0", "#9a7d0a", "#1b7f86", "#a03a5c", "#4d6b1f", "#5a5a5a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Lines differ in marker as well as in colour."""
FIGURE_FORMATS = ("pdf", "svg", "png")


def make_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of that size in inches, of no window and no global state.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'avloc[report]'") from error
    return Figure(figsize=(width_in, height_in), layout="constrained")


def plain(axes: Axes, grid: Literal["", "x", "y"] = "") -> None:
    """No box around it; a light grid along "x", "y" or neither."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(labelsize=8, color=MUTED, labelcolor=INK)
    if grid:
        axes.grid(axis=grid, color=MUTED, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)


def literal(text: str) -> str:
    """A name as it stands: matplotlib would read what lies between two dollar signs as mathematics."""
    return text.replace("$", r"\$")


@contextmanager
def any_letters() -> Iterator[None]:
    """An emoji in a name becomes a box, without a warning: nobody can do anything about it here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def figure_format(name: str) -> str:
    """The format that a suffix names, with or without its dot; none is png.

    Raises:
        InputError: figures cannot be written so; to be asked before the work, not after it.
    """
    wanted = name.lower().removeprefix(".") or "png"
    if wanted not in FIGURE_FORMATS:
        raise InputError(f"figures cannot be written as {name!r}; use {', '.join(FIGURE_FORMATS)}")
    return wanted


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write it in the format its suffix names (.pdf and .svg are vectors); the same figure gives the same file.

    Raises:
        InputError: no such format, or the folder cannot be written to.
    """
    import matplotlib

    target = Path(path)
    chosen = figure_format(target.suffix)
    facts: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(chosen, {})
    # fonts as text that can be searched and edited; ids that do not change
    style: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "avloc"}
    with atomic_path(target) as part, matplotlib.rc_context(style), any_letters():
        try:
            figure.savefig(part, format=chosen, dpi=160, metadata=facts)
        except ValueError as error:  # more pixels than a format can hold
            raise InputError(f"{target}: cannot write the figure: {error}") from error
    return target
