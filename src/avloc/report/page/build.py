"""Build the page from detections, activations, ground truth and video files.

build_page(PageSources(Path("detections"), truth=Path("ground_truth.json")), Path("page"))
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

import numpy as np

from avloc.errors import AvlocError, InputError, first_few
from avloc.formats.annotations import subset_name
from avloc.formats.corrections import read_corrections
from avloc.formats.results import RunSource
from avloc.media.find import known_suffix
from avloc.media.previews import COLUMNS, Preview, make_proxy, plays_in_browsers
from avloc.mediafile import BY_FLAGS, Media, StreamChoice
from avloc.metrics import detection_scores, t_iou
from avloc.report.page.modalities import Modalities
from avloc.report.page.suggested import suggested
from avloc.report.page.views import ListEntry, PageInfo, RunView, Sprite, VideoView
from avloc.report.page.write import data_name, known_options, write_assets, write_index, write_video
from avloc.report.sources import PageSources, probe_and_preview, video_files
from avloc.system.atomic import atomic_path, claim
from avloc.system.isolate import isolated, map_isolated
from avloc.system.locks import folder_lock
from avloc.types import Detection, Instance, Progress, VideoAnnotation

ERROR_T_IOU = 0.5
"""t-IoU from which a detection counts as correct."""

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class BuiltPage:
    """A finished page.

    Args:
        count: number of videos.
        proxies: number of videos re-encoded for browsers.
        served: {URL path: file} of videos that a server must provide; empty for pages that open from disk.
        problems: {video_id: what is missing and why}.
    """

    folder: Path
    count: int
    proxies: int
    served: Mapping[str, Path]
    problems: Mapping[str, str]

    def notes(self) -> list[str]:
        """One line per problem, with the videos that have it."""
        lines = []
        having: dict[str, list[str]] = {}
        for video, problem in self.problems.items():
            having.setdefault(problem, []).append(video)
        for problem, videos in having.items():
            names = first_few(videos, 3)
            lines.append(f"{names}: {problem}" if len(videos) == 1 else f"{len(videos)} videos ({names}): {problem}")
        return lines


def build_page(
    sources: PageSources,
    out: Path,
    proxy: Literal["auto", "always", "never"] = "auto",
    media: Literal["link", "copy", "serve"] = "link",
    workers: int = 1,
    progress: Progress | None = None,
) -> BuiltPage:
    """Write the page. An unreadable video is listed without player and thumbnails.

    Args:
        proxy: re-encode as H.264 the videos that browsers do not play ("auto"), all videos, or none.
        media: link to the video files, copy them into the page, or leave them to `avloc view`.
        workers: number of processes that decode previews.

    Raises:
        InputError, FormatError: detections or ground truth are missing or invalid, or another process is writing to
            the folder. StorageError: the disk is full, read-only or unavailable.
    """
    inputs = _Inputs(sources)
    with folder_lock(out, "the page"):
        write_assets(out, len(inputs.ids))
        media_folder = MediaFolder(out, proxy, media)
        files = video_files(sources.videos, inputs.runs[0])
        entries: list[ListEntry] = []
        classes: set[str] = set()
        streams = inputs.runs[0].streams
        gone = inputs.runs[0].gone
        sought = [_Sought(v, files.get(v), streams.get(v, BY_FLAGS), gone.get(v)) for v in inputs.ids]
        previews = _previews(sought, workers)
        for number, (video_id, item, preview) in enumerate(previews):
            name = data_name(number)
            video = _video(inputs, video_id, item, preview, media_folder, name)
            write_video(out, name, video)
            entries.append(_entry(name, video, inputs.runs[0].likely_from, inputs.given.get(video_id)))
            classes.update(_labels(video))
            if progress is not None:
                progress(number + 1, len(inputs.ids), video_id)
        write_index(out, inputs.info(sources.title, classes), entries)
        return BuiltPage(out, len(entries), media_folder.proxies, media_folder.served, media_folder.problems)


class _Inputs:
    """Runs, ground truth and corrections, read before any video."""

    def __init__(self, sources: PageSources) -> None:
        self.runs = sources.results()
        self.truth, self.notes = sources.annotations(self.runs[0])
        saved = sources.corrections
        self.corrections = {c.video_id: c for c in read_corrections(saved)[0]} if saved is not None else {}
        rows = sources.given_rows(self.runs[0])
        self.given = {video: row.labels for video, row in rows.items()}
        self.subsets = {video: subset_name(row.subset) for video, row in rows.items()}
        self.modalities = Modalities(sources)
        self.ids = self.runs[0].videos()
        trained = [video for video in self.ids if self.subsets.get(video, "training") == "training"]
        checked = {video for video, one in self.corrections.items() if one.checked}
        self.suggested = suggested(self.runs[0], trained, checked, sources.suggest)
        if not self.ids:
            raise InputError(f"{self.runs[0].table}: no videos to show")

    def run_views(self, video_id: str) -> tuple[RunView, ...]:
        """The predictions of each run for a video; of the first run also from single modalities."""
        first, *others = (
            RunView(run.name, tuple(run.detections.get(video_id, ())), run.activations(video_id)) for run in self.runs
        )
        return (self.modalities.add(first), *others)

    def info(self, title: str, classes: Iterable[str]) -> PageInfo:
        """The data shared by all videos of the page."""
        return PageInfo(
            title=title or f"avloc: {self.runs[0].name}",
            runs=tuple(run.name for run in self.runs),
            classes=tuple(sorted(classes)),
            suggested=tuple(self.suggested),
            likely_from=self.runs[0].likely_from,
            mean_ap=_mean_ap(self.runs, self.truth, self.ids),
            options=tuple(known_options(run.options) for run in self.runs),
            notes=self.notes,
        )


class _Sought(NamedTuple):
    """A video whose file is wanted; `gone` is where it was, if it is there no more."""

    video_id: str
    path: Path | None
    streams: StreamChoice
    gone: Path | None


def _look(video: _Sought) -> tuple[Media | None, Preview]:
    return probe_and_preview(*video[1:])


def _previews(videos: Sequence[_Sought], workers: int) -> Iterator[tuple[str, Media | None, Preview]]:
    """Previews in order; several files are decoded in worker processes, which isolate crashes."""
    if sum(video.path is not None for video in videos) < 2:
        yield from ((video.video_id, *_look(video)) for video in videos)
        return
    for (video, *_), answer in map_isolated(_look, videos, workers, in_order=True):
        yield (video, None, Preview(problem=str(answer))) if isinstance(answer, AvlocError) else (video, *answer)


class MediaFolder:
    """Makes video files accessible to the page: by link, copy, server or proxy."""

    def __init__(self, page: Path, proxy: str, mode: str) -> None:
        self.page, self.proxy, self.mode = page, proxy, mode
        self.proxies = 0
        self.served: dict[str, Path] = {}
        self.problems: dict[str, str] = {}

    def place(self, media: Media, name: str) -> tuple[str, str]:
        """(URL relative to the page, note to display) of a video."""
        needed = self.proxy == "always" or (self.proxy == "auto" and not plays_in_browsers(media))
        if needed:
            try:
                proxy = self.page / "media" / f"{name}.mp4"
                claim([proxy])
                isolated(partial(make_proxy, path=proxy), media)
                self.proxies += 1
                return f"media/{name}.mp4", f"shown as a proxy of {media.path.name} ({media.codec})"
            except AvlocError as error:
                self.problems[media.video_id] = str(error)
                return "", f"{media.path.name} could not be converted for browsers"
        suffix = known_suffix(media.path)
        if self.mode == "serve":
            self.served[f"media/{name}{suffix}"] = media.path.resolve()
            return f"media/{name}{suffix}", ""
        if self.mode == "copy":
            return self._copy(media, f"media/{name}{suffix}")
        try:
            relative = os.path.relpath(media.path.resolve(), self.page.resolve())
        except ValueError:  # another drive
            return media.path.resolve().as_uri(), ""
        return quote(os.fsencode(Path(relative).as_posix())), ""

    def _copy(self, media: Media, url: str) -> tuple[str, str]:
        try:
            source = media.path.open("rb")
        except OSError as error:  # deleted since its preview was made
            self.problems[media.video_id] = f"{media.path}: cannot be copied: {error.strerror}"
            return "", f"{media.path.name} could not be copied"
        with source, atomic_path(self.page / url) as part, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
        return url, ""


def _video(
    inputs: _Inputs, video_id: str, media: Media | None, preview: Preview, media_folder: MediaFolder, name: str
) -> VideoView:
    runs, truth = inputs.run_views(video_id), inputs.truth.get(video_id)
    saved = inputs.corrections.get(video_id)
    if preview.problem:
        media_folder.problems[video_id] = preview.problem
    url, note = media_folder.place(media, name) if media is not None else ("", preview.problem)
    known = [run.activations.duration_s for run in runs if run.activations is not None]
    ends = [d.end_s for run in runs for d in run.detections]
    duration_s = known[0] if known else media.duration_s if media else truth.duration_s if truth else max(ends)
    sprite = None
    if preview.sheet is not None:
        s = preview.sheet
        sprite = Sprite(s.jpeg, s.count, COLUMNS, s.width, s.height, s.step_s)
    return VideoView(
        video_id=video_id,
        duration_s=duration_s,
        media_url=url,
        truth=None if truth is None else truth.instances,
        runs=runs,
        corrections=saved,
        subset=inputs.subsets.get(video_id, "") if truth is None else truth.subset,
        look_at=inputs.suggested.get(video_id, ()),
        frame_s=None if media is None else float(1 / media.frame_rate),
        waveform=preview.waveform,
        sprite=sprite,
        note=note,
    )


def _labels(video: VideoView) -> list[str]:
    found = [d.label for run in video.runs for d in run.detections] + [i.label for i in video.truth or ()]
    return found + [c for run in video.runs if run.activations is not None for c in run.activations.classes]


def _entry(name: str, video: VideoView, likely_from: float, given: tuple[str, ...] | None) -> ListEntry:
    every = video.runs[0].detections
    found = [d for d in every if d.score >= likely_from]
    errors, mean = _agreement(found, video.truth) if video.truth is not None else (None, None)
    return ListEntry(
        file=name,
        video_id=video.video_id,
        duration_s=video.duration_s,
        labels=tuple(dict.fromkeys([*(d.label for d in found), *(i.label for i in video.truth or ())])),
        given=given,
        count=len(found),
        score=max((d.score for d in every), default=None),
        errors=errors,
        mean_t_iou=mean,
        picture=video.sprite is not None,
        checked=video.corrections is not None and video.corrections.checked,
    )


def _agreement(found: Sequence[Detection], truth: Sequence[Instance]) -> tuple[int, float | None]:
    """(misses + false detections at ERROR_T_IOU, mean best t-IoU per instance), matched greedily by score."""
    if not found or not truth:
        return len(found) + len(truth), 0.0 if truth else None
    ordered = sorted(found, key=lambda d: -d.score)
    overlap = t_iou(np.array([(d.start_s, d.end_s) for d in ordered]), np.array([(i.start_s, i.end_s) for i in truth]))
    overlap[np.array([[d.label != i.label for i in truth] for d in ordered])] = 0.0
    free = np.ones(len(truth), dtype=bool)
    hits = 0
    for row in overlap:
        choices = np.where(free, row, 0.0)
        if choices.max() >= ERROR_T_IOU:
            free[choices.argmax()] = False
            hits += 1
    return len(found) + len(truth) - 2 * hits, float(overlap.max(axis=0).mean())


def _mean_ap(
    runs: Sequence[RunSource], truth: Mapping[str, VideoAnnotation], ids: Sequence[str]
) -> tuple[dict[str, float], ...]:
    """{"0.50": mAP, ...} of each run, over the videos with ground truth."""
    known = [truth[video] for video in ids if video in truth]
    if not any(a.instances for a in known):
        return ()
    names = {a.video_id for a in known}
    scores = [detection_scores({v: d for v, d in run.detections.items() if v in names}, known) for run in runs]
    return tuple({f"{t:.2f}": float(m) for t, m in zip(s.t_iou, s.mean_ap, strict=True)} for s in scores)
