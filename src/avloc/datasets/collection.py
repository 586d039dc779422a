"""What a data set of the field holds, whatever its files look like: classes, ground truth, weak labels, features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from avloc.formats.annotations import AnnotationReport
from avloc.formats.labels import LabelRow, LabelTable
from avloc.types import FeatureSequence, VideoAnnotation
from avloc.vocabulary import Subset

__all__ = ["Collection", "Features", "Interval", "weak_labels"]


@runtime_checkable
class Features(Protocol):
    """Features by name."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence: ...


@dataclass(frozen=True)
class Interval:
    """A stretch of a video, [start_s, end_s), that its annotators could not decide about."""

    video_id: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Collection:
    """A data set.

    Args:
        name: for people: "AVE", "W-TALC annotations", ...
        classes: in the order of its own files.
        annotations: ground truth in seconds, one entry a video.
        labels: the weak labels, with subsets as avloc uses them.
        report: instances that are none, or odd.
        features: None when there are no feature files.
        ambiguous: where detections are not to be judged (THUMOS14).
        parts: further ground truths by name (LLP: "audio", "visual").
        notes: what else was odd.
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

    @property
    def durations_s(self) -> dict[str, float]:
        """{video_id: seconds}."""
        return {video.video_id: video.duration_s for video in self.annotations}


def weak_labels(
    annotations: Iterable[VideoAnnotation], labels: Mapping[str, Iterable[str]] | None = None
) -> LabelTable:
    """Which classes occur in which video, with subsets as avloc uses them.

    Args:
        labels: {video_id: its classes}, where they say more than the instances; else the instances' own.

    A data set without an annotated test subset is tested on its validation subset, and one without a training subset
    trains on it (ActivityNet and THUMOS14, by their own rules). Calling either "validation" would let training select
    its checkpoint on the test data or have nothing to learn from; the notes say what was done. Videos of withheld
    ground truth are left out.
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
        notes.append("its validation subset is called test here: it is what the field tests on; hold out some of train")
    elif Subset.VALIDATION in annotated and Subset.TRAINING not in annotated:
        names[Subset.VALIDATION] = Subset.TRAINING.short
        notes.append("its validation subset is called train here: the field trains on it, there is no other")
    kept = [v for v in videos if v.subset in annotated]
    if len(kept) < len(videos):
        notes.append(f"{len(videos) - len(kept)} videos of subsets without labels are left out of the weak labels")
    names[""] = Subset.TRAINING.short
    strange = sorted({v.subset for v in kept} - set(names))
    if strange:  # they could be anything, even what is tested on
        rest = [v for v in kept if v.subset in names]
        notes.append(
            f"{len(kept) - len(rest)} videos are left out of the weak labels: their subset is {' or '.join(strange)}, "
            "and not training, validation or testing"
        )
        kept = rest
    rows = (LabelRow(v.video_id, known[v.video_id], names[v.subset]) for v in kept)
    return LabelTable(tuple(rows), tuple(notes))
