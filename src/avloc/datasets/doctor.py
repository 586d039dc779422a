"""Summarize a data set and report its problems, before hours are spent on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from avloc.datasets.collection import Collection, Features
from avloc.datasets.tracks import Tracks
from avloc.errors import AvlocError, first_few
from avloc.formats.annotations import AnnotationReport
from avloc.system.text import pluralize
from avloc.types import FeatureSequence, Progress, VideoAnnotation
from avloc.vocabulary import Subset

SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """A problem of a data set.

    Args:
        kind: "error" (videos unusable or results wrong), "warning" (check it) or "note".
        count: of videos or instances.
    """

    kind: str
    count: int
    text: str


@dataclass(frozen=True)
class FeatureReport:
    """Features of one modality.

    Args:
        videos: number of videos with this modality.
        size: most frequent number of channels.
        rows: minimum, median and maximum number of rows.
        step_s: most frequent number of seconds between rows.
    """

    videos: int
    size: int
    rows: tuple[int, int, int]
    step_s: float


@dataclass(frozen=True)
class DataReport:
    """Summary of a data set.

    Args:
        videos, instances: counts by the data set's own subsets.
        labelled: number of videos with weak labels, by the subsets of labels.csv.
        duration_s: minimum, median and maximum duration of the videos.
        foreground: mean share of a video covered by instances, over videos with instances.
        features: by modality; empty if there are no feature files.
        read: number of videos whose features were read.
        layouts: how the axes of the feature arrays were taken, a line per track.
    """

    name: str
    classes: int
    videos: Mapping[str, int]
    instances: Mapping[str, int]
    labelled: Mapping[str, int]
    duration_s: tuple[float, float, float] | None
    foreground: float | None
    features: Mapping[str, FeatureReport]
    read: int
    findings: tuple[Finding, ...]
    layouts: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.kind != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"sound": self.sound}


def examine(
    collection: Collection,
    limit: int | None = None,
    progress: Progress = lambda done, total, text: None,
) -> DataReport:
    """Summarize a data set, read its features, and list its problems.

    Args:
        limit: read features of this many videos only, evenly spaced; None reads all, to find every NaN and duplicate.
    """
    annotations = collection.annotations
    used = {v.subset for v in annotations}
    subsets = [s.value for s in Subset if s in used]
    subsets += sorted(used - set(subsets))
    durations = [v.duration_s for v in annotations]
    findings = [*_annotation_findings(collection), *_instance_findings(collection.report)]
    statistics = _Statistics()
    if collection.features is not None:
        ids = collection.features.ids
        chosen = (
            ids if limit is None or limit >= len(ids) else [ids[round(k)] for k in np.linspace(0, len(ids) - 1, limit)]
        )
        lengths_s = collection.durations_s
        for k, video in enumerate(chosen):
            statistics.look(video, collection.features, lengths_s.get(video))
            progress(k + 1, len(chosen), video)
        findings += [*_matching_findings(collection, ids), *statistics.findings()]
    return DataReport(
        name=collection.name,
        classes=len(collection.classes),
        videos={s or "(none)": sum(v.subset == s for v in annotations) for s in subsets},
        instances={s or "(none)": sum(len(v.instances) for v in annotations if v.subset == s) for s in subsets},
        labelled=dict(Counter(row.subset for row in collection.labels.rows)),
        duration_s=(min(durations), float(np.median(durations)), max(durations)) if durations else None,
        foreground=_foreground(annotations),
        features=statistics.report(),
        read=statistics.count,
        findings=tuple(findings),
        layouts=collection.features.described() if isinstance(collection.features, Tracks) else (),
    )


def _finding(kind: str, names: Sequence[str], what: str, words: str) -> list[Finding]:
    """A finding such as "2 videos without audio features: a, b", if there are names."""
    text = f"{pluralize(len(names), what)} {words}: {first_few(names, SHOWN)}"
    return [Finding(kind, len(names), text)] if names else []


def _annotation_findings(collection: Collection) -> list[Finding]:
    notes = dict.fromkeys((*collection.notes, *collection.labels.notes))
    found = [Finding("note", 1, note) for note in notes]
    counts = Counter(row.subset for row in collection.labels.rows for _ in row.labels)
    for subset in ("train", "test"):
        there = {label for row in collection.labels.rows if row.subset == subset for label in row.labels}
        if counts[subset]:
            found += _finding("warning", sorted(set(collection.classes) - there), "class", f"absent from {subset}")
    names = [row.video_id for row in collection.labels.rows]
    labelled = set(names)
    if names and collection.annotations:
        bare = [v.video_id for v in collection.annotations if v.video_id not in labelled and v.instances]
        found += _finding("error", bare, "video", "with instances but without weak labels")
    return found


def _instance_findings(report: AnnotationReport) -> list[Finding]:
    kinds = dict.fromkeys(issue.kind for issue in report.issues)
    return [Finding("warning", len(report.of(k)), n) for k, n in zip(kinds, report.notes(), strict=True)]


def _matching_findings(collection: Collection, ids: Sequence[str]) -> list[Finding]:
    there = set(ids)
    named = {row.video_id for row in collection.labels.rows} | set(collection.durations_s)
    if not named:
        return []
    wanted = [row.video_id for row in collection.labels.rows] or list(collection.durations_s)
    missing = [video for video in wanted if video not in there]
    found = _finding("error", missing, "labelled video", "without features")
    found += _finding("warning", [v for v in ids if v not in named], "video", "with features but in no table")
    if len(missing) == len(wanted):
        hint = f"no video name matches: tables have e.g. {wanted[0]!r}, features e.g. {ids[0]!r}"
        found.append(Finding("error", len(wanted), hint))
    return found


def _foreground(annotations: Iterable[VideoAnnotation]) -> float | None:
    shares = []
    for video in annotations:
        covered, reach = 0.0, 0.0
        for start_s, end_s in sorted((i.start_s, min(i.end_s, video.duration_s)) for i in video.instances):
            covered += max(0.0, end_s - max(start_s, reach))
            reach = max(reach, end_s)
        if video.instances:
            shares.append(covered / video.duration_s)
    return float(np.mean(shares)) if shares else None


@dataclass
class _Statistics:
    """Statistics of the features read so far."""

    count: int = 0
    sizes: dict[str, dict[int, list[str]]] = field(default_factory=lambda: {"visual": {}, "audio": {}})
    rows: dict[str, list[int]] = field(default_factory=lambda: {"visual": [], "audio": []})
    steps_s: Counter[float] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    lacking: dict[str, list[str]] = field(default_factory=lambda: {"visual": [], "audio": []})
    digests: dict[bytes, list[str]] = field(default_factory=dict)

    def look(self, video: str, reader: Features, duration_s: float | None) -> None:
        """Read one video's features."""
        self.count += 1
        try:
            features = reader.load(video, duration_s)
        except (AvlocError, ValueError) as error:
            self.broken.append((video, str(error)))
            return
        self._note(video, features)

    def _note(self, video: str, features: FeatureSequence) -> None:
        digest = hashlib.blake2b(digest_size=16)
        for name in ("visual", "audio"):
            values = getattr(features, name)
            if values is None:
                self.lacking[name].append(video)
                continue
            self.sizes[name].setdefault(values.shape[1], []).append(video)
            self.rows[name].append(len(values))
            digest.update(np.ascontiguousarray(values).data)
            if len(values) > 1 and (values == values[0]).all():
                self.constant.append(f"{video} ({name})")
        self.digests.setdefault(digest.digest(), []).append(video)
        step_s = float(features.grid.step_s)
        self.steps_s[round(step_s, 4)] += 1
        gap_s = abs(features.duration_s - float(features.grid.edge_s(features.grid.count)))
        if gap_s > max(2 * step_s, 0.05 * features.duration_s):
            self.short.append(video)

    def findings(self) -> list[Finding]:
        """Problems of the features."""
        found = []
        if self.broken:
            first = self.broken[0][1]
            found += _finding("error", [v for v, _ in self.broken], "video", "with unusable features")
            found.append(Finding("error", len(self.broken), f"first reason: {first}"))
        for name, sizes in self.sizes.items():
            if len(sizes) > 1:
                usual = max(sizes, key=lambda size: len(sizes[size]))
                others = [video for size, videos in sizes.items() if size != usual for video in videos]
                words = f"with {name} features of another size than {usual} (rows and columns swapped?)"
                found += _finding("error", others, "video", words)
            if sizes:
                found += _finding("warning", self.lacking[name], "video", f"without {name} features")
        twins = [" = ".join(videos) for videos in self.digests.values() if len(videos) > 1]
        found += _finding("warning", twins, "set", "of videos with identical features")
        if len(self.steps_s) > 1:
            span = f"{min(self.steps_s):g} to {max(self.steps_s):g} s per row"
            words = "a run takes one: give --stride-s, or convert with --step-s"
            found.append(
                Finding("warning", self.steps_s.total(), f"features of {len(self.steps_s)} steps, {span}; {words}")
            )
        found += _finding("warning", self.constant, "video", "with constant features")
        found += _finding(
            "warning", self.short, "video", "differing in duration from the features by over 5 % and 2 rows"
        )
        return found

    def report(self) -> dict[str, FeatureReport]:
        """Summaries by modality."""
        result = {}
        for name, sizes in self.sizes.items():
            if sizes:
                rows = self.rows[name]
                usual = max(sizes, key=lambda size: len(sizes[size]))
                spread = min(rows), int(np.median(rows)), max(rows)
                result[name] = FeatureReport(len(rows), usual, spread, self.steps_s.most_common(1)[0][0])
        return result
