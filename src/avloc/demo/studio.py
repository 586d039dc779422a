"""Render a plan to a folder of mp4 files with labels and ground truth."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avloc.demo.frames import FrameRenderer
from avloc.demo.plans import AUDIO_RATE_HZ, FRAME_RATE, DemoPlan, VideoPlan, plan
from avloc.demo.soundtrack import sound_track
from avloc.errors import AvlocError, InputError
from avloc.media.encode import write_video
from avloc.system.atomic import atomic_write, claim, make_folder
from avloc.system.isolate import map_isolated
from avloc.system.outputs import output_folder
from avloc.system.text import csv_text, json_text, pluralize

RENDERER_VERSION = "1"  # increase if the same plan renders differently, so that old files are replaced


@dataclass(frozen=True)
class DemoSet:
    """Paths of a rendered demo set.

    Args:
        videos: folder of the mp4 files.
        labels: csv with header video,labels,subset: the only supervision for training.
        ground_truth: in ActivityNet's schema; the test videos are its "validation" subset.
        details: the full plan (conditions, kinds of background), for analysing results; not for training.
    """

    videos: Path
    labels: Path
    ground_truth: Path
    details: Path


def render(
    folder: str | Path,
    seed: int = 0,
    workers: int | None = None,
    *,
    train: int = 52,
    background: int = 5,
    test: int = 24,
    progress: Callable[[int, int], None] | None = None,
) -> DemoSet:
    """Render the demo set; complete videos of the same plan are kept.

    Takes about 50 s of CPU time, shared by the workers, and 37 MB on disk.

    Args:
        folder: output folder; created if missing.
        seed: the same seed and counts give the same pixels and samples, for any number of workers.
        workers: processes; None means one per available core, 1 renders in this process.
        train, background, test: number of labelled, background and test videos.
        progress: called with (videos done, total).

    Raises:
        InputError: a negative count, no workers, or a folder that is not writable or holds other videos.
    """
    folder, workers = Path(folder), _cores() if workers is None else workers
    if workers < 1 or min(train, background, test) < 0:
        raise InputError(f"expected counts >= 0 and workers >= 1, got {workers=}, {train=}, {background=}, {test=}")
    demo_plan = plan(seed, train, background, test)
    found = DemoSet(folder / "videos", folder / "labels.csv", folder / "ground_truth.json", folder / "details.json")
    make_folder(folder, "the demo")
    with output_folder(folder):
        _prepare(found.videos, demo_plan)
        jobs = [(video, found.videos / f"{video.video_id}.mp4") for video in demo_plan.videos]
        todo = [(video, path) for video, path in jobs if not _is_done(video, path)]
        claim([found.labels, found.ground_truth, found.details, *(path for _, path in todo)])
        for done, _ in enumerate(_render_all(todo, workers), start=len(jobs) - len(todo) + 1):
            if progress is not None:
                progress(done, len(jobs))
        atomic_write(found.labels, _labels_csv(demo_plan))
        atomic_write(found.ground_truth, json_text(_ground_truth(demo_plan), indent=1) + "\n")
        atomic_write(found.details, json_text(_details(demo_plan), indent=1) + "\n")
    return found


def render_video(video: VideoPlan, path: Path) -> None:
    """Render and encode one video; takes less than a second.

    Raises:
        InputError, MediaError: as `write_video`.
    """
    renderer = FrameRenderer(video)
    frames = (renderer.frame(index) for index in range(video.frame_count))
    audio = sound_track(video) if video.has_audio else None
    write_video(path, frames, FRAME_RATE, audio, AUDIO_RATE_HZ, crf=25, metadata={"comment": _fingerprint(video)})


def _render_all(jobs: list[tuple[VideoPlan, Path]], workers: int) -> Iterator[None]:
    """Render all videos, yielding once per video."""
    if workers == 1 or len(jobs) <= 1:
        for video, path in jobs:
            render_video(video, path)
            yield
        return
    for _, failed in map_isolated(_render_job, jobs, workers):
        if isinstance(failed, AvlocError):
            raise failed
        yield


def _render_job(job: tuple[VideoPlan, Path]) -> None:
    render_video(*job)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prepare(videos: Path, demo_plan: DemoPlan) -> None:
    """Create the folder. Other videos in it would be mistaken for demo videos, so they are an error."""
    make_folder(videos, "the videos")
    expected = {f"{video.video_id}.mp4" for video in demo_plan.videos}
    others = sorted(p.name for p in videos.glob("[!.]*") if p.name not in expected)
    if others:
        raise InputError(
            f"{videos}: expected only videos of this demo, found {pluralize(len(others), 'other file')} "
            f"(such as {others[0]}); choose an empty folder"
        )


def _fingerprint(video: VideoPlan) -> str:
    """Hash of the plan, stored in the file to recognise it; the plan's repr contains all its values."""
    return "avloc demo " + hashlib.sha256(f"{RENDERER_VERSION} {video!r}".encode()).hexdigest()[:32]


def _is_done(video: VideoPlan, path: Path) -> bool:
    """Whether the file exists and has this plan's fingerprint. Files are written atomically, so they are complete."""
    import av

    if not path.is_file():
        return False
    try:
        with av.open(f"file:{path}") as container:
            return container.metadata.get("comment") == _fingerprint(video)
    except (av.FFmpegError, OSError):
        return False


def _labels_csv(demo_plan: DemoPlan) -> str:
    rows = [[video.video_id, ";".join(video.labels), video.subset] for video in demo_plan.videos]
    return csv_text([["video", "labels", "subset"], *rows])


def _ground_truth(demo_plan: DemoPlan) -> dict[str, Any]:
    subsets = {"train": "training", "test": "validation"}  # ActivityNet's name of the evaluated subset
    database = {
        video.video_id: {
            "subset": subsets[video.subset],
            "duration": float(video.duration_s),
            "annotations": [{"segment": [h.start_s, h.end_s], "label": h.label} for h in video.happenings],
        }
        for video in demo_plan.videos
    }
    return {"version": f"avloc demo, seed {demo_plan.seed}", "taxonomy": [], "database": database}


def _details(demo_plan: DemoPlan) -> dict[str, Any]:
    videos = {
        video.video_id: {**asdict(video), "duration_s": float(video.duration_s), "labels": video.labels}
        for video in demo_plan.videos
    }
    return {"seed": demo_plan.seed, "classes": demo_plan.classes, "videos": videos}
