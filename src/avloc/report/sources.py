"""What a person means by a run: its detections, activations, settings and videos, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import InputError
from avloc.formats.results import RunSource
from avloc.interchange.convert import read_truth
from avloc.types import VideoAnnotation

if TYPE_CHECKING:
    pass


import contextlib

__all__ = ["PageSources", "PlotSources", "video_files"]


def video_files(folder: Path | None, run: RunSource) -> dict[str, Path]:
    """{video_id: file} in a folder; without one, in a folder `videos` near the detections, if there is any.

    Raises:
        InputError: the folder is not there or holds no video.
    """
    from avloc.media.find import named_media

    if folder is not None:
        return named_media(folder)
    home = (run.folder or run.table).resolve()
    for near in (home.parent / "videos", home.parent.parent / "videos"):
        if near.is_dir():
            with contextlib.suppress(InputError):  # nobody asked for this folder; if it is of no use, there is none
                return named_media(near)
    return {}


@dataclass(frozen=True)
class PageSources:
    """What a page is made of.

    Args:
        detections: a folder that `avloc localize` wrote, a run beside one, or segments.json or .csv.
        truth: ground truth in any format that is read.
        videos: folder with the video files, where the run did not note them.
        compare: further detections, to be seen on the same axis.
        audio, visual: detections of audio-only and visual-only runs, for the rows that say which modality decided.
        corrections: what people saved earlier; they go on from there.
        run, features: a trained audio-visual run and its features; the modalities are then asked one by one.
    """

    detections: Path
    truth: Path | None = None
    videos: Path | None = None
    compare: tuple[Path, ...] = ()
    audio: Path | None = None
    visual: Path | None = None
    run: Path | None = None
    features: Path | None = None
    corrections: Path | None = None
    title: str = ""


def _names(runs: Sequence[RunSource]) -> list[str]:
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} {k + 1}" for k, name in enumerate(names)]


def _truth(sources: PageSources, run: RunSource) -> tuple[dict[str, VideoAnnotation], tuple[str, ...]]:
    if sources.truth is None:
        return {}, ()
    annotations, notes = read_truth(sources.truth)
    known = {a.video_id: a for a in annotations}
    if not set(run.videos()) & set(known):
        raise InputError(
            f"{sources.truth}: none of its {len(known)} videos is in {run.table}; do the names agree "
            f"({next(iter(known), 'none')}, {next(iter(run.videos()), 'none')})?"
        )
    return known, notes


@dataclass(frozen=True)
class PlotSources:
    """What figures are made of.

    Args:
        detections: as `avloc report` takes them.
        truth: ground truth in any format that is read.
        compare: further detections.
        run: the trained run (training curves, Λ); one beside the detections if None.
        features: for Λ; those beside the run if None.
        videos: folder of the videos, for thumbnails.
    """

    detections: Path
    truth: Path | None = None
    compare: tuple[Path, ...] = ()
    run: Path | None = None
    features: Path | None = None
    videos: Path | None = None


def _run_home(sources: PlotSources) -> Path | None:
    places = [sources.run] if sources.run is not None else []
    places += [sources.detections, sources.detections / "run", sources.detections.resolve().parent / "run"]
    return next((p for p in places if (p / "record.json").is_file()), None)
