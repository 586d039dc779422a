"""LLP's audio-visual parsing scores of two files of detections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from avloc.datasets.llp import read_llp
from avloc.errors import InputError, did_you_mean
from avloc.formats.annotations import subset_name
from avloc.formats.detections import read_submission
from avloc.formats.results import find_results
from avloc.metrics import ParsingScores, parsing_scores
from avloc.system.text import pluralize
from avloc.types import SnippetGrid, VideoAnnotation


def evaluate_parsing(
    audio: Path,
    visual: Path,
    folder: Path,
    subset: str = "testing",
    min_score: float = 0.5,
    notes: list[str] | None = None,
) -> ParsingScores:
    """LLP's F1 scores of audible and visible events.

    Args:
        audio, visual: detections, .csv, .json or a folder of `avloc localize`; the same for both if all events are
            audible and visible.
        folder: LLP's tables.
        min_score: weaker detections are ignored (AVVP's threshold).
        notes: receives a line for each file with detections in videos that are not scored.

    A detection covers the seconds whose middle it contains.

    Raises:
        InputError, FormatError: a file is missing or invalid, or names none of the videos.
    """
    data = read_llp(folder)
    ids = [a.video_id for a in data.parts["audio"] if a.subset == subset_name(subset)]
    if not ids:
        raise InputError(f"{folder}: no video in subset {subset!r}; LLP has validation and testing with boundaries")
    said: list[str] = []
    claims = [_predicted(path, ids, data.classes, min_score, said) for path in (audio, visual)]
    if notes is not None:
        notes += dict.fromkeys(said)
    truths = [_seconds(data.parts[name], ids, data.classes) for name in ("audio", "visual")]
    return parsing_scores(*claims, *truths)


def _predicted(
    path: Path, ids: Sequence[str], classes: Sequence[str], min_score: float, notes: list[str]
) -> Bool[np.ndarray, "n 10 c"]:
    path = find_results(path).table
    columns, named = read_submission(path, ids)
    others = set(named) - set(ids)
    if named and len(others) == len(named):
        raise InputError(
            f"{path} names none of the {len(ids)} videos scored: e.g. {named[0]!r}, expected e.g. {ids[0]!r}"
        )
    if gone := sum(video in others for video in columns["video"]):
        notes.append(f"{path}: left out {pluralize(gone, 'detection')} in {pluralize(len(others), 'video')} not scored")
    strong = columns["score"] >= min_score
    video, label = np.array(columns["video"])[strong], np.array(columns["label"])[strong]
    return _raster(video, label, columns["start_s"][strong], columns["end_s"][strong], ids, classes)


def _seconds(
    annotations: Iterable[VideoAnnotation], ids: Sequence[str], classes: Sequence[str]
) -> Bool[np.ndarray, "n 10 c"]:
    rows = [(a.video_id, i.label, i.start_s, i.end_s) for a in annotations for i in a.instances]
    video, label, start_s, end_s = map(np.array, zip(*rows, strict=True)) if rows else [np.array([])] * 4
    return _raster(video, label, start_s, end_s, ids, classes)


def _raster(
    video: np.ndarray,
    label: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    ids: Sequence[str],
    classes: Sequence[str],
) -> Bool[np.ndarray, "n 10 c"]:
    """Seconds of LLP's videos whose middle lies in a segment."""
    row, column = {v: k for k, v in enumerate(ids)}, {c: k for k, c in enumerate(classes)}
    grid = SnippetGrid.cover(10, 1)
    result = np.zeros((len(ids), grid.count, len(classes)), dtype=bool)
    for v, c, start, end in zip(video.tolist(), label.tolist(), start_s.tolist(), end_s.tolist(), strict=True):
        if c not in column:
            raise InputError(f"label {c!r} is not one of LLP's classes.{did_you_mean(c, classes)}")
        if v in row:
            result[row[v], grid.indices(start, end), column[c]] = True
    return result
