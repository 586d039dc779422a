"""One video as a picture: what is true, what was found, and the activations behind it, on one time axis (as Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.errors import InputError
from avloc.types import ActivationSequence, Detection, Instance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["timeline"]

_TRUTH, _INK, _MUTED = "#2f6f4f", "#1d2733", "#8893a0"
_FOUND = ("#1f5fa8", "#b5541c", "#6b4fa0", "#9a7d0a", "#1b7f86", "#a03a5c", "#4d6b1f", "#5a5a5a")
_SHOWN = 4  # activation strips; more than that and nobody reads them


def timeline(
    activations: ActivationSequence | Mapping[str, ActivationSequence],
    detections: Sequence[Detection] | Mapping[str, Sequence[Detection]] = (),
    truth: Sequence[Instance] | None = None,
    path: str | Path | None = None,
    title: str | None = None,
) -> Figure:
    """Rows on one axis of seconds: ground truth, then per model its detections, class activations and reliability.

    Args:
        activations: of one model, or {model's name: activations} of the same video to compare several.
        detections: likewise; drawn darker the stronger their score, which is also written on them.
        truth: the video's instances; None leaves the row out, an empty list leaves it empty.
        path: also write the figure there, in the format its suffix names.
        title: the video's name unless given.

    Raises:
        InputError: matplotlib is not installed, or `path` cannot be written.
    """
    Figure = _figure_class()
    models = dict(activations) if isinstance(activations, Mapping) else {"": activations}
    found = dict(detections) if isinstance(detections, Mapping) else {"": detections}
    first = next(iter(models.values()))
    strips = {name: _strip_classes(a, found.get(name, ()), truth or ()) for name, a in models.items()}
    heights = [0.8] * (truth is not None)
    for name in models:
        heights += [0.8, 0.45 * max(1, len(strips[name])), 0.9]
    figure = Figure(figsize=(11, 1.1 + 0.62 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
    rows = iter(axes)
    if truth is not None:
        _draw_segments(next(rows), "ground truth", [(i, None) for i in truth], lambda _: _TRUTH)
    for name, a in models.items():
        colour = {c: _FOUND[k % len(_FOUND)] for k, c in enumerate(sorted(a.classes))}
        prefix = f"{name}\n" if name else ""
        listed = [(d, d.score) for d in found.get(name, ())]
        _draw_segments(next(rows), f"{prefix}detections", listed, lambda d, colour=colour: colour[d.label])
        _draw_strips(next(rows), a, strips[name])
        _draw_reliability(next(rows), a)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, first.duration_s)
    figure.suptitle(title or first.video_id, fontsize=11, x=0.01, ha="left", color=_INK)
    if path is not None:
        try:
            figure.savefig(path, dpi=110)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot write the figure: {error}") from error
    return figure


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'avloc[report]'") from error
    return Figure


def _strip_classes(
    activations: ActivationSequence, detections: Sequence[Detection], truth: Sequence[Instance]
) -> list[str]:
    """Classes worth a strip: those that are true, then found, then the video's strongest."""
    strongest = [activations.classes[c] for c in np.argsort(-activations.video_scores)]
    wanted = [i.label for i in truth] + [d.label for d in detections] + strongest[:2]
    known = [label for label in dict.fromkeys(wanted) if label in activations.classes]
    return known[:_SHOWN]


def _draw_segments(axes: Axes, name: str, segments: Sequence[tuple[Any, float | None]], colour: Any) -> None:
    strongest = max((score for _, score in segments if score is not None), default=1.0) or 1.0
    for segment, score in sorted(segments, key=lambda pair: pair[1] or 0):
        opacity = 0.9 if score is None else 0.25 + 0.65 * max(score, 0) / strongest
        width = segment.end_s - segment.start_s
        axes.barh(0, width, left=segment.start_s, height=0.8, color=colour(segment), alpha=opacity, linewidth=0)
        text = segment.label if score is None else f"{segment.label} {score:.2f}"
        axes.text(segment.start_s, 0, f" {text}", va="center", fontsize=7, clip_on=True, color=_INK)
    _label(axes, name)
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])


def _draw_strips(axes: Axes, activations: ActivationSequence, labels: Sequence[str]) -> None:
    """p(c) over time, darker is stronger, on a scale from 0 to 1."""
    columns = [1 + activations.classes.index(label) for label in labels]
    edges = [float(activations.grid.edge_s(i)) for i in range(activations.grid.count)] + [activations.duration_s]
    strips = activations.probs[:, columns].T
    axes.pcolormesh(edges, np.arange(len(labels) + 1), strips, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    axes.set_ylim(len(labels), 0)
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=7)
    axes.tick_params(length=0)
    _spines(axes)


def _draw_reliability(axes: Axes, activations: ActivationSequence) -> None:
    times = activations.grid.centres_s()
    axes.fill_between(times, activations.reliability, step="mid", color=_MUTED, alpha=0.35, linewidth=0)
    axes.step(times, activations.reliability, where="mid", color=_INK, linewidth=0.9)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1])
    axes.tick_params(labelsize=7, length=2)
    _label(axes, "reliability μ")


def _label(axes: Axes, name: str) -> None:
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8, color=_INK)
    _spines(axes)


def _spines(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_MUTED)
