"""Ground truth from any readable file or folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from avloc.datasets.collection import Interval
from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.annotations import AnnotationReport, read_annotation_columns, read_annotations, subset_name
from avloc.formats.corrections import is_corrections
from avloc.formats.json_file import parse_json
from avloc.formats.labels import read_text
from avloc.interchange.convert import read_truth
from avloc.metrics import SegmentTable, without_videos
from avloc.system.text import nfc, pluralize
from avloc.types import VideoAnnotation
from avloc.vocabulary import Subset


@dataclass(frozen=True)
class Reference:
    """Ground truth.

    Args:
        annotations: videos with their valid instances.
        table: the instances to count; from JSON all of them, as they are in the file.
        ambiguous: segments in which detections are not scored.
        facts: notes about the file.
        report: issues of its instances.
        unchanged: whether `table` has them as they are in the file.
    """

    annotations: tuple[VideoAnnotation, ...]
    table: SegmentTable
    ambiguous: tuple[Interval, ...] = ()
    facts: tuple[str, ...] = ()
    report: AnnotationReport = field(default_factory=lambda: AnnotationReport(()))
    unchanged: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Video ids."""
        return tuple(a.video_id for a in self.annotations)

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets; "" for videos without one."""
        return tuple(dict.fromkeys(a.subset for a in self.annotations))

    @property
    def by_video(self) -> dict[str, VideoAnnotation]:
        """Annotations by video id."""
        return {a.video_id: a for a in self.annotations}

    @property
    def notes(self) -> tuple[str, ...]:
        """Problems found in the file, in these videos."""
        return (*self.facts, *self.report.notes(self.unchanged))

    def only(self, videos: Iterable[str]) -> Reference:
        """Restrict to some videos."""
        wanted = set(videos)
        kept = tuple(a for a in self.annotations if a.video_id in wanted)
        report = AnnotationReport(tuple(issue for issue in self.report.issues if issue.video_id in wanted))
        return replace(self, annotations=kept, table=self.table.take(self.table.in_videos(wanted)), report=report)

    def in_subsets(self, names: Collection[str]) -> Reference:
        """Restrict to the videos of some subsets."""
        return self.only(a.video_id for a in self.annotations if a.subset in names)

    def check_overlap(self, path: Path, detections: Path, named: Sequence[str]) -> None:
        """Raise InputError if detections name videos, and none of them is in this ground truth, read from `path`."""
        if named and self.ids and not set(named) & set(self.ids):
            raise InputError(
                f"{detections} and {path} have no video in common: detections name e.g. {named[0]!r}, the ground truth "
                f"e.g. {self.ids[0]!r}; check that they are of the same data set and subset"
            )


def scored_part(everything: Reference, path: Path, subset: str | None, named: Sequence[str]) -> tuple[Reference, str]:
    """The ground truth to score detections against: whole subsets, so that videos without detections count as missed.

    Args:
        everything: all subsets of the file at `path`.
        subset: as in `read_reference`. None takes the subset of the detections' videos. Of several subsets it takes
            "validation", as the ActivityNet toolkit does by default, else "testing", else all of them. Ground truth
            without subsets is scored whole.
        named: videos that the detections name.

    Returns:
        The ground truth, and a note on the choice, "" if there was none.

    Raises:
        InputError: no video in that subset.
    """
    if subset is not None:
        return everything.in_subsets(_known_subsets(everything, path, subset)), ""
    if everything.subsets == ("",):
        videos = pluralize(len(everything.ids), "video")
        if is_corrections(path):
            return everything, (
                f"{path} holds corrections of {videos}: scored on these alone, and what is stated there counts as all; "
                "for the quality of a model, give ground truth of test videos"
            )
        return everything, f"the ground truth names no subsets: all {videos} scored"
    wanted = set(named)
    own = tuple(dict.fromkeys(a.subset for a in everything.annotations if a.video_id in wanted)) or everything.subsets
    annotated = {a.subset for a in everything.annotations if a.instances}
    usual = next((name for name in (Subset.VALIDATION, Subset.TESTING) if name in own and name in annotated), None)
    chosen = (str(usual),) if usual is not None else own
    part = everything.in_subsets(chosen)
    if len(everything.subsets) == 1:
        return part, ""
    scored = f"scored {_named(chosen)} ({pluralize(len(part.ids), 'video')})"
    if len(own) == 1:
        return part, f"{scored}, which holds the detections' videos; choose others with --subset"
    return part, f"{scored}: the detections' videos are of {_named(own)}; choose others with --subset"


def without_others(found: SegmentTable, everything: Reference, part: Reference) -> tuple[SegmentTable, str]:
    """Leave out detections in videos of subsets that are not scored; and a note, "" if there are none.

    Detections in videos that the ground truth does not know stay: false positives.
    """
    gone = set(everything.ids) - set(part.ids)
    left = without_videos(found, gone)
    if len(left) == len(found):
        return found, ""
    videos = sum(video in gone for video in {found.videos[k] for k in set(found.video.tolist())})
    subsets = _named([name for name in everything.subsets if name not in part.subsets])
    detections = pluralize(len(found) - len(left), "detection")
    return left, f"left out {detections} in {pluralize(videos, 'video')} not scored, of {subsets}"


def missing_note(part: Reference, named: Collection[str]) -> str:
    """A note on scored videos that the detections do not name, "" if there are none."""
    missing = len(set(part.ids) - set(named))
    if not missing:
        return ""
    return f"{missing} of {len(part.ids)} scored videos are not in the detections: their instances count as missed"


def _named(subsets: Collection[str]) -> str:
    words = "subset" if len(subsets) == 1 else "subsets"
    return f"{words} {', '.join(repr(str(name)) if name else '(unnamed)' for name in subsets)}"


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
        reference = _from_json(path, table)
    else:
        annotations, notes = read_truth(path)
        reference = Reference(annotations, SegmentTable.from_annotations(annotations), facts=notes)
    return reference if subset is None else reference.in_subsets(_known_subsets(reference, path, subset))


def _known_subsets(reference: Reference, path: Path, subset: str) -> list[str]:
    """The subsets that `subset` lists. Raises InputError if one has no video."""
    wanted = [subset_name(name) for name in subset.split(",") if name.strip()]
    missing = [name for name in wanted if name not in reference.subsets]
    if missing:
        raise InputError(f"{path}: no video in subset {missing[0]!r}.{did_you_mean(missing[0], reference.subsets)}")
    return wanted


def _from_collection(folder: Path) -> Reference:
    from avloc.datasets.open import open_collection

    data = open_collection(folder)
    if not data.annotations:
        raise InputError(f"{folder}: expected ground truth, but this data set has no annotated video")
    table = SegmentTable.from_annotations(data.annotations)
    return Reference(data.annotations, table, data.ambiguous, tuple(data.notes), data.report)


def _from_json(path: Path, table: bool) -> Reference:
    annotations, report = read_annotations(path)
    if table:
        rows = SegmentTable.from_columns(**read_annotation_columns(path))
    else:
        rows = SegmentTable.from_annotations(annotations)
    return Reference(annotations, rows, report=report, unchanged=table)


def read_blocked(path: Path) -> tuple[str, ...]:
    """Videos to leave out: a JSON list, the keys of a JSON object, or one id per line.

    Raises:
        InputError: no such file. FormatError: none of these.
    """
    text = read_text(path)
    if path.suffix.lower() != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        value = parse_json(path, text.encode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected JSON: {error}") from error
    names = [nfc(name) for name in value if isinstance(name, str)] if isinstance(value, list | dict) else []
    if not isinstance(value, list | dict) or len(names) < len(value):
        raise FormatError(f'{path}: expected ["video", ...] or {{"video": ...}}, got {str(value)[:80]}')
    return tuple(names)
