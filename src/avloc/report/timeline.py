"""One video as a picture: what is true, what was found, and the activations behind it, on one time axis (as Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.report.style import COLOURS as _FOUND
from avloc.report.style import INK as _INK
from avloc.report.style import MUTED as _MUTED
from avloc.report.style import literal, make_figure, save_figure
from avloc.types import ActivationSequence, Detection, Instance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["timeline"]

_TRUTH = "#2f6f4f"
_SHOWN = 4  # activation strips; more than that and nobody reads them
_WEAKEST = 0.1  # of the strongest detection's score; our decoder also reports guesses, which would hide the rest


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
        detections: likewise, a lane a class; drawn darker the stronger their score, which is also written on them.
            Those below a tenth of the strongest score are left out, and the row says from which on it shows.
        truth: the video's instances; None leaves the row out, an empty list leaves it empty.
        path: also write the figure there, in the format its suffix names.
        title: the video's name unless given.

    Raises:
        InputError: matplotlib is not installed, or `path` cannot be written.
    """
    models = dict(activations) if isinstance(activations, Mapping) else {"": activations}
    given = dict(detections) if isinstance(detections, Mapping) else {"": detections}
    found = {name: _strong(some) for name, some in given.items()}
    first = next(iter(models.values()))
    strips = {name: _strip_classes(a, found.get(name, ()), truth or ()) for name, a in models.items()}
    heights = [0.15 + 0.45 * max(1, len({i.label for i in truth}))] if truth is not None else []
    for name in models:
        heights += [
            0.15 + 0.45 * max(1, len({d.label for d in found.get(name, ())})),
            0.45 * max(1, len(strips[name])),
            0.9,
        ]
    figure = make_figure(11, 1.1 + 0.62 * sum(heights))
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
    rows = iter(axes)
    if truth is not None:
        _draw_segments(next(rows), "ground truth", [(i, None) for i in truth], lambda _: _TRUTH)
    for name, a in models.items():
        colour = {c: _FOUND[k % len(_FOUND)] for k, c in enumerate(sorted(a.classes))}
        prefix = f"{name}\n" if name else ""
        listed = [(d, d.score) for d in found.get(name, ())]
        left_out = len(listed) < len(given.get(name, ()))
        heading = f"{prefix}detections" + (f"\nfrom {min(score for _, score in listed):.2f}" if left_out else "")
        _draw_segments(next(rows), heading, listed, lambda d, colour=colour: colour[d.label])
        _draw_strips(next(rows), a, strips[name])
        _draw_reliability(next(rows), a)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, first.duration_s)
    figure.suptitle(literal(title or first.video_id), fontsize=11, x=0.01, ha="left", color=_INK)
    if path is not None:
        save_figure(figure, path)
    return figure


def _strong(detections: Sequence[Detection]) -> list[Detection]:
    """Those worth drawing."""
    strongest = max((d.score for d in detections), default=0.0)
    return [d for d in detections if d.score >= _WEAKEST * strongest]


def _strip_classes(
    activations: ActivationSequence, detections: Sequence[Detection], truth: Sequence[Instance]
) -> list[str]:
    """Classes worth a strip: those that are true, then found, then the video's strongest."""
    strongest = [activations.classes[c] for c in np.argsort(-activations.video_scores)]
    wanted = [i.label for i in truth] + [d.label for d in detections] + strongest[:2]
    known = [label for label in dict.fromkeys(wanted) if label in activations.classes]
    return known[:_SHOWN]


def _lanes(segments: Sequence[tuple[Any, float | None]]) -> list[str]:
    """Labels in order of first appearance in time, one lane each: classes that overlap in time stay apart."""
    return list(dict.fromkeys(s.label for s, _ in sorted(segments, key=lambda pair: pair[0].start_s)))


def _draw_segments(axes: Axes, name: str, segments: Sequence[tuple[Any, float | None]], colour: Any) -> None:
    from matplotlib.patches import Rectangle

    strongest = max((score for _, score in segments if score is not None), default=1.0) or 1.0
    lanes = _lanes(segments)
    for segment, score in sorted(segments, key=lambda pair: pair[1] or 0):
        opacity = 0.55 if score is None else 0.15 + 0.45 * max(score, 0) / strongest
        width, lane = segment.end_s - segment.start_s, lanes.index(segment.label)
        ink = colour(segment)
        axes.barh(lane, width, left=segment.start_s, height=0.84, color=ink, alpha=opacity, linewidth=0)
        axes.barh(lane, width, left=segment.start_s, height=0.84, color="none", edgecolor=ink, linewidth=0.8)
        text = segment.label if score is None else f"{segment.label} {score:.2f}"
        # cut to its own bar, so that neighbours do not write over each other
        box = axes.text(segment.start_s, lane, f" {literal(text)}", va="center", fontsize=7, clip_on=True, color=_INK)
        box.set_clip_path(Rectangle((segment.start_s, lane - 0.5), width, 1, transform=axes.transData))
    _label(axes, name)
    axes.set_ylim(max(len(lanes), 1) - 0.5, -0.5)
    axes.set_yticks([])


def _draw_strips(axes: Axes, activations: ActivationSequence, labels: Sequence[str]) -> None:
    """p(c) over time, darker is stronger, on a scale from 0 to 1."""
    columns = [1 + activations.classes.index(label) for label in labels]
    edges = [float(activations.grid.edge_s(i)) for i in range(activations.grid.count)] + [activations.duration_s]
    strips = activations.probs[:, columns].T
    axes.pcolormesh(edges, np.arange(len(labels) + 1), strips, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    axes.set_ylim(len(labels), 0)
    axes.set_yticks(np.arange(len(labels)) + 0.5, [literal(label) for label in labels], fontsize=7)
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
    axes.set_ylabel(literal(name), rotation=0, ha="right", va="center", fontsize=8, color=_INK)
    _spines(axes)


def _spines(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_MUTED)
