"""Figures of a run or a comparison: mAP over t-IoU, AP per class, training curves, snippet confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from avloc.errors import InputError
from avloc.figures.style import COLOURS, INK, MARKERS, MUTED, literal, make_figure, plain
from avloc.types import DetectionScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mean_ap_figure(scores: Mapping[str, DetectionScores]) -> Figure:
    """mAP in percent over the t-IoU threshold, one line per model; the legend gives the average."""
    figure = make_figure(4.6, 3.2)
    axes = figure.subplots()
    for k, (name, one) in enumerate(scores.items()):
        axes.plot(
            one.t_iou,
            100 * one.mean_ap,
            color=COLOURS[k % len(COLOURS)],
            marker=MARKERS[k % len(MARKERS)],
            markersize=4,
            linewidth=1.4,
            label=f"{literal(name)} ({100 * one.average_mean_ap:.1f})",
        )
    axes.set_xlabel("t-IoU", fontsize=9, color=INK)
    axes.set_ylabel("mAP (%)", fontsize=9, color=INK)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False, title="average over thresholds", title_fontsize=8)
    plain(axes, "y")
    return figure


def class_ap_figure(scores: Mapping[str, DetectionScores]) -> Figure:
    """AP in percent per class and model, averaged over the thresholds; classes are sorted by the first model's AP."""
    first = next(iter(scores.values()))
    order = np.argsort(first.ap.mean(axis=0), kind="stable")
    names = [first.classes[i] for i in order]
    figure = make_figure(5.2, 1.0 + 0.2 * len(names) * max(1, 0.7 * len(scores)))
    axes = figure.subplots()
    tall = 0.8 / len(scores)
    hatches = ("", "///", "...", "xxx")
    for k, (name, one) in enumerate(scores.items()):
        values = {c: 100 * one.ap[:, i].mean() for i, c in enumerate(one.classes)}
        places = np.arange(len(names)) + 0.4 - tall * (k + 0.5)
        axes.barh(
            places,
            [values.get(c, 0.0) for c in names],
            tall,
            color=COLOURS[k % len(COLOURS)],
            hatch=hatches[k % len(hatches)],
            edgecolor="white",
            linewidth=0.3,
            label=literal(name),
        )
    axes.set_yticks(np.arange(len(names)), [literal(name) for name in names])
    axes.set_xlabel("average precision (%), mean over t-IoU", fontsize=9, color=INK)
    if len(scores) > 1:
        axes.legend(fontsize=8, frameon=False)
    plain(axes, "x")
    return figure


def training_figure(history: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Losses (top) and validation scores (bottom) over the training step.

    Raises:
        InputError: the history is empty.
    """
    if not history:
        raise InputError("expected a training history, got an empty one; train for at least one step")
    names = list(dict.fromkeys(key for row in history for key in row))
    losses = [name for name in names if name.startswith("loss/")]
    checks = [name for name in names if name.startswith("validation/")]
    groups = [group for group in (losses, checks) if group]
    figure = make_figure(5.6, 2.2 * max(1, len(groups)))
    panels = figure.subplots(max(1, len(groups)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, group in zip(panels, groups, strict=False):
        for k, name in enumerate(group):
            rows = [(row["step"], row[name]) for row in history if name in row]
            steps, values = zip(*rows, strict=True)
            word = name.partition("/")[2].replace("_", " ")
            axes.plot(steps, values, color=COLOURS[k % len(COLOURS)], linewidth=1.2, label=word)
            axes.plot(steps[-1:], values[-1:], MARKERS[k % len(MARKERS)], color=COLOURS[k % len(COLOURS)], markersize=4)
        axes.set_title(group[0].partition("/")[0], fontsize=9, loc="left", color=INK)
        axes.legend(fontsize=7, frameon=False, ncols=2)
        plain(axes, "y")
    panels[-1].set_xlabel("step", fontsize=9, color=INK)
    if title:
        figure.suptitle(literal(title), fontsize=10, x=0.01, ha="left", color=INK)
    return figure


def confusion_figure(confusion: Int[np.ndarray, "c1 c1"], classes: Sequence[str]) -> Figure:
    """Confusion matrix of snippets in percent of each row: true classes by predicted classes, background first."""
    names = ["background", *map(literal, classes)]
    total = confusion.sum(axis=1, keepdims=True)
    share = 100 * np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    side = 1.6 + 0.36 * len(names)
    figure = make_figure(side + 1.2, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if len(names) <= 25:
        for (row, column), value in np.ndenumerate(share):
            ink = "white" if value > 60 else INK
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), [f"{n} ({t})" for n, t in zip(names, total[:, 0], strict=True)], fontsize=7)
    axes.set_xlabel("predicted", fontsize=9, color=INK)
    axes.set_ylabel("true (snippets)", fontsize=9, color=INK)
    for side_name in axes.spines:
        axes.spines[side_name].set_color(MUTED)
    figure.colorbar(image, ax=axes, shrink=0.7, label="% of the true class")
    return figure
