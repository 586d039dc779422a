"""Event F1 with collars on onset and offset, as in sound event detection.

A detection is correct if an instance of its class in its video starts within `collar_s` of it and ends within
max(collar_s, offset_share x the instance's length) of it. Instances and detections are paired one to one, as many as
possible; F1, precision and recall follow from the counts over all videos. Scores of detections are ignored: leave out
weak ones first.

Counts, F1 per class and micro F1 agree with sed_eval's EventBasedMetrics ("optimal" matching). Its class average leaves
out a class that was never detected (its precision is 0/0); here such a class has F1 0 and counts.

References
    Mesaros, Heittola, Virtanen: "Metrics for polyphonic sound event detection", Applied Sciences 6(6), 2016.
    DCASE challenge, task 4 (2018-2023): a collar of 0.2 s and an offset share of 0.2. sed_eval's default share is 0.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from avloc.errors import InputError
from avloc.metrics.snippets import EventScores
from avloc.metrics.table import Annotations, Detections, SegmentTable, as_tables

COLLAR_S, OFFSET_SHARE = 0.2, 0.2


def collar_f1(
    detections: Detections,
    annotations: Annotations,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
) -> EventScores:
    """Count events found within the collars.

    Args:
        detections, annotations: as in `detection_scores`; classes of either side count, and detections in videos
            without instances are false positives.
        collar_s: tolerance in seconds.
        offset_share: tolerance of the offset as a share of the instance's length, in [0, 1].

    Raises:
        InputError: a negative or infinite collar, or a share outside [0, 1].
    """
    if not 0 <= collar_s < np.inf or not 0 <= offset_share <= 1:
        raise InputError(f"expected a collar >= 0 s and an offset share in [0, 1], got {collar_s} and {offset_share}")
    found, truth = map(_spans, as_tables(detections, annotations))
    classes = tuple(sorted({label for _, label in [*found, *truth]}))
    index = {name: c for c, name in enumerate(classes)}
    hits, claims, events = (np.zeros(len(classes), dtype=np.int64) for _ in range(3))
    empty = np.zeros((0, 2))
    for key in {**found, **truth}:
        claimed, real = np.array(found.get(key, empty)), np.array(truth.get(key, empty))
        c = index[key[1]]
        claims[c] += len(claimed)
        events[c] += len(real)
        hits[c] += _most_pairs(_within(claimed, real, collar_s, offset_share))
    return EventScores(classes, hits, claims - hits, events - hits)


def _spans(table: SegmentTable) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """{(video, label): segments}."""
    spans = defaultdict(list)
    columns = (table.video.tolist(), table.label.tolist(), table.start_s.tolist(), table.end_s.tolist())
    for video, label, start_s, end_s in zip(*columns, strict=True):
        spans[table.videos[video], table.labels[label]].append((start_s, end_s))
    return dict(spans)


def _within(
    found: Float[np.ndarray, "n 2"], truth: Float[np.ndarray, "m 2"], collar_s: float, offset_share: float
) -> Bool[np.ndarray, "n m"]:
    with np.errstate(invalid="ignore"):  # infinite times: inf - inf
        onset = np.abs(truth[None, :, 0] - found[:, None, 0]) <= collar_s
        tolerance = np.maximum(collar_s, offset_share * (truth[:, 1] - truth[:, 0]))
        return onset & (np.abs(truth[None, :, 1] - found[:, None, 1]) <= tolerance)


def _most_pairs(near: Bool[np.ndarray, "n m"]) -> int:
    """Size of a maximum one-to-one matching of rows and columns, by augmenting paths."""
    columns = [np.flatnonzero(row).tolist() for row in near]
    row_of: dict[int, int] = {}
    for row in range(len(columns)):
        if len(row_of) < near.shape[1]:
            _augment(row, columns, row_of)
    return len(row_of)


def _augment(start: int, columns: Sequence[Sequence[int]], row_of: dict[int, int]) -> None:
    """Give row `start` a column, if one can be had by moving other rows to other columns."""
    column_of = {row: column for column, row in row_of.items()}
    asked: dict[int, int] = {}  # column: the row that asks for it
    queue = [start]
    while queue:
        row = queue.pop()
        for column in columns[row]:
            if column in asked:
                continue
            asked[column] = row
            if column in row_of:
                queue.append(row_of[column])
                continue
            while True:  # along the path back to `start`, each row leaves its column to the row that asks for it
                row = asked[column]
                row_of[column] = row
                if row == start:
                    return
                column = column_of[row]
