"""Where the parts of a result are: detections, the trained run, features, videos, ground truth."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

from avloc.errors import InputError, MediaError
from avloc.evaluate.reference import read_reference
from avloc.formats.labels import LabelRow, match_videos, read_labels
from avloc.formats.results import ResultsFolder, RunSource, find_results
from avloc.media.previews import Preview, make_preview
from avloc.mediafile import BY_FLAGS, Media, StreamChoice
from avloc.types import VideoAnnotation


@dataclass(frozen=True)
class PlotSources:
    """What figures are made from.

    Args:
        detections: folder written by `avloc localize`, a run beside one, or a segments.json or .csv file.
        truth: ground truth in any supported format.
        videos: folder of the video files, where the run did not record their paths.
        compare: further detections to compare with.
        run: trained run; None: the one in or beside the detections.
        features: features for `run`; None: the folder `features` beside it.
    """

    detections: Path
    truth: Path | None = None
    _: KW_ONLY
    videos: Path | None = None
    compare: tuple[Path, ...] = ()
    run: Path | None = None
    features: Path | None = None

    def results(self) -> list[RunSource]:
        """The detections, then those to compare with. Runs of the same name are numbered.

        Raises:
            InputError: there are no detections. FormatError: they cannot be read.
        """
        runs = [find_results(path).read() for path in (self.detections, *self.compare)]
        names = [run.name for run in runs]
        return [
            run if names.count(run.name) == 1 else replace(run, name=f"{run.name} {number}")
            for number, run in enumerate(runs, start=1)
        ]

    def trained_run(self, file: str) -> Path | None:
        """`run`, else the first of the detections and the folder `run` in or beside them that contains this file.

        Raises:
            InputError: `run` does not contain it.
        """
        if self.run is not None and not (self.run / file).is_file():
            raise InputError(f"{self.run}: expected the run that made the detections, with {file}; give --run RUN")
        beside = (self.detections, self.detections / "run", Path(os.path.realpath(self.detections)).parent / "run")
        return self.run or next((place for place in beside if (place / file).is_file()), None)

    def features_of(self, run: Path) -> Path | None:
        """`features`, or the folder of that name beside the run or one level up."""
        return self.features or next(_near(run, "features"), None)


@dataclass(frozen=True)
class PageSources(PlotSources):
    """What a page is made from: as for figures, and more.

    Args:
        audio, visual: detections of audio-only and visual-only runs, for the rows of single modalities; None: `run`
            is evaluated on one modality at a time.
        corrections: ground truth saved from the page earlier, to continue from.
        title: headline of the page.
        labels: labels.csv that was given, shown beside what was found; None: the one in the detections' folder.
        suggest: number of training videos to suggest for correction.
    """

    audio: Path | None = None
    visual: Path | None = None
    corrections: Path | None = None
    title: str = ""
    labels: Path | None = None
    suggest: int = 0

    def given_rows(self, run: RunSource) -> dict[str, LabelRow]:
        """{video_id: labels and subset} of the videos that labels.csv names; {} without one.

        Raises:
            InputError, FormatError: as `read_labels`.
        """
        beside = ResultsFolder(run.folder).labels if run.folder is not None else None
        table = self.labels or (beside if beside is not None and beside.is_file() else None)
        if table is None:
            return {}
        return match_videos(read_labels(table), run.videos()).found

    def annotations(self, run: RunSource) -> tuple[dict[str, VideoAnnotation], tuple[str, ...]]:
        """{video_id: ground truth} and notes on how it was read.

        Raises:
            InputError: it has no video in common with the run.
        """
        if self.truth is None:
            return {}, ()
        reference = read_reference(self.truth, table=False)
        known = reference.by_video
        if not set(run.videos()) & set(known):
            raise InputError(
                f"{self.truth}: none of its {len(known)} videos is in {run.table}; do the names agree "
                f"({next(iter(known), 'none')}, {next(iter(run.videos()), 'none')})?"
            )
        return known, reference.notes


def video_files(folder: Path | None, run: RunSource) -> dict[str, Path]:
    """{video_id: file}: the paths that the run recorded, updated with the files of a folder.

    Args:
        folder: None: a folder `videos` near the detections, if there is one.

    Raises:
        InputError: the given folder does not exist or contains no video.
    """
    from avloc.media.find import named_media

    if folder is not None:
        return {**run.paths, **named_media(folder)}
    for near in _near(run.folder or run.table, "videos"):
        with contextlib.suppress(InputError):  # a default location may be unusable
            return {**run.paths, **named_media(near)}
    return dict(run.paths)


def probe_and_preview(
    path: Path | None, streams: StreamChoice = BY_FLAGS, gone: Path | None = None
) -> tuple[Media | None, Preview]:
    """A video file's properties, thumbnails and waveform; where it cannot be read, None and the problem.

    Args:
        gone: where the file was, if it is there no more.
    """
    from avloc.media.probe import probe

    if path is None and gone is not None:
        what_to_do = "if it has moved, make the page again with --videos FOLDER"
        return None, Preview(problem=f"video not found: {gone.parent}; {what_to_do}")
    if path is None:
        return None, Preview(problem="no video file is known; give --videos FOLDER")
    try:
        media = probe(path, streams=streams)
    except MediaError as error:
        return None, Preview(problem=str(error))
    return media, make_preview(media)


def _near(place: Path, name: str) -> Iterator[Path]:
    """Folders of this name beside `place` and one level up."""
    home = Path(os.path.realpath(place))  # links may lead in a circle
    return (near for near in (home.parent / name, home.parent.parent / name) if near.is_dir())
