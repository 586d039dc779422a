"""W-TALC's layout (THUMOS14reduced, ActivityNet1.2): a folder of .npy files with one entry per video, and features.

    <set>-Annotations/classlist.npy, videoname.npy, subset.npy     text (bytes)
                      labels_all.npy                               weak labels, if different from the instances' labels
                      duration.npy                                 seconds, (N,) or (N, 1)
                      labels.npy, segments.npy                     pickled lists: a label and [start, end] per instance
                      url.npy                                      ActivityNet only: contains the YouTube id
                      Ambiguous_test.txt                           THUMOS14 only: video, start, end
    <set>-I3D-JOINTFeatures.npy                                    pickled: N arrays (T, 2048), rgb then flow

Differs from the authors' code: nothing is unpickled (see `pickles`), features are read on demand, and ActivityNet's
videos are named by YouTube id instead of `video_4`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avloc.datasets.collection import Collection, Interval, preset_of, weak_labels
from avloc.datasets.tracks import USUAL_CLOCK, Clock, Track, Tracks
from avloc.errors import FormatError, InputError, first_few
from avloc.formats.annotations import AnnotationIssue, AnnotationReport, subset_name, valid_instances
from avloc.formats.labels import read_text
from avloc.formats.untrusted.arrays import index_arrays, load_array
from avloc.system.text import nfc, pluralize
from avloc.types import VideoAnnotation

YOUTUBE = re.compile(r"(?:v=|youtu\.be/|embed/)([\w-]{11})")


def is_wtalc(folder: Path) -> bool:
    """Whether a folder looks like W-TALC's annotations."""
    return all((folder / f"{name}.npy").is_file() for name in ("classlist", "videoname", "segments"))


def read_wtalc(
    folder: Path | str, features: Path | str | None = None, audio: Sequence[Track] = (), clock: Clock | None = None
) -> Collection:
    """Read W-TALC's annotations, and its features if they exist.

    Args:
        features: the JOINTFeatures file; None searches `*JOINTFeatures.npy` in the folder and next to it.
        audio: separate audio features under the videos' names (see `folders.named_as`).
        clock: of the features; None is one row per 16 frames at 25 fps.

    Raises:
        InputError: no such folder or file.
        FormatError: a file not in W-TALC's format, or files with different numbers of videos.
    """
    root = Path(folder)
    if not is_wtalc(root):
        raise InputError(f"{root}: expected W-TALC's annotations (classlist.npy, videoname.npy, segments.npy, ...)")
    classes, names = _texts(root, "classlist"), _texts(root, "videoname")
    durations = _durations(root, len(names))
    subsets = list(map(subset_name, _texts(root, "subset", len(names))))
    labels, segments = _lists(root, "labels", len(names)), _lists(root, "segments", len(names))
    ids, notes = _ids(root, names)
    issues: list[AnnotationIssue] = []
    annotations = []
    for k, video in enumerate(ids):
        rows = _instances(root, names[k], labels[k], segments[k], classes)
        instances = tuple(valid_instances(video, durations[k], rows, issues))
        annotations.append(VideoAnnotation(video, durations[k], subsets[k], instances))
    given = _lists(root, "labels_all", len(names)) if (root / "labels_all.npy").is_file() else labels
    differ = [v for v, own, all_ in zip(ids, labels, given, strict=True) if set(own) != set(all_)]
    if differ:
        notes.append(
            f"{pluralize(len(differ), 'video')} with weak labels (labels_all.npy) other than the instances' labels: "
            f"{first_few(differ, 3)}"
        )
    weak = weak_labels(annotations, dict(zip(ids, given, strict=True)))
    tracks = _features(root, features, ids, clock) + tuple(audio)
    return Collection(
        name=f"W-TALC annotations ({root.name})",
        classes=tuple(classes),
        annotations=tuple(annotations),
        labels=weak,
        report=AnnotationReport(tuple(issues)),
        features=Tracks(tracks) if tracks else None,
        ambiguous=read_ambiguous(root / "Ambiguous_test.txt") if (root / "Ambiguous_test.txt").is_file() else (),
        notes=tuple(notes),
        preset=preset_of(ids, "activitynet" if (root / "url.npy").is_file() else ""),
    )


def read_ambiguous(path: Path | str) -> tuple[Interval, ...]:
    """Read THUMOS14's list of ambiguous intervals, in which detections are not evaluated: `video start end` per line.

    Raises:
        InputError: no such file. FormatError: an invalid line.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            video, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
            if len(fields) != 3 or not 0 <= start_s <= end_s < float("inf"):
                raise ValueError
        except (ValueError, IndexError):
            raise FormatError(
                f"{path}: line {number}: expected `video start end` in seconds, got {line[:80]!r}"
            ) from None
        found.append(Interval(video, start_s, end_s))
    return tuple(found)


def _texts(root: Path, name: str, count: int | None = None) -> list[str]:
    values = load_array(root / f"{name}.npy")
    if values.dtype.kind not in "SU" or values.ndim != 1 or count not in (None, len(values)):
        wanted = "" if count is None else f"{count} of "
        raise FormatError(f"{root / name}.npy: expected {wanted}text, one per video, got {values.dtype} {values.shape}")
    return [nfc(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)) for v in values.tolist()]


def _durations(root: Path, count: int) -> list[float]:
    values = load_array(root / "duration.npy")
    if values.dtype.kind not in "fiu" or values.size != count or not (np.isfinite(values) & (values > 0)).all():
        raise FormatError(
            f"{root / 'duration.npy'}: expected {count} durations in seconds, got {values.dtype} {values.shape}"
        )
    return [float(v) for v in values.ravel()]


def _lists(root: Path, name: str, count: int) -> list[list[Any]]:
    values = load_array(root / f"{name}.npy")
    entries = [v.tolist() if isinstance(v, np.ndarray) else v for v in values.tolist()]
    if len(entries) != count or not all(isinstance(entry, list) for entry in entries):
        raise FormatError(
            f"{root / name}.npy: expected {count} lists, one per video, got {values.dtype} {values.shape}"
        )
    return [[nfc(value) if isinstance(value, str) else value for value in entry] for entry in entries]


def _instances(
    root: Path, name: str, labels: list[Any], segments: list[Any], classes: Sequence[str]
) -> list[tuple[str, float, float]]:
    if len(labels) != len(segments):
        raise FormatError(f"{root}: {name}: expected as many labels as segments, got {len(labels)} and {len(segments)}")
    rows = []
    for label, segment in zip(labels, segments, strict=True):
        try:
            start_s, end_s = (float(value) for value in segment)
            if label not in classes or not np.isfinite([start_s, end_s]).all():
                raise ValueError
        except (TypeError, ValueError):
            raise FormatError(
                f"{root}: {name}: expected a label of classlist.npy and [start, end], got {label!r} and {segment!r}"
            ) from None
        rows.append((label, start_s, end_s))
    return rows


def _ids(root: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """YouTube ids where url.npy has them, else the names; and notes."""
    if not (root / "url.npy").is_file():
        ids, notes = names, []
    else:
        found = [YOUTUBE.search(url) for url in _texts(root, "url", len(names))]
        ids = [name if match is None else match[1] for name, match in zip(names, found, strict=True)]
        lost = found.count(None)
        notes = [f"{pluralize(lost, 'video')} without YouTube id in url.npy: name kept"] * bool(lost)
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise FormatError(f"{root}: duplicate video {twice!r}")
    return ids, notes


def _features(root: Path, path: Path | str | None, ids: list[str], clock: Clock | None) -> tuple[Track, ...]:
    if path is None:
        candidates = sorted({*root.glob("*JOINTFeatures.npy"), *root.parent.glob(_beside(root))})
        if not candidates:
            return ()
        path = candidates[0]
    arrays = index_arrays(path)
    if len(arrays) != len(ids):
        raise FormatError(f"{path}: expected {len(ids)} arrays, one per video of {root}, got {len(arrays)}")
    return (Track("I3D rgb+flow", "visual", dict(zip(ids, map(_Entry, arrays), strict=True)), clock or USUAL_CLOCK),)


def _beside(root: Path) -> str:
    return f"{root.name.removesuffix('-Annotations')}*JOINTFeatures.npy"


class _Entry:
    """An array in memory or in a file."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def read_shape(self) -> tuple[int, ...]:
        return self.entry.shape

    def read(self) -> np.ndarray:
        return self.entry if isinstance(self.entry, np.ndarray) else self.entry.read()
