"""Frame scores and events for sed_scores_eval, which computes PSDS and other metrics over all thresholds.

    scores/<video>.tsv   onset  offset  <class> ...            one row per snippet cell; rows join without gaps
    ground_truth.tsv     filename  onset  offset  event_label  empty after filename for a video without events
    durations.tsv        filename  duration

    sed_scores_eval.intersection_based.psds("scores", "ground_truth.tsv", "durations.tsv", ...)

It takes the text before the last dot of `filename` as the name of the score file, so names end in ".wav" whatever the
video is called. As it requires, overlapping and adjacent events of a class are one event, every video has scores, and
every class has an event: classes without any are left out, as they are from mAP.

References
    Bilen et al.: "A framework for the robust evaluation of sound event detection", ICASSP 2020 (PSDS).
    Ebbers, Serizel, Haeb-Umbach: "Threshold-independent evaluation of sound event detection scores", ICASSP 2022;
        base_modules/io.py of fgnt/sed_scores_eval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from avloc.errors import FormatError, InputError, first_few
from avloc.system.atomic import atomic_write, claim
from avloc.system.outputs import discard, output_folder, written_files
from avloc.system.text import file_stems, pluralize
from avloc.types import ActivationSequence, VideoAnnotation

READ_AS_MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a", "<NA>", "#N/A"})
"""Texts that pandas, with which sed_scores_eval reads tables, takes for missing values."""


def write_sed_scores(
    out: Path, activations: Iterable[ActivationSequence], annotations: Sequence[VideoAnnotation]
) -> tuple[str, ...]:
    """Write class probabilities and ground truth of all annotated videos.

    A video without activations gets scores of 0 over its length: sed_scores_eval needs scores of every video.

    Returns:
        Notes on videos without activations and classes left out.

    Raises:
        InputError: no annotated video has activations, or they differ in classes.
        FormatError: a class cannot be named in these tables.
    """
    seen = {a.video_id: a for a in activations}
    stems = file_stems(truth.video_id for truth in annotations)
    known = {a.classes for video, a in seen.items() if video in stems}
    if len(known) != 1:
        raise InputError(
            f"frame scores need activations with the same classes of the scored videos, got {len(known)} sets"
        )
    (own,) = known
    true = {i.label for truth in annotations for i in truth.instances}
    classes = tuple(c for c in own if c in true) + tuple(sorted(true - set(own)))
    if not classes:
        raise InputError("frame scores need ground truth with at least one event: the scored videos have none")
    _check_names(classes)
    with output_folder(out):
        claim([out / "ground_truth.tsv", out / "durations.tsv", *(out / "scores" / f"{s}.tsv" for s in stems.values())])
        return _write(out, annotations, stems, seen, own, classes)


def _write(
    out: Path,
    annotations: Sequence[VideoAnnotation],
    stems: Mapping[str, str],
    seen: Mapping[str, ActivationSequence],
    own: Sequence[str],
    classes: Sequence[str],
) -> tuple[str, ...]:
    events, durations = ["filename\tonset\toffset\tevent_label"], ["filename\tduration"]
    for truth in annotations:
        stem = stems[truth.video_id]
        rows = [("onset", "offset", *classes), *_frames(seen.get(truth.video_id), truth.duration_s, classes)]
        atomic_write(out / "scores" / f"{stem}.tsv", _table("\t".join(map(str, row)) for row in rows))
        merged = [f"{stem}.wav\t{start}\t{end}\t{label}" for start, end, label in _merged(truth)]
        events += merged or [f"{stem}.wav\t\t\t"]
        durations.append(f"{stem}.wav\t{float(truth.duration_s)}")
    for earlier in written_files(out / "scores"):  # they would have no ground truth
        if earlier.stem not in stems.values():
            discard(earlier)
    atomic_write(out / "ground_truth.tsv", _table(events))
    atomic_write(out / "durations.tsv", _table(durations))
    missing, unused = [video for video in stems if video not in seen], [c for c in own if c not in classes]
    notes = []
    if missing:
        notes.append(
            f"frame scores of {pluralize(len(missing), 'video')} without activations are 0: {first_few(missing, 3)}"
        )
    if unused:
        notes.append(f"frame scores without {pluralize(len(unused), 'class')} without events: {first_few(unused, 3)}")
    return tuple(notes)


def _table(rows: Iterable[str]) -> str:
    return "\n".join(rows) + "\n"


def _check_names(classes: Sequence[str]) -> None:
    taken = {"onset", "offset"} | READ_AS_MISSING
    bad = next((name for name in classes if name in taken or any(c in name for c in '\t\n\r\\"')), None)
    if bad is not None:
        raise FormatError(
            f"class {bad!r} cannot be written for sed_scores_eval: it reads such a name as missing or as several "
            "cells; rename the class"
        )


def _frames(seen: ActivationSequence | None, duration_s: float, classes: Sequence[str]) -> list[tuple[float, ...]]:
    """Onset, offset and score of each class, per cell that lies in the video."""
    if seen is None:
        return [(0.0, float(duration_s), *[0.0] * len(classes))]
    index = np.arange(seen.grid.count, dtype=np.float64)
    onset, offset = seen.grid.spans_s(index, index + 1, seen.duration_s)
    scores = np.zeros((len(index), len(classes)))
    for column, name in enumerate(classes):
        if name in seen.classes:
            scores[:, column] = seen.probs[:, 1 + seen.classes.index(name)]
    inside = offset > onset
    rows = np.column_stack([onset, offset, scores])[inside]
    rows[0, 0] = 0.0  # a first cell that begins later covers the time before it
    return [tuple(row) for row in rows.tolist()]


def _merged(truth: VideoAnnotation) -> list[tuple[float, float, str]]:
    """Events of a video, where overlapping and adjacent ones of a class are one."""
    events: list[tuple[float, float, str]] = []
    for item in sorted(truth.instances, key=lambda i: (i.label, i.start_s)):
        if events and events[-1][2] == item.label and item.start_s <= events[-1][1]:
            events[-1] = (events[-1][0], max(events[-1][1], item.end_s), item.label)
        else:
            events.append((float(item.start_s), float(item.end_s), item.label))
    return events
