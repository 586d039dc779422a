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
from avloc.evaluate.reference import Reference, missing_note, read_reference, scored_part, without_others
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
from avloc.types import Short


@dataclass(frozen=True, repr=False)
class Comparison(Short):
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
        ground_truth, subset, protocol: as in `evaluate_files`. Without a subset, the videos of both files decide.
        draws: number of draws of test videos, with replacement, the same for both.
        seed: of the draws.

    Raises:
        InputError, FormatError: a file is missing or invalid, or has no video of the ground truth.
    """
    rules = find_protocol(protocol)
    everything = read_reference(ground_truth)
    results = {path: find_results(path) for path in (first, second)}
    sides = {path: found.columns(everything.ids) for path, found in results.items()}
    tried = {path: (*sides[path][1], *found.localized(everything.ids)) for path, found in results.items()}
    reference, choice = scored_part(
        everything, ground_truth, subset, [name for names in tried.values() for name in names]
    )
    for path, names in tried.items():
        reference.check_overlap(ground_truth, path, names)
    notes = [choice, *reference.notes]
    times = draw_videos(len(reference.ids), draws, seed)
    drawn = []
    for path in (first, second):
        found, left_out = without_others(SegmentTable.from_columns(**sides[path][0]), everything, reference)
        counts = detection_counts(found, reference.table).notes()
        about = [left_out, missing_note(reference, tried[path]), *counts]
        notes += [f"{path}: {note}" for note in about if note]
        drawn.append(_mean_aps(found, reference, rules, times) | _accuracy(results[path], reference, times))
    shared = [name for name in drawn[0] if name in drawn[1]]
    gaps = {name: paired_difference(drawn[0][name][None], drawn[1][name][None], seed) for name in shared}
    scores = [{name: float(found[name][0]) for name in shared} for found in drawn]
    return Comparison(scores[0], scores[1], gaps, len(reference.ids), tuple(dict.fromkeys(filter(None, notes))))


Drawn = dict[str, Float[np.ndarray, " r"]]


def _mean_aps(found: SegmentTable, reference: Reference, rules: Protocol, times: Int[np.ndarray, "r n"]) -> Drawn:
    found, truth, _ = prepare(found, reference.table, rules, (), reference.ambiguous)
    unknown = sorted({found.videos[k] for k in set(found.video.tolist())} - set(reference.ids))
    always = np.ones((len(times), len(unknown)), dtype=np.int64)  # false positives of every draw
    names, times = (*reference.ids, *unknown), np.concatenate([times, always], axis=1)
    mean_ap = resampled_mean_ap(found, truth, names, times, rules.t_iou, as_toolkit=rules.as_toolkit)
    each = {f"mAP@{t:.2f}": mean_ap[:, k] for k, t in enumerate(rules.t_iou)}
    return {"average mAP": mean_ap.mean(axis=1), **each}


def _accuracy(results: Results, reference: Reference, times: Int[np.ndarray, "r n"]) -> Drawn:
    """Snippet accuracy if the results have activations; see `snippet_hits`."""
    activations = results.activations(set(reference.ids))
    if activations is None:
        return {}
    right, total = snippet_hits(activations, reference.annotations)
    return {"accuracy": resampled_ratio(right, total, times)} if total.any() else {}
