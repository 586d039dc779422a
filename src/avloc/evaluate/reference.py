"""Ground truth from any readable file or folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avloc.datasets.collection import Interval
from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.annotations import read_annotation_columns, read_annotations, subset_name
from avloc.formats.labels import read_text
from avloc.interchange.convert import read_truth
from avloc.metrics import SegmentTable
from avloc.system.text import nfc
from avloc.types import VideoAnnotation


@dataclass(frozen=True)
class Reference:
    """Ground truth.

    Args:
        annotations: videos with their valid instances.
        table: the instances to count; from JSON all of them, as they are in the file.
        ambiguous: segments in which detections are not scored.
        notes: problems found in the file.
    """

    annotations: tuple[VideoAnnotation, ...]
    table: SegmentTable
    ambiguous: tuple[Interval, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Video ids."""
        return tuple(a.video_id for a in self.annotations)

    @property
    def by_video(self) -> dict[str, VideoAnnotation]:
        """Annotations by video id."""
        return {a.video_id: a for a in self.annotations}

    def only(self, videos: Iterable[str]) -> Reference:
        """Restrict to some videos."""
        wanted = set(videos)
        kept = tuple(a for a in self.annotations if a.video_id in wanted)
        return replace(self, annotations=kept, table=self.table.take(self.table.in_videos(wanted)))

    def check_overlap(self, path: Path, detections: Path, named: Sequence[str]) -> None:
        """Raise InputError if detections name videos, and none of them is in this ground truth, read from `path`."""
        if named and self.ids and not set(named) & set(self.ids):
            raise InputError(
                f"{detections} and {path} have no video in common: detections name e.g. {named[0]!r}, the ground truth "
                f"e.g. {self.ids[0]!r}; check that they are of the same data set and subset"
            )

    def about(self, videos: Iterable[str]) -> tuple[Reference, list[str]]:
        """Restrict to the videos named by detections if it has any of them; and a note on how many are left out."""
        named = set(videos)
        left_out = sum(video not in named for video in self.ids)
        if not left_out or not named & set(self.ids):
            return self, []
        note = (
            f"{left_out} of {len(self.ids)} videos are not in the detections and not scored; --subset scores them all"
        )
        return self.only(named), [note]


def read_reference(path: Path, subset: str | None = None, table: bool = True) -> Reference:
    """Ground truth from ActivityNet's JSON, a data set of the field, or segments in another tool's format.

    Args:
        subset: one or several, separated by commas; None for all videos.
        table: whether `Reference.table` is used; if not, JSON is not read a second time for it, and the notes are
            about `annotations`.

    Raises:
        InputError: no such file, no annotation in it, or no video in that subset. FormatError: see the formats.
    """
    if path.is_dir():
        reference = _from_collection(path)
    elif path.suffix.lower() in (".json", ".gz") or not path.exists():
        reference = _from_json(path, subset, table)
    else:
        annotations, notes = read_truth(path)
        reference = Reference(annotations, SegmentTable.from_annotations(annotations), (), notes)
    if subset is None:
        return reference
    wanted, known = _subsets(subset), {a.subset for a in reference.annotations}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(f"{path}: no video in subset {missing[0]!r}.{did_you_mean(missing[0], known)}")
    return reference.only(a.video_id for a in reference.annotations if a.subset in wanted)


def _from_collection(folder: Path) -> Reference:
    from avloc.datasets.open import open_collection

    data = open_collection(folder)
    if not data.annotations:
        raise InputError(f"{folder}: expected ground truth, but this data set has no annotated video")
    notes = (*data.notes, *data.report.notes())
    return Reference(data.annotations, SegmentTable.from_annotations(data.annotations), data.ambiguous, notes)


def _from_json(path: Path, subset: str | None, table: bool) -> Reference:
    """All videos of a JSON file, with the notes of the chosen subset."""
    annotations, report = read_annotations(path)
    if table:
        rows = SegmentTable.from_columns(**read_annotation_columns(path))
    else:
        rows = SegmentTable.from_annotations(annotations)
    if subset is not None:
        chosen = {a.video_id for a in annotations if a.subset in _subsets(subset)}
        report = replace(report, issues=tuple(issue for issue in report.issues if issue.video_id in chosen))
    return Reference(annotations, rows, (), report.notes(unchanged=table))


def read_blocked(path: Path) -> tuple[str, ...]:
    """Videos to leave out: a JSON list, the keys of a JSON object, or one id per line.

    Raises:
        InputError: no such file. FormatError: none of these.
    """
    text = read_text(path)
    if path.suffix.lower() != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        value = json.loads(text)
    except ValueError as error:
        raise FormatError(f"{path}: expected JSON: {error}") from error
    names = [nfc(name) for name in value if isinstance(name, str)] if isinstance(value, list | dict) else []
    if not isinstance(value, list | dict) or len(names) < len(value):
        raise FormatError(f'{path}: expected ["video", ...] or {{"video": ...}}, got {str(value)[:80]}')
    return tuple(names)


def _subsets(subset: str) -> list[str]:
    return [subset_name(name) for name in subset.split(",") if name.strip()]
