"""Timeline of one video: ground truth, detections and activations on one time axis (as Fig. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.figures.style import COLOURS as _FOUND
from avloc.figures.style import INK as _INK
from avloc.figures.style import MUTED as _MUTED
from avloc.figures.style import any_letters, literal, make_figure, save_figure
from avloc.metrics.overlap import lanes
from avloc.types import ActivationSequence, Detection, Instance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text


_TRUTH = "#2f6f4f"
_SHOWN = 4  # maximum number of activation strips


def timeline(
    activations: ActivationSequence | Mapping[str, ActivationSequence],
    detections: Sequence[Detection] | Mapping[str, Sequence[Detection]] = (),
    truth: Sequence[Instance] | None = None,
    path: str | Path | None = None,
    title: str | None = None,
    lowest: float | Mapping[str, float] = 0.0,
) -> Figure:
    """Rows on one time axis: ground truth, then for each model detections, class activations and reliability.

    Args:
        activations: of one model, or {model name: activations} of the same video to compare models.
        detections: likewise. Each class has a lane, or several where its detections overlap. Higher scores are
            darker; scores are printed where they fit.
        truth: the video's instances; None omits the row, an empty list draws it empty.
        path: also write the figure to this file, in the format of its suffix.
        title: by default the video's id.
        lowest: minimum score drawn, noted in the row's label; one score, or {model name: score}.

    Raises:
        InputError: matplotlib is not installed, or `path` cannot be written.
    """
    models = _models(activations, detections, truth or (), lowest)
    true_lanes = _lanes(truth or ())
    heights = [_height(true_lanes)] if truth is not None else []
    heights += [height for model in models for height in model.heights()]
    figure = make_figure(11, 1.1 + 0.62 * sum(heights))
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
    rows = iter(axes)
    if truth is not None:
        _draw_segments(next(rows), "ground truth", true_lanes, lambda _: _TRUTH)
    scores = [written for model in models for written in _draw_model(model, rows)]
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, models[0].activations.duration_s)
    figure.suptitle(literal(title or models[0].activations.video_id), fontsize=11, x=0.01, ha="left", color=_INK)
    _remove_wide_scores(figure, scores)
    if path is not None:
        save_figure(figure, path)
    return figure


@dataclass(frozen=True)
class _Model:
    """The rows of one model.

    Args:
        heading: label of the row of detections.
        lanes: its detections, from the lowest score drawn.
        strips: classes whose activations are drawn.
    """

    activations: ActivationSequence
    heading: str
    lanes: list[list[Any]]
    strips: list[str]

    def heights(self) -> tuple[float, float, float]:
        """Of the rows of detections, activations and reliability."""
        return _height(self.lanes), 0.45 * max(1, len(self.strips)), 0.9


def _models(
    activations: ActivationSequence | Mapping[str, ActivationSequence],
    detections: Sequence[Detection] | Mapping[str, Sequence[Detection]],
    truth: Sequence[Instance],
    lowest: float | Mapping[str, float],
) -> list[_Model]:
    named = activations if isinstance(activations, Mapping) else {"": activations}
    given = detections if isinstance(detections, Mapping) else {"": detections}
    models = []
    for name, a in named.items():
        least = lowest.get(name, 0.0) if isinstance(lowest, Mapping) else lowest
        found = [d for d in given.get(name, ()) if d.score >= least]
        left_out = len(found) < len(given.get(name, ()))
        heading = (f"{name}\n" if name else "") + "detections" + (f"\nfrom {least:.2f}" if left_out else "")
        models.append(_Model(a, heading, _lanes(found), _strip_classes(a, found, truth)))
    return models


def _draw_model(model: _Model, rows: Iterator[Axes]) -> list[tuple[Text, Detection]]:
    """The next three rows: detections, class activations, reliability. Returns the score texts."""
    colours = {c: _FOUND[k % len(_FOUND)] for k, c in enumerate(sorted(model.activations.classes))}
    scores = _draw_segments(next(rows), model.heading, model.lanes, lambda d: colours[d.label])
    _draw_strips(next(rows), model.activations, model.strips)
    _draw_reliability(next(rows), model.activations)
    return scores


def _strip_classes(
    activations: ActivationSequence, detections: Sequence[Detection], truth: Sequence[Instance]
) -> list[str]:
    """Classes with a strip: true ones, then detected ones, then the two with the highest video scores."""
    strongest = [activations.classes[c] for c in np.argsort(-activations.video_scores)]
    wanted = [i.label for i in truth] + [d.label for d in detections] + strongest[:2]
    known = [label for label in dict.fromkeys(wanted) if label in activations.classes]
    return known[:_SHOWN]


def _lanes(segments: Sequence[Instance | Detection]) -> list[list[Instance | Detection]]:
    """Segments that do not overlap, lane by lane: classes by their first appearance, each in as many as it needs."""
    ordered = sorted(segments, key=lambda s: (s.start_s, s.end_s))
    labels = dict.fromkeys(s.label for s in ordered)
    return [row for label in labels for row in lanes(s for s in ordered if s.label == label)]


def _height(lanes: Sequence[Sequence[Any]]) -> float:
    return 0.15 + 0.45 * max(1, len(lanes))


def _draw_segments(axes: Axes, name: str, lanes: Sequence[Sequence[Any]], colour: Any) -> list[tuple[Text, Detection]]:
    """One bar per segment, with its score in it; lanes are labelled by class. Returns the score texts."""
    written = []
    strongest = max((s.score for lane in lanes for s in lane if isinstance(s, Detection)), default=1.0) or 1.0
    for row, lane in enumerate(lanes):
        for segment in lane:
            score = segment.score if isinstance(segment, Detection) else None
            opacity = 0.55 if score is None else 0.15 + 0.45 * max(score, 0) / strongest
            span = {"left": segment.start_s, "width": segment.end_s - segment.start_s, "height": 0.84}
            ink = colour(segment)
            axes.barh(row, **span, color=ink, alpha=opacity, linewidth=0)
            axes.barh(row, **span, color="none", edgecolor=ink, linewidth=0.8)
            if score is not None:
                middle = (segment.start_s + segment.end_s) / 2
                text = axes.text(middle, row, f"{score:.2f}", ha="center", va="center", fontsize=7, color=_INK)
                written.append((text, segment))
    if not lanes:
        axes.text(0.005, 0.5, "none", transform=axes.transAxes, va="center", fontsize=7, color=_MUTED)
    _label(axes, name)
    axes.set_ylim(max(len(lanes), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(lanes)), [literal(lane[0].label) for lane in lanes], fontsize=7)
    axes.tick_params(axis="y", length=0)
    return written


def _remove_wide_scores(figure: Figure, written: Sequence[tuple[Text, Detection]]) -> None:
    """Remove scores wider than their bars; the widths are known only after layout."""
    with any_letters():
        figure.draw_without_rendering()
    for text, detection in written:
        ends = text.get_transform().transform([(detection.start_s, 0), (detection.end_s, 0)])[:, 0]
        if text.get_window_extent().width > ends[1] - ends[0]:
            text.remove()


def _draw_strips(axes: Axes, activations: ActivationSequence, labels: Sequence[str]) -> None:
    """p(c) over time, from white (0) to black (1)."""
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
