"""Read segments in any readable format, and convert them to any format of `interchange.registry`.

read_segments("annotations.eaf")
convert("annotations.boris", "truth.json")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from avloc.errors import ConfigError, InputError, did_you_mean, reading
from avloc.formats.annotations import parse_annotations, read_database, write_annotations
from avloc.formats.detections import COLUMNS, csv_header, read_detections
from avloc.interchange.audacity import read_audacity
from avloc.interchange.boris import read_boris
from avloc.interchange.elan import read_eaf
from avloc.interchange.raven import is_raven, read_raven
from avloc.interchange.registry import FORMATS, target_files, target_format, with_media, write_as
from avloc.interchange.segments import Labelled, VideoSegments, read_lines
from avloc.interchange.subtitles import read_vtt
from avloc.interchange.via import is_via_project, read_via, read_via_project
from avloc.types import Instance, VideoAnnotation, exact


def _read_txt(path: Path, notes: list[str] | None) -> tuple[VideoSegments, ...]:
    """Raven's tables have a header; Audacity's label tracks have none."""
    return read_raven(path, notes) if is_raven(read_lines(path)[0].rstrip("\r")) else read_audacity(path, notes)


_READERS: dict[str, Callable[..., tuple[VideoSegments, ...]]] = {
    ".vtt": read_vtt,
    ".txt": _read_txt,
    ".eaf": read_eaf,
    ".boris": read_boris,
}


def read_segments(path: Path, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read CSV (avloc's, VIA's), JSON (ActivityNet's, VIA's), WebVTT, Audacity, Raven, ELAN or BORIS, by suffix.

    Args:
        notes: receives a line about each kind of entry that was skipped.

    Raises:
        InputError: no such file, or an unknown suffix. FormatError: the content does not match the suffix.
    """
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _READERS:
        return _READERS[suffix](path, notes)
    if suffix == ".csv":
        return read_via(path, notes) if _is_via(path) else _from_detections(path, notes)
    if suffix == ".json":
        return _from_json(path, notes)
    known = ", ".join([".csv", ".json", *_READERS])
    raise InputError(f"{path}: segments are read from {known}; got {suffix or 'no suffix'}")


def _is_via(path: Path) -> bool:
    if not path.is_file():
        return False
    with reading(path), path.open(encoding="utf-8-sig", errors="replace") as file:
        return "# CSV_HEADER" in file.read(1 << 16)


def _from_detections(path: Path, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    found = read_detections(path)
    if path.suffix.lower() == ".csv" and notes is not None:
        further = [name for name in csv_header(path) if name not in COLUMNS]
        notes += [f"{path}: left out the columns {', '.join(further)}"] if further else []
    return tuple(VideoSegments(name, segments) for name, segments in found.items())


def _from_json(path: Path, notes: list[str] | None) -> tuple[VideoSegments, ...]:
    """A project of VIA, or ActivityNet's JSON: a submission has `results`, ground truth has `database`."""
    content = read_database(path)
    if is_via_project(content):
        return read_via_project(path, content, notes)
    if "results" in content and not isinstance(content.get("database"), dict):
        return _from_detections(path)
    annotations, report = parse_annotations(path, content)
    if notes is not None:
        notes.extend(report.notes())
    return tuple(VideoSegments(a.video_id, a.instances, a.duration_s) for a in annotations)


def as_annotations(videos: Iterable[VideoSegments], subset: str = "validation") -> tuple[VideoAnnotation, ...]:
    """Segments as ground truth, without scores. A video of unknown duration ends with its last segment."""
    return tuple(
        VideoAnnotation(v.video_id, v.length_s, subset, tuple(_instance(s) for s in v.segments))
        for v in videos
        if v.length_s > 0
    )


def _instance(item: Labelled) -> Instance:
    return Instance(item.start_s, item.end_s, item.label)


EVERY_VIDEO = ""


def parse_fps(texts: Iterable[str]) -> dict[str, Fraction]:
    """{video_id: fps} from "dog=25" or "dog=30000/1001"; a rate alone is of EVERY_VIDEO.

    Raises:
        ConfigError: not a positive rate.
    """
    rates: dict[str, Fraction] = {}
    for text in texts:
        video, _, value = text.rpartition("=")
        try:
            rate = exact(value.strip())
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if rate <= 0:
            raise ConfigError(f"--fps-of takes VIDEO=FPS or FPS, such as dog=25 or 30000/1001, got {text!r}")
        rates[video] = rate
    return rates


def convert(
    source: Path,
    target: Path,
    name: str | None = None,
    media: Mapping[str, Path] | None = None,
    fps: Mapping[str, Fraction] | None = None,
) -> dict[str, Any]:
    """Read segments in one format and write them in another.

    Args:
        target: a file for formats that hold all videos (and for a single video), otherwise a folder.
        name: a key of FORMATS, or "truth" for ActivityNet ground truth; None: by the target's suffix, where .json
            is ground truth if there are no scores.
        media: {video_id: file}, for formats that count frames or refer to the video file.
        fps: {video_id or EVERY_VIDEO: rate} of videos whose file states none or a wrong one, see `with_media`.

    Returns:
        {"videos": n, "segments": n, "files": [...], "notes": [...]}

    Raises:
        InputError, FormatError: as `read_segments`. InputError: a target is the source. ConfigError: unknown format, or
            a rate of an unknown video.
    """
    notes: list[str] = []
    videos = read_segments(source, notes)
    rates = fps or {}
    if unknown := sorted(set(rates) - {EVERY_VIDEO, *(v.video_id for v in videos)}):
        hint = did_you_mean(unknown[0], [v.video_id for v in videos])
        raise ConfigError(f"--fps-of names {unknown[0]!r}, which is not in {source}.{hint}")
    chosen = target_format(target, name, videos)
    if any(file.exists() and file.samefile(source) for file in target_files(chosen, target, videos)):
        raise InputError(f"{source} would be overwritten by its own conversion; choose another OUT")
    if chosen == "truth":
        notes += _without_length(videos)
        write_annotations(target, as_annotations(videos))
        files = [target]
    else:
        known = media or {}
        frames = FORMATS[chosen].frames
        videos = tuple(
            with_media(v, known.get(v.video_id), frames, fps=rates.get(v.video_id, rates.get(EVERY_VIDEO)), notes=notes)
            for v in videos
        )
        files = write_as(chosen, target, videos)
    segments = sum(len(v.segments) for v in videos)
    return {"videos": len(videos), "segments": segments, "files": [str(f) for f in files], "notes": notes}


def read_truth(path: Path) -> tuple[tuple[VideoAnnotation, ...], tuple[str, ...]]:
    """Read ground truth in any readable format; returns it with notes about skipped entries."""
    notes: list[str] = []
    videos = read_segments(path, notes)
    notes += _without_length(videos)
    return as_annotations(videos), tuple(notes)


def _without_length(videos: Iterable[VideoSegments]) -> list[str]:
    """A line for each video that cannot be ground truth because its duration is unknown."""
    empty = [v.video_id for v in videos if v.length_s <= 0]
    return [f"{v}: skipped, it has no segments and no known duration" for v in empty]
