"""All formats in which segments can be written, and what each needs of the video.

    write_formats(out, ["elan", "via"], videos)     out/per-video/<video>.eaf and out/segments.via.json

`avloc.interchange.convert` reads them back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import ConfigError, InputError, did_you_mean, first_few
from avloc.formats.detections import write_segments_csv, write_segments_json
from avloc.formats.results import ResultsFolder
from avloc.interchange.audacity import write_audacity
from avloc.interchange.boris import write_boris
from avloc.interchange.elan import write_eaf
from avloc.interchange.labelstudio import write_labelstudio, write_labelstudio_config
from avloc.interchange.otio import write_otio
from avloc.interchange.parquet import write_parquet
from avloc.interchange.raven import write_raven
from avloc.interchange.segments import Labelled, VideoSegments
from avloc.interchange.spreadsheet import write_found_csv, write_found_xlsx
from avloc.interchange.subtitles import write_srt, write_vtt
from avloc.interchange.via import write_via
from avloc.media.frames import frame_times, is_raw_stream
from avloc.media.probe import plausible_rate, probe
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.system.atomic import claim
from avloc.system.outputs import discard, output_folder, written_files
from avloc.system.text import file_stems
from avloc.types import Detection


@dataclass(frozen=True)
class Format:
    """One way to write segments.

    Args:
        suffix: of its files.
        opens: the tools that open them.
        write: writes one video (per_video) or a sequence of videos to a path.
        per_video: a file holds one video; otherwise it holds all.
        frames: the format counts frames, so it needs the video files.
        package: that it needs, and the extra of avloc that installs it.
        complete: for evaluation and complete searches, so it keeps detections below the score that counts as found.
    """

    suffix: str
    opens: str
    write: Callable[[Path, Any], None]
    per_video: bool = False
    frames: bool = False
    complete: bool = False
    package: tuple[str, str] | None = None

    def missing(self) -> str:
        """How to install the package if it is missing, else ""."""
        if self.package is None or find_spec(self.package[0]) is not None:
            return ""
        return f"needs {self.package[0]}: pip install 'avloc[{self.package[1]}]'"

    def kept(self, segments: Sequence[Labelled], least: float) -> tuple[Labelled, ...]:
        """The segments to write: all, or for people those with a score of at least `least` or without a score."""
        if self.complete:
            return tuple(segments)
        return tuple(s for s in segments if not isinstance(s, Detection) or s.score >= least)


def _labelstudio(path: Path, videos: Sequence[VideoSegments]) -> None:
    write_labelstudio(path, videos)
    labels = dict.fromkeys(label for video in videos for label in video.labels)
    write_labelstudio_config(path.with_suffix(".xml"), list(labels))


def _scored(videos: Sequence[VideoSegments]) -> dict[str, tuple[Detection, ...]]:
    """Segments as detections; instances get score 1."""
    return {
        v.video_id: tuple(
            s if isinstance(s, Detection) else Detection(s.start_s, s.end_s, s.label, 1.0) for s in v.segments
        )
        for v in videos
    }


FORMATS: dict[str, Format] = {
    "csv": Format(
        ".csv", "R, Excel, pandas", lambda path, videos: write_segments_csv(path, _scored(videos)), complete=True
    ),
    "json": Format(
        ".json", "ActivityNet's tools", lambda path, videos: write_segments_json(path, _scored(videos)), complete=True
    ),
    "vtt": Format(".vtt", "any player", write_vtt, per_video=True),
    "srt": Format(".srt", "any player", write_srt, per_video=True),
    "audacity": Format(".txt", "Audacity", write_audacity, per_video=True),
    "elan": Format(".eaf", "ELAN", write_eaf, per_video=True),
    "boris": Format(".boris", "BORIS", write_boris, frames=True),
    "labelstudio": Format(".labelstudio.json", "Label Studio", _labelstudio, frames=True),
    "via": Format(".via.json", "VIA 3", write_via),
    "raven": Format(".selections.txt", "Raven", write_raven, per_video=True),
    "otio": Format(".otio", "editing programs", write_otio, per_video=True, frames=True),
    "parquet": Format(".parquet", "pandas, R, DuckDB", write_parquet, complete=True, package=("pyarrow", "export")),
}
"""Formats that can be written, by name; `avloc localize -f NAME`."""

_TABLES = {"csv", "json", "parquet"}  # do not refer to the video file
_ALIASES = {"eaf": "elan", "activitynet": "json", "label-studio": "labelstudio", "webvtt": "vtt"}


def parse_formats(text: str, notes: list[str] | None = None) -> tuple[str, ...]:
    """Parse "csv,vtt,elan" or "all" into names of FORMATS, without duplicates.

    Args:
        notes: receives a line about each format that "all" leaves out, because a package is missing.

    Raises:
        ConfigError: an unknown name, or a format whose package is missing.
    """
    names = _names(text)
    if is_all(text):
        lacking = {name: text for name, form in FORMATS.items() if (text := form.missing())}
        if notes is not None:
            notes += [f"-f all left out {name}, which {text}" for name, text in lacking.items()]
        return tuple(name for name in FORMATS if name not in lacking)
    if not names:
        raise ConfigError(f"expected formats separated by commas, such as csv,vtt; known: {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}.{did_you_mean(name, FORMATS)} -f all writes every format")
        if text := FORMATS[name].missing():
            raise ConfigError(f"-f {name} {text}, or choose other formats")
    return tuple(dict.fromkeys(names))


def _names(text: str) -> list[str]:
    return [_ALIASES.get(name, name) for name in (part.strip().lower() for part in text.split(",")) if name]


def is_all(text: str) -> bool:
    """Whether a list of formats asks for every format."""
    return "all" in _names(text)


def clear_formats(out: Path, names: Iterable[str] = ()) -> None:
    """Remove what an earlier `write_detections` wrote to a folder, in every format; files of others stay.

    Args:
        names: formats that will be written.

    Raises:
        InputError: a file of others is where one of these formats will be written.
    """
    folder = ResultsFolder(out)
    whole = {name: folder.segments(form.suffix) for name, form in FORMATS.items() if not form.per_video}
    also = {"labelstudio": folder.segments(".labelstudio.xml")}
    found = [folder.found(".xlsx"), folder.found(".csv")]
    earlier = folder.segments(".via.csv")  # by earlier versions
    with output_folder(out):
        claim([*found, *(files[name] for name in names for files in (whole, also) if name in files)])
        for path in (*found, *whole.values(), *also.values(), earlier, *written_files(folder.per_video)):
            discard(path)


def write_formats(
    out: Path, names: Iterable[str], videos: Sequence[VideoSegments], least: float = -math.inf
) -> list[Path]:
    """Write formats to a folder: segments.<suffix> for all videos, or per-video/<video>.<suffix> for each.

    Args:
        least: lowest score in the formats that are not `complete`.

    Returns:
        The files, in order of the formats.

    Raises:
        InputError: a format counts frames and a video's file is unknown.
    """
    folder = ResultsFolder(out)
    written = []
    with output_folder(out):
        for name in names:
            form = FORMATS[name]
            shown = [replace(video, segments=form.kept(video.segments, least)) for video in videos]
            written += write_as(name, folder.per_video if form.per_video else folder.segments(form.suffix), shown)
    return written


def write_detections(
    out: Path,
    names: Sequence[str],
    found: Mapping[str, tuple[Sequence[Detection], float, Path | None, StreamChoice]],
    least: float = -math.inf,
) -> list[Path]:
    """`write_formats` for {video_id: (detections, duration in seconds, video file if known, its streams)}, and found.*.

    Files are probed only for formats that refer to them or count their frames.
    """
    frames = any(FORMATS[name].frames for name in names)
    probed = not _TABLES.issuperset(names)
    videos = [
        with_media(VideoSegments(video, tuple(detections), duration_s), path if probed else None, frames, streams)
        for video, (detections, duration_s, path, streams) in found.items()
    ]
    shown = {video: [d for d in detections if d.score >= least] for video, (detections, *_) in found.items()}
    folder = ResultsFolder(out)
    write_found_xlsx(folder.found(".xlsx"), shown)
    write_found_csv(folder.found(".csv"), shown)
    return write_formats(out, names, videos, least)


def save_detections(
    path: Path,
    video_id: str,
    detections: Sequence[Detection],
    duration_s: float,
    media: Path | None = None,
    streams: StreamChoice = BY_FLAGS,
    least: float = -math.inf,
) -> None:
    """Write one video's detections to a file, in the format of its suffix.

    Args:
        least: as in `write_formats`.

    Raises:
        InputError: an unknown suffix, or a format that counts frames and no `media`.
    """
    video = VideoSegments(video_id, tuple(detections), duration_s)
    try:
        name = target_format(path, None, [video])
    except ConfigError:
        known = ", ".join(form.suffix for form in FORMATS.values())
        raise InputError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; choose one of {known}"
        ) from None
    if name == "truth":  # .json without detections
        name = "json"
    form = FORMATS[name]
    video = replace(video, segments=form.kept(detections, least))
    write_as(name, path, [with_media(video, None if name in _TABLES else media, form.frames, streams)])


def with_media(
    video: VideoSegments,
    path: Path | None,
    frames: bool = False,
    streams: StreamChoice = BY_FLAGS,
    fps: Fraction | None = None,
    notes: list[str] | None = None,
) -> VideoSegments:
    """The segments with the probed video file and, if `frames`, its frame times.

    Formats that count frames get `Media.frame_rate` as their clock: the rate that the file states, or that of its frame
    times if the stated one is implausible (DV streams state 10000 fps and more).

    Args:
        fps: replaces that rate, and times the frames of a raw stream, which has no time stamps.
        notes: receives a line if the rate of a raw stream is assumed.

    Raises:
        MediaError: the file is not a video.
    """
    if path is None:
        return video
    media = probe(path, video.video_id, streams)
    if not frames:
        return replace(video, media=media, duration_s=video.duration_s or media.duration_s)
    times_s = frame_times(media)
    rate = fps or plausible_rate(media.frame_rate, times_s)
    if is_raw_stream(path):
        if fps is not None:
            times_s = np.arange(len(times_s)) / float(fps)
            media = replace(media, duration_s=len(times_s) / float(fps))
        elif notes is not None:
            step_s = float(times_s[-1]) / (len(times_s) - 1) if len(times_s) > 1 else 1 / float(rate)
            notes.append(
                f"{path}: a raw stream has no time stamps; its frames are counted at {1 / step_s:g} per second; if "
                f"that is wrong, state it: --fps-of {video.video_id}=FPS"
            )
    media = replace(media, frame_rate=rate)
    return replace(video, media=media, duration_s=video.duration_s or media.duration_s, frame_times_s=times_s)


def target_format(target: Path, name: str | None, videos: Sequence[VideoSegments]) -> str:
    """Name of the format to write: `name` if given, else by the target's suffix; .json without scores is "truth".

    Raises:
        ConfigError: an unknown name or suffix.
    """
    if name is not None:
        return "truth" if name == "truth" else parse_formats(name)[0]
    by_length = sorted(FORMATS.items(), key=lambda item: -len(item[1].suffix))
    for known, form in by_length:
        if target.name.lower().endswith(form.suffix):
            scored = known != "json" or any(isinstance(s, Detection) for v in videos for s in v.segments)
            return known if scored else "truth"
    raise ConfigError(f"{target}: cannot tell the format from its name; give --to one of {', '.join(FORMATS)}, truth")


def write_as(name: str, target: Path, videos: Sequence[VideoSegments]) -> list[Path]:
    """Write videos in one format to a file, or to a folder where the format holds one video per file.

    Returns:
        The files.

    Raises:
        InputError: several videos for a file that holds one, or one video twice, which would overwrite its file.
    """
    twice = [name for name, count in Counter(video.video_id for video in videos).items() if count > 1]
    if twice:
        raise InputError(
            f"{target}: expected each video once, got {first_few(twice, 3)} more than once; merge or rename"
        )
    form = FORMATS[name]
    files = target_files(name, target, videos)
    if not form.per_video:
        form.write(target, videos)
        return files
    if len(files) != len(videos):
        raise InputError(
            f"{target}: {name} holds one video per file, got {len(videos)}; give a folder (a name without a dot)"
        )
    with output_folder(target) if target not in files else nullcontext():
        claim(files)
        for file, video in zip(files, videos, strict=True):
            form.write(file, video)
    return files


def target_files(name: str, target: Path, videos: Sequence[VideoSegments]) -> list[Path]:
    """The files that `write_as` writes for a target; "truth" is one file."""
    if name == "truth" or not FORMATS[name].per_video or (target.suffix and not target.is_dir()):
        return [target]
    stems = file_stems(video.video_id for video in videos)
    return [target / (stems[video.video_id] + FORMATS[name].suffix) for video in videos]
