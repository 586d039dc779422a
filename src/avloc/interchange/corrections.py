"""Files of corrections in any format that holds ground truth, merged by video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avloc.config import LIKELY
from avloc.errors import InputError
from avloc.formats.corrections import VideoCorrections, read_corrections
from avloc.formats.labels import TableReader, read_text
from avloc.interchange.convert import read_segments
from avloc.types import Detection, Instance


@dataclass(frozen=True)
class CorrectionFiles:
    """Corrections of several files, merged.

    Args:
        videos: {video_id as in the files: its corrections}.
        sources: {video_id: the file, or files joined by " and "}.
        notes: what was left out or is doubtful.
    """

    videos: Mapping[str, VideoCorrections]
    sources: Mapping[str, str]
    notes: tuple[str, ...] = ()


def read_correction_files(files: Sequence[Path]) -> CorrectionFiles:
    """Read corrections, points or ground truth in any format that avloc reads, and merge them by video.

    What several files state about a video is joined; a checked video must be the same in all that have it as checked.

    Raises:
        InputError: a folder, no corrections in a file, detections instead of corrections, or files that contradict each
            other.
        FormatError: a file is damaged or contradicts itself.
    """
    videos: dict[str, VideoCorrections] = {}
    sources: dict[str, str] = {}
    notes: list[str] = []
    for path in dict.fromkeys(files):
        if path.is_dir():
            raise InputError(f"{path}: expected a file of corrections, got a folder; name the file in it")
        found, said = _read(path)
        notes += [f"{path}: {note}" for note in said]
        if not found:
            raise InputError(f"{path}: expected corrections of at least one video, got none; leave the file out")
        for video in found:
            name = video.video_id
            if name in videos:
                video = _joined(videos[name], video, sources[name], str(path))
            sources[name] = f"{sources[name]} and {path}" if name in sources else str(path)
            videos[name] = video
    return CorrectionFiles(videos, sources, tuple(notes))


def _read(path: Path) -> tuple[tuple[VideoCorrections, ...], tuple[str, ...]]:
    suffix = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix in (".json", ".json.gz") or (suffix == ".csv" and _has_points(path)):
        return read_corrections(path)
    notes: list[str] = []
    videos = []
    for one in read_segments(path, notes):
        weak = [s for s in one.segments if isinstance(s, Detection) and s.score < LIKELY]
        if weak:
            raise InputError(
                f"{path}: expected corrections, got detections (video {one.video_id!r} has {len(weak)} with a score "
                f"below {LIKELY:g}); give what a person has checked, or write them with --min-score {LIKELY:g}"
            )
        present = tuple(Instance(s.start_s, s.end_s, s.label) for s in one.segments)
        videos.append(VideoCorrections(one.video_id, one.duration_s, present, checked=True))
    return tuple(videos), tuple(notes)


def _has_points(path: Path) -> bool:
    return "time" in [cell.strip() for cell in next(TableReader(path, read_text(path)), [])]


def _joined(a: VideoCorrections, b: VideoCorrections, first: str, second: str) -> VideoCorrections:
    """What two files state about a video.

    Raises:
        InputError: they contradict each other.
    """
    joined = replace(
        a,
        duration_s=a.duration_s if b.duration_s is None else b.duration_s,
        present=tuple(dict.fromkeys([*a.present, *b.present])),
        deleted=tuple(dict.fromkeys([*a.deleted, *b.deleted])),
        points=tuple(dict.fromkeys([*a.points, *b.points])),
        checked=a.checked or b.checked,
        subset=a.subset or b.subset,
    )
    why = joined.contradiction
    for one, other in ((a, b), (b, a)):
        known = {*one.present}
        extra = [i for i in other.present if i not in known] if one.checked else []
        if extra:
            why = why or f"{extra[0].label!r} {extra[0].start_s:g}-{extra[0].end_s:g} s is in one of them only"
    if a.subset and b.subset and a.subset != b.subset:
        why = f"its subset is {a.subset} and {b.subset}"
    if why:
        raise InputError(f"{first} and {second} contradict each other on {a.video_id!r}: {why}; keep one of them")
    return joined
