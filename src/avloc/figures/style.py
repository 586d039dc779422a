"""The common style of all figures: colours, sizes, file formats. matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avloc.errors import InputError
from avloc.system.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, MUTED = "#1d2733", "#8893a0"
COLOURS = ("#1f5fa8", "#b5541c", "#6b4fa0", "#9a7d0a", "#1b7f86", "#a03a5c", "#4d6b1f", "#5a5a5a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One marker per colour: lines differ in both."""

FIGURE_FORMATS = ("pdf", "svg", "png")


def require_matplotlib() -> None:
    """Call before long work that ends with a figure.

    Raises:
        InputError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InputError("plots need matplotlib: pip install 'avloc[report]'")


def make_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of this size in inches, without window or global state.

    Raises:
        InputError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def plain(axes: Axes, grid: Literal["", "x", "y"] = "") -> None:
    """Remove the top and right spines; optionally draw a light grid along "x" or "y"."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(labelsize=8, color=MUTED, labelcolor=INK)
    if grid:
        axes.grid(axis=grid, color=MUTED, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)


def literal(text: str) -> str:
    """Escape dollar signs, which matplotlib would parse as mathematics."""
    return text.replace("$", r"\$")


@contextmanager
def any_letters() -> Iterator[None]:
    """Suppress warnings about missing glyphs, such as emoji in names, which are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def figure_format(name: str) -> str:
    """The format of a suffix, with or without dot; png if empty. Check formats with it before any work.

    Raises:
        InputError: the format is not supported.
    """
    wanted = name.lower().removeprefix(".") or "png"
    if wanted not in FIGURE_FORMATS:
        raise InputError(f"figures cannot be written as {name!r}; use {', '.join(FIGURE_FORMATS)}")
    return wanted


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure in the format of the suffix; .pdf and .svg are vector graphics. The output is reproducible.

    Raises:
        InputError: the format is not supported, or the folder is not writable.
    """
    import matplotlib

    target = Path(path)
    chosen = figure_format(target.suffix)
    facts: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(chosen, {})
    # searchable, editable text; reproducible ids
    style: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "avloc"}
    content = io.BytesIO()  # a writer that fails on a full disk raises other errors after the first
    with matplotlib.rc_context(style), any_letters():
        try:
            figure.savefig(content, format=chosen, dpi=160, metadata=facts)
        except ValueError as error:  # more pixels than the format supports
            raise InputError(f"{target}: cannot write the figure: {error}") from error
    atomic_write(target, content.getvalue())
    return target
