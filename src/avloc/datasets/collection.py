"""A data set, independent of its file layout: classes, ground truth, weak labels, features."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from avloc.formats.annotations import AnnotationReport
from avloc.formats.labels import LabelRow, LabelTable
from avloc.system.text import pluralize
from avloc.types import FeatureSequence, VideoAnnotation
from avloc.vocabulary import Subset


@runtime_checkable
class Features(Protocol):
    """Features by video id."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence: ...


@dataclass(frozen=True)
class Interval:
    """An interval [start_s, end_s) of a video that the annotators marked as ambiguous."""

    video_id: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Collection:
    """A data set.

    Args:
        name: for display: "AVE", "W-TALC annotations", ...
        classes: in the order of its own files.
        annotations: ground truth in seconds, one entry per video.
        labels: weak labels, with avloc's subsets.
        report: invalid and suspicious instances.
        features: None if there are no feature files.
        ambiguous: intervals in which detections are not evaluated (THUMOS14).
        parts: further ground truths by name (LLP: "audio", "visual").
        notes: other issues.
        preset: of `avloc.presets` for this data set; "" if it has none.
        options: what was asked for when it was opened, by option; a changed one makes converted files stale.
    """

    name: str
    classes: tuple[str, ...]
    annotations: tuple[VideoAnnotation, ...]
    labels: LabelTable
    report: AnnotationReport = field(default_factory=lambda: AnnotationReport(()))
    features: Features | None = None
    ambiguous: tuple[Interval, ...] = ()
    parts: Mapping[str, tuple[VideoAnnotation, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    preset: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def durations_s(self) -> dict[str, float]:
        """{video_id: seconds}."""
        return {video.video_id: video.duration_s for video in self.annotations}


def preset_of(videos: Iterable[str], version: str = "") -> str:
    """The preset for a data set, by the names of its videos and the version in its JSON; "" if there is none."""
    if re.match(r"video_(validation|test)_\d{7}$", next(iter(videos), "")):
        return "thumos14"
    if re.match(r"unav", version, re.IGNORECASE):
        return "unav100"
    return "activitynet" if re.match(r"version 1\.[23]|activitynet", version, re.IGNORECASE) else ""


def weak_labels(
    annotations: Iterable[VideoAnnotation], labels: Mapping[str, Iterable[str]] | None = None
) -> LabelTable:
    """The classes of each video, with avloc's subsets.

    Args:
        labels: {video_id: classes}, where they differ from the instances' labels.

    Without an annotated test subset, the validation subset becomes test; without a training subset, it becomes train
    (ActivityNet's and THUMOS14's conventions). As "validation", it would select the checkpoint on test data, or leave
    nothing to train on. Videos with withheld ground truth are left out. The notes report all of this.
    """
    videos = list(annotations)
    known = {
        v.video_id: tuple(dict.fromkeys((labels or {}).get(v.video_id, (i.label for i in v.instances)))) for v in videos
    }
    annotated = {v.subset for v in videos if known[v.video_id]}
    names: dict[str, str] = {subset.value: subset.short for subset in Subset}
    notes = []
    if Subset.VALIDATION in annotated and Subset.TESTING not in annotated:
        names[Subset.VALIDATION] = Subset.TESTING.short
        notes.append(
            "its validation subset is used as test, as usual for this data; hold out part of train for validation"
        )
    elif Subset.VALIDATION in annotated and Subset.TRAINING not in annotated:
        names[Subset.VALIDATION] = Subset.TRAINING.short
        notes.append("its validation subset is used as train, as usual for this data: there is no training subset")
    kept = [v for v in videos if v.subset in annotated]
    if len(kept) < len(videos):
        words = pluralize(len(videos) - len(kept), "video")
        notes.append(f"{words} of subsets without labels left out of the weak labels")
    names[""] = Subset.TRAINING.short
    if annotated == {""}:
        notes.append(f"no subsets are named: all {pluralize(len(videos), 'video')} are used as train")
    strange = sorted({v.subset for v in kept} - set(names))
    if strange:  # could be test videos
        rest = [v for v in kept if v.subset in names]
        notes.append(
            f"{pluralize(len(kept) - len(rest), 'video')} left out of the weak labels: expected subset training, "
            f"validation or testing, got {' or '.join(strange)}"
        )
        kept = rest
    rows = (LabelRow(v.video_id, known[v.video_id], names[v.subset]) for v in kept)
    return LabelTable(tuple(rows), tuple(notes))
