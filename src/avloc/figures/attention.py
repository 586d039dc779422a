"""The cross-correlation matrix Λ (Eq. 1), with thumbnails on the visual axis and the waveform on the audio axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from avloc.errors import InputError
from avloc.figures.style import INK, MUTED, literal, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def attention_figure(
    correlation: Float[np.ndarray, "l_u l_v"],
    duration_s: float,
    thumbnails: Sequence[UInt8[np.ndarray, "h w 3"]] = (),
    waveform: UInt8[np.ndarray, " n"] | None = None,
    title: str = "",
) -> Figure:
    """Λ of one stage: rows are audio snippets, columns visual snippets, both in seconds.

    Args:
        correlation: Λ, rows audio, columns visual.
        thumbnails: frames evenly spaced over the video, drawn above the visual axis.
        waveform: peak amplitude in equal intervals, 255 is full scale; drawn beside the audio axis.

    Raises:
        InputError: Λ is empty.
    """
    if not correlation.size:
        raise InputError("expected a cross-attention matrix, got an empty one")
    figure = make_figure(6.2, 6.4)
    grid = figure.add_gridspec(2, 3, width_ratios=(0.12, 1, 0.05), height_ratios=(0.16, 1))
    main = figure.add_subplot(grid[1, 1])
    image = _draw_matrix(main, correlation, duration_s)
    figure.colorbar(image, cax=figure.add_subplot(grid[1, 2])).set_label("Λ", rotation=0)
    if thumbnails:
        _draw_thumbnails(figure.add_subplot(grid[0, 1], sharex=main), thumbnails, duration_s)
    _draw_waveform(figure.add_subplot(grid[1, 0], sharey=main), waveform, duration_s)
    main.tick_params(labelleft=False)
    if title:
        figure.suptitle(literal(title), fontsize=10, x=0.01, ha="left", color=INK)
    return figure


def _draw_matrix(axes: Axes, correlation: Float[np.ndarray, "l_u l_v"], duration_s: float) -> AxesImage:
    """Λ on a colour scale symmetric about 0."""
    far = float(np.abs(correlation).max()) or 1.0
    extent = (0.0, duration_s, duration_s, 0.0)
    image = axes.imshow(correlation, cmap="RdBu_r", vmin=-far, vmax=far, extent=extent, aspect="auto")
    axes.set_xlabel("video (s)", fontsize=9, color=INK)
    axes.tick_params(labelsize=8)
    return image


def _draw_thumbnails(axes: Axes, thumbnails: Sequence[UInt8[np.ndarray, "h w 3"]], duration_s: float) -> None:
    width_s = duration_s / len(thumbnails)
    for k, thumbnail in enumerate(thumbnails):
        axes.imshow(thumbnail, extent=(k * width_s, (k + 1) * width_s, 0, 1), aspect="auto")
    axes.set_xlim(0, duration_s)
    axes.set_axis_off()


def _draw_waveform(axes: Axes, waveform: UInt8[np.ndarray, " n"] | None, duration_s: float) -> None:
    if waveform is not None:
        times = (np.arange(len(waveform)) + 0.5) / len(waveform) * duration_s
        axes.fill_betweenx(times, -(waveform / 255.0), waveform / 255.0, color=MUTED, linewidth=0)
    axes.set_ylabel("audio (s)", fontsize=9, color=INK)
    axes.set_xticks([])
    axes.tick_params(labelsize=8)
    for name in ("top", "right", "bottom", "left"):
        axes.spines[name].set_visible(False)
