"""Compare two results on the same test videos by a paired bootstrap over videos.

avloc compare RUN_A/detections RUN_B/detections ground_truth.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from avloc.evaluate.protocols import Protocol, find_protocol, prepare
from avloc.evaluate.reference import Reference, read_reference
from avloc.evaluate.snippets import snippet_hits
from avloc.formats.results import Results, find_results
from avloc.metrics import (
    Difference,
    SegmentTable,
    detection_counts,
    draw_videos,
    paired_difference,
    resampled_mean_ap,
    resampled_ratio,
)


@dataclass(frozen=True)
class Comparison:
    """Scores of two results and their differences.

    Args:
        first, second: {"average mAP", "mAP@0.50", ..., and "accuracy" if both have activations: score}, in [0, 1].
        differences: first - second under the same names, with bootstrap intervals.
        videos: number of videos drawn from.
        notes: problems found in the files.
    """

    first: Mapping[str, float]
    second: Mapping[str, float]
    differences: Mapping[str, Difference]
    videos: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "videos": self.videos,
            "first": dict(self.first),
            "second": dict(self.second),
            "first_minus_second": {name: vars(found) for name, found in self.differences.items()},
            "notes": list(self.notes),
        }


def compare_files(
    first: Path,
    second: Path,
    ground_truth: Path,
    subset: str | None = None,
    protocol: str = "activitynet",
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two segments.json or .csv files, or folders written by `avloc localize`.

    Args:
        ground_truth, subset, protocol: as in `evaluate_files`. Without a subset, the videos of either file are scored;
            a video missing from one file has no detections there.
        draws: number of draws of test videos, with replacement, the same for both.
        seed: of the draws.

    Raises:
        InputError, FormatError: a file is missing or invalid, or has no video of the ground truth.
    """
    rules = find_protocol(protocol)
    reference = read_reference(ground_truth, subset)
    results = {path: find_results(path) for path in (first, second)}
    sides = {path: found.columns(reference.ids) for path, found in results.items()}
    for path, (_, named) in sides.items():
        reference.check_overlap(ground_truth, path, named)
    notes = list(reference.notes)
    if subset is None:
        reference, more = reference.about([video for _, named in sides.values() for video in named])
        notes += more
    times = draw_videos(len(reference.ids), draws, seed)
    drawn = []
    for path in (first, second):
        found = SegmentTable.from_columns(**sides[path][0])
        notes += [f"{path}: {note}" for note in detection_counts(found, reference.table).notes()]
        drawn.append(_mean_aps(found, reference, rules, times) | _accuracy(results[path], reference, times))
    shared = [name for name in drawn[0] if name in drawn[1]]
    gaps = {name: paired_difference(drawn[0][name][None], drawn[1][name][None], seed) for name in shared}
    scores = [{name: float(found[name][0]) for name in shared} for found in drawn]
    return Comparison(scores[0], scores[1], gaps, len(reference.ids), tuple(dict.fromkeys(notes)))


Drawn = dict[str, Float[np.ndarray, " r"]]


def _mean_aps(found: SegmentTable, reference: Reference, rules: Protocol, times: Int[np.ndarray, "r n"]) -> Drawn:
    found, truth, _ = prepare(found, reference.table, rules, (), reference.ambiguous)
    mean_ap = resampled_mean_ap(found, truth, reference.ids, times, rules.t_iou)
    each = {f"mAP@{t:.2f}": mean_ap[:, k] for k, t in enumerate(rules.t_iou)}
    return {"average mAP": mean_ap.mean(axis=1), **each}


def _accuracy(results: Results, reference: Reference, times: Int[np.ndarray, "r n"]) -> Drawn:
    """Snippet accuracy if the results have activations; videos without them do not count."""
    activations = results.activations(set(reference.ids))
    if activations is None:
        return {}
    right, total = snippet_hits(activations, reference.annotations)
    return {"accuracy": resampled_ratio(right, total, times)} if total.any() else {}
