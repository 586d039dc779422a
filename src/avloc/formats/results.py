"""A results folder, written by `avloc localize`: where its files are, how they are written and read.

segments.<suffix>               detections of all videos, one file per format
found.xlsx, found.csv           what counts as found, for spreadsheets
per-video/<video>.<suffix>      detections of one video, in formats that hold one
scores/<video>.safetensors      activations
videos.csv                      video,duration_s,labels,detections,modalities,path; and video_stream,audio_stream if any
                                video has several streams or one was requested
labels.csv                      video,labels,subset as they were given, from `avloc run`
failures.csv                    video,path,reason
run.yaml                        version, classes, backbones, training step, configuration
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from avloc.config import likely_from, read_yaml
from avloc.errors import FormatError, InputError, first_few
from avloc.formats.activations import load_activations, save_activations
from avloc.formats.annotations import SegmentColumns
from avloc.formats.detections import read_detections, read_submission, rename_videos
from avloc.formats.failures import FAILURES, Failure, write_failures
from avloc.formats.records import read_records
from avloc.formats.streams import parse_streams
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.system.atomic import atomic_write, claim, inside
from avloc.system.outputs import check_inside, discard, has_header
from avloc.system.text import csv_text, nfc, pluralize, readable
from avloc.types import ActivationSequence, Detection, Short

_log = logging.getLogger("avloc")


@dataclass(frozen=True, repr=False)
class Localized(Short):
    """One of many localized videos. Its activations stay in scores/: those of all videos would fill the memory."""

    detections: tuple[Detection, ...]
    duration_s: float
    modalities: tuple[str, ...]
    path: Path | None
    streams: StreamChoice = BY_FLAGS
    note: str = ""

    def likely(self, least: float) -> tuple[Detection, ...]:
        """Detections with at least this score."""
        return tuple(d for d in self.detections if d.score >= least)


class ResultsFolder:
    """Paths in a results folder; writes and reads what is not a format of detections."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.per_video = path / "per-video"
        self.scores = path / "scores"
        self.videos = path / "videos.csv"
        self.labels = path / "labels.csv"
        self.failures = path / FAILURES
        self.run_card = path / "run.yaml"

    def segments(self, suffix: str) -> Path:
        """Detections of all videos in the format with this suffix."""
        return self.path / f"segments{suffix}"

    def found(self, suffix: str) -> Path:
        """Detections that count as found, as a spreadsheet."""
        return self.path / f"found{suffix}"

    @property
    def table(self) -> Path | None:
        """segments.json, else segments.csv; None if neither exists."""
        return next((file for file in map(self.segments, (".json", ".csv")) if file.is_file()), None)

    def activation_file(self, video_id: str) -> Path:
        """File of one video's activations. Raises InputError if its name cannot be a file name."""
        return inside(self.scores, f"{video_id}.safetensors")

    def activation_files(self) -> dict[str, Path]:
        """{video_id: file} in scores/, sorted by name."""
        files = self.scores.rglob("*.safetensors")
        return dict(sorted((nfc(p.relative_to(self.scores).with_suffix("").as_posix()), p) for p in files))

    def activations(self, video_id: str) -> ActivationSequence | None:
        """Activations of one video; None if there are none."""
        try:
            file = self.activation_file(video_id)
        except InputError:  # not a name under which scores are written
            return None
        return load_activations(file) if file.is_file() else None

    def clear(self) -> None:
        """Delete the tables of an earlier localization, so that an interrupted one does not mix old and new files.

        Raises:
            InputError: one of them was not written by avloc, or a subfolder is a link out of the folder.
        """
        for folder in (self.scores, self.per_video):
            check_inside(folder / "_")
        claim([self.videos, self.run_card, self.failures])
        for file in (self.videos, self.run_card):
            discard(file)

    def save_activations(self, activations: ActivationSequence) -> None:
        """Write one video's activations. Raises InputError if its name cannot be a file name."""
        save_activations(self.activation_file(activations.video_id), activations)

    def finish(
        self,
        found: Mapping[str, Localized],
        files: Mapping[str, Path | None],
        failures: Iterable[Failure],
        run_card: Mapping[str, Any],
        least: float,
    ) -> None:
        """Write the tables and delete scores of videos that are not in `found`. Files of others in scores/ stay.

        Args:
            files: {video_id: video file, if known}.
            least: score from which a detection's label is listed in videos.csv.
        """
        atomic_write(self.videos, _videos_table(found, files, least))
        atomic_write(self.run_card, yaml.safe_dump(dict(run_card), sort_keys=False, allow_unicode=True))
        write_failures(self.failures, failures)
        gone = [path for video, path in self.activation_files().items() if video not in found]
        if others := [path.name for path in gone if not discard(path)]:
            what = pluralize(len(others), "file")
            _log.warning("%s: left there %s not written by avloc: %s", self.scores, what, first_few(others, 3))


@dataclass(frozen=True, repr=False)
class RunSource(Short):
    """Detections of one run, read, and the files next to them.

    Args:
        folder: the results folder; None for a single file of detections.
        paths: {video_id: video file}, as far as the run recorded them and they are still there.
        gone: {video_id: video file} of those that are not.
        streams: {video_id: streams used of its file}, where the run recorded any.
        options: its `localize` settings.
    """

    name: str
    table: Path
    folder: Path | None
    detections: Mapping[str, tuple[Detection, ...]]
    paths: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    streams: Mapping[str, StreamChoice] = field(default_factory=dict)
    gone: Mapping[str, Path] = field(default_factory=dict)

    @property
    def likely_from(self) -> float:
        """Score threshold for reporting a detection; 0 if the decoder is unknown."""
        return likely_from(str(self.options.get("decode", "")))

    def likely(self) -> RunSource:
        """The run with only the detections that count as found."""
        every = {video: tuple(d for d in of if d.score >= self.likely_from) for video, of in self.detections.items()}
        return replace(self, detections=every)

    def activations(self, video_id: str) -> ActivationSequence | None:
        """Activations of one video; None if there are none."""
        return None if self.folder is None else ResultsFolder(self.folder).activations(video_id)

    def videos(self) -> tuple[str, ...]:
        """All videos, including those without detections."""
        files = ResultsFolder(self.folder).activation_files() if self.folder else {}
        scored = (video for video, path in files.items() if has_header(path))
        return tuple(dict.fromkeys([*scored, *self.paths, *self.detections]))


@dataclass(frozen=True)
class Results:
    """Detections on disk, not read yet.

    Args:
        name: of the run.
        table: segments.json, segments.csv, or the file of detections that was given.
        folder: the results folder; None if a file was given.
    """

    name: str
    table: Path
    folder: ResultsFolder | None

    def read(self) -> RunSource:
        """Read detections, paths and settings.

        Raises:
            FormatError: one of the files is damaged or invalid.
        """
        if self.folder is None:
            options = _options(self.table.parent) if self.table.stem == "segments" else {}
            return RunSource(self.name, self.table, None, read_detections(self.table), options=options)
        home = self.folder.path
        noted, streams = _noted_files(home)
        # Path.is_file raises for names that are too long
        paths = {video: path for video, path in noted.items() if os.path.isfile(path)}
        gone = {video: path for video, path in noted.items() if video not in paths}
        return RunSource(self.name, self.table, home, read_detections(self.table), paths, _options(home), streams, gone)

    @property
    def likely_from(self) -> float:
        """As `RunSource.likely_from`."""
        known = self.folder is not None or self.table.stem == "segments"
        return likely_from(str(_options(self.table.parent).get("decode", ""))) if known else 0.0

    def columns(self, video_ids: Collection[str]) -> tuple[SegmentColumns, tuple[str, ...]]:
        """Detections as columns, and the videos that the file names; arguments and errors as in `read_submission`."""
        return read_submission(self.table, video_ids)

    def localized(self, video_ids: Collection[str]) -> tuple[str, ...]:
        """The videos that were localized, including failures and those without detections; () if unknown.

        Read from videos.csv and failures.csv next to the table, else from scores/. `video_ids` as in `read_detections`.

        Raises:
            FormatError: a table without the column `video`.
        """
        home = ResultsFolder(self.table.parent)
        tables = (home.videos, home.failures) if home.videos.is_file() else ()
        names = [name for table in tables if table.is_file() for name in _video_column(table)]
        if names or self.folder is None:
            return tuple(dict.fromkeys(rename_videos(self.table, names, video_ids).values()))
        return tuple(self.folder.activation_files())

    def activations(self, video_ids: Collection[str]) -> list[ActivationSequence] | None:
        """Activations of these videos; None if there is no scores/."""
        if self.folder is None or not self.folder.scores.is_dir():
            return None
        files = self.folder.activation_files().items()
        return [load_activations(path) for video, path in files if video in video_ids]


def find_results(path: Path) -> Results:
    """Detections at a path: a file, a results folder, or a run or `avloc run` folder with one inside or next to it.

    Raises:
        InputError: there are none.
    """
    if path.is_file():
        return Results(path.stem, path, None)
    if not path.is_dir():
        raise InputError(f"{path}: expected detections (a file or a folder); it does not exist")
    for folder in map(ResultsFolder, (path, path / "detections", path.parent / "detections")):
        if folder.table is not None:
            home = folder.path
            # "2-stages/detections" is called 2-stages, "detections" in the working folder detections
            name = home.resolve().parent.name if home.name == "detections" else home.name
            return Results(name or path.name, folder.table, folder)
    raise InputError(
        f"{path}: expected detections (segments.json or segments.csv) in it or next to it, found none; "
        "create them with `avloc localize RUN VIDEOS -o DETECTIONS`"
    )


def _noted_files(folder: Path) -> tuple[dict[str, Path], dict[str, StreamChoice]]:
    """{video_id: file} of the files named in videos.csv, and {video_id: streams} where recorded."""
    table = ResultsFolder(folder).videos
    if not table.is_file():
        return {}, {}
    try:
        rows = {nfc(row.get("video") or ""): row for row in read_records(table)}
        paths = {video: Path(path) for video, row in rows.items() if (path := row.get("path"))}
        streams = {
            video: parse_streams(row.get("video_stream"), row.get("audio_stream")) for video, row in rows.items()
        }
        return paths, {v: s for v, s in streams.items() if s != BY_FLAGS}
    except (csv.Error, ValueError, OSError) as error:
        raise FormatError(f"{table}: expected the table that `avloc localize` writes ({error})") from error


def _options(folder: Path) -> dict[str, object]:
    card = ResultsFolder(folder).run_card
    if not card.is_file():
        return {}
    try:
        content = read_yaml(card)
        options = dict(content["config"]["localize"])
        values = [
            part for value in options.values() for part in (value.values() if isinstance(value, dict) else [value])
        ]
        if not all(value is None or isinstance(value, str | int | float) for value in values):
            raise ValueError("localize holds more than single values")
        return options
    except (yaml.YAMLError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{card}: expected the configuration that `avloc localize` writes ({error})") from error


def _video_column(table: Path) -> list[str]:
    try:
        return [nfc(row["video"]) for row in read_records(table)]
    except (csv.Error, ValueError, KeyError, OSError) as error:
        raise FormatError(f"{table}: expected the table that `avloc localize` writes ({error})") from error


def _videos_table(found: Mapping[str, Localized], files: Mapping[str, Path | None], least: float) -> str:
    rows: list[list[object]] = [["video", "duration_s", "labels", "detections", "modalities", "path"]]
    chosen = any(result.streams != BY_FLAGS for result in found.values())
    rows[0] += ["video_stream", "audio_stream"] if chosen else []
    for name, result in found.items():
        labels = ";".join(dict.fromkeys(d.label for d in result.likely(least)))
        path = files[name]
        row: list[object] = [
            name,
            f"{result.duration_s:.3f}",
            labels,
            len(result.detections),
            "+".join(result.modalities),
        ]
        row.append(readable(path.resolve()) if path is not None else "")
        rows.append(row + [result.streams.video or "", result.streams.audio or ""] * chosen)
    return csv_text(rows)
