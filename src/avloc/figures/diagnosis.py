"""A diagnosis as a figure: errors by rank, their cost in mAP, and AP_N by kind of instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.figures.style import COLOURS, INK, MUTED, make_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


KIND_COLOURS = {
    "true positive": "#2f6f4f",
    "double": COLOURS[4],
    "wrong label": COLOURS[2],
    "localization": COLOURS[0],
    "confusion": COLOURS[3],
    "background": COLOURS[7],
    "missed": COLOURS[1],
}
HATCHES = {"double": "///", "wrong label": "xxx", "confusion": "...", "background": "---"}


def diagnosis_figure(facts: Mapping[str, Any]) -> Figure:
    """Errors by rank, cost of each kind of error in mAP, AP_N by kind of instance, and a reliability diagram.

    The last is left out where scores are not probabilities.

    Args:
        facts: from `metrics.Diagnosis.to_dict`, with None for NaN.

    Raises:
        InputError: matplotlib is not installed.
    """
    calibrated = facts.get("calibration")
    widths = [3, 2.2, 4, *([2.4] if calibrated else [])]
    figure = make_figure(sum(widths) * 1.2, 3.6)
    profile, cost, groups, *rest = figure.subplots(1, len(widths), gridspec_kw={"width_ratios": widths})
    _draw_profile(profile, facts["profile"], facts["at"])
    _draw_cost(cost, facts["cost"])
    _draw_groups(groups, facts["groups"], facts["mean_ap_n"])
    if calibrated:
        _draw_reliability(rest[0], calibrated)
    return figure


def _draw_profile(axes: Axes, profile: Mapping[str, Sequence[float | None]], at: float) -> None:
    bottom = np.zeros(len(next(iter(profile.values()))))
    places = np.arange(1, len(bottom) + 1)
    for kind, shares in profile.items():
        heights = np.array([0.0 if share is None else 100 * share for share in shares])
        axes.bar(
            places, heights, 0.85, bottom, color=KIND_COLOURS[kind], hatch=HATCHES.get(kind), label=kind,
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        bottom += heights
    axes.set_xticks(places, [f"{k}G" for k in places])
    axes.set_ylabel("detections (%)", fontsize=9, color=INK)
    axes.set_title(f"errors by rank at t-IoU {at:g} (G: instances of the class)", fontsize=9, loc="left", color=INK)
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    plain(axes)


def _draw_cost(axes: Axes, cost: Mapping[str, float]) -> None:
    names = list(cost)[::-1]
    values = [100 * cost[name] for name in names]
    axes.barh(range(len(names)), values, 0.7, color=[KIND_COLOURS[name] for name in names])
    axes.set_yticks(range(len(names)), names)
    for k, value in enumerate(values):
        axes.text(value, k, f" {value:.1f}", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, max([*values, 1]) * 1.2)
    axes.set_title("average mAP gained without it", fontsize=9, loc="left", color=INK)
    plain(axes, "x")


def _draw_groups(axes: Axes, groups: Sequence[Mapping[str, Any]], base: float) -> None:
    place, ticks, labels = 0.0, [], []
    for k, name in enumerate(dict.fromkeys(group["characteristic"] for group in groups)):
        members = [group for group in groups if group["characteristic"] == name]
        for group in members:
            height = 0.0 if group["mean_ap_n"] is None else 100 * group["mean_ap_n"]
            axes.bar(place, height, 0.85, color=COLOURS[k % len(COLOURS)])
            axes.text(
                place, height, f"{height:.0f}" if group["instances"] else "-", ha="center", va="bottom", fontsize=7
            )
            ticks.append(place)
            labels.append(group["name"])
            place += 1
        axes.text(place - 1 - len(members) / 2 + 0.5, 103, name, ha="center", fontsize=8, color=INK)
        place += 0.8
    axes.axhline(100 * base, color=MUTED, linewidth=0.9, linestyle="--")
    axes.set_xticks(ticks, labels, rotation=60, ha="right", fontsize=7)
    axes.set_ylim(0, 110)
    axes.set_title("AP_N by kind of instance", fontsize=9, loc="left", color=INK)
    plain(axes, "y")
    axes.tick_params(axis="x", labelsize=7)


def _draw_reliability(axes: Axes, calibrated: Mapping[str, Any]) -> None:
    bins = [row for row in calibrated["bins"] if row["count"]]
    middles = [(row["low"] + row["high"]) / 2 for row in bins]
    width = bins[0]["high"] - bins[0]["low"]
    axes.bar(middles, [row["correct"] for row in bins], 0.9 * width, color=COLOURS[0], label="correct")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="--")
    axes.plot([r["confidence"] for r in bins], [r["correct"] for r in bins], "o", color=COLOURS[1], markersize=3)
    for middle, row in zip(middles, bins, strict=True):
        axes.text(middle, row["correct"], str(row["count"]), ha="center", va="bottom", fontsize=6, color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.08)
    axes.set_xlabel("score (dots: mean of the bin)", fontsize=9, color=INK)
    axes.set_ylabel("share of true positives", fontsize=9, color=INK)
    axes.set_title(f"reliability, ECE {100 * calibrated['ece']:.1f} %", fontsize=9, loc="left", color=INK)
    plain(axes, "y")
