"""avloc demo, run, train, localize: the main commands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.look import CopyMedia, cut_clips, say_page
from avloc.cli.media import say_extracted
from avloc.cli.shared import (
    AudioStream,
    Config,
    Device,
    DryRun,
    Formats,
    Json,
    MinScore,
    Out,
    Overwrite,
    Preset,
    Seed,
    Sets,
    VideoStream,
    Workers,
    exit_partial,
    make_config,
    make_streams,
    make_talk,
    require_some,
    say_failures,
)
from avloc.errors import InputError, first_few, with_neighbours
from avloc.formats.failures import FAILURES
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.formats.labels import LabelTable, VideoMatch
    from avloc.pipeline.folder import LocalizedFolder
    from avloc.train.resume import TrainedRun

LocalizeSets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as localize.min_score=0.3; repeatable."),
]
_LISTED = 12
"""Up to so many classes are listed by name."""


def demo(
    folder: Annotated[Path, typer.Argument(help="Output folder.")] = Path("demo-out"),
    seed: Seed = 0,
    workers: Workers = 2,
) -> None:
    """Render a synthetic data set and run every step on it.

    Renders videos with audio, extracts features, trains four models, localizes and scores the test videos, and draws
    timelines. Finished steps are skipped.

    avloc demo demo-out
    avloc demo demo-out --workers 4
    """
    from avloc.cli.demo import walk

    walk(folder, seed, workers, make_talk())


def run(
    videos: Annotated[list[str], typer.Argument(help="Videos: files, folders or globs.")],
    labels: Annotated[Path, typer.Option(help="CSV with columns video,labels[,subset].")],
    out: Out,
    preset: Preset = None,
    config: Config = None,
    sets: Sets = [],  # noqa: B006
    formats: Formats = "json,csv",
    min_score: MinScore = None,
    copy_media: CopyMedia = False,
    video_stream: VideoStream = None,
    audio_stream: AudioStream = None,
    workers: Workers = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Extract features, train, localize and make the page.

    Run the same command again to continue after an interruption, or with other videos, labels or settings: what has
    changed is said, and what depends on it is done again.

    avloc run videos/ --labels labels.csv -o out
    avloc run videos/ --labels labels.csv -o out --set train.steps=2000
    avloc run videos/ --labels labels.csv -o out --min-score 0.5 -f csv,vtt
    """
    from avloc.config import parse_overrides, with_overrides
    from avloc.workflow import Workflow

    talk = make_talk(as_json)
    streams = make_streams(video_stream, audio_stream)
    given = {"extract.video_stream": streams.video, "extract.audio_stream": streams.audio}
    settings = with_overrides(
        make_config(preset, config, sets), {key: value for key, value in given.items() if value is not None}
    )
    if min_score is None and "localize.min_score" in parse_overrides(sets):
        min_score = settings.localize.min_score
    job = Workflow(videos, labels, out, settings, workers, overwrite, formats, min_score, copy_media)
    _say_labels(talk, labels, *job.check())
    with job.lock(), talk.part():
        for change in job.changes():
            talk.say(f"since the last run: {change}")
        with talk.part("extract"):
            began = time.monotonic()
            features = talk.watch("extract", job.extract)
            say_extracted(talk, features, out / "features", time.monotonic() - began)
        with talk.part("train"):
            _say_trained(talk, talk.watch("train", lambda progress: job.train(progress, talk.say)))
        unchanged = job.is_finished()
        if unchanged:
            failures = job.failures()
            talk.say(f"nothing has changed since the last run; detections and page are left as they are in {out}")
        else:
            with talk.part("localize"):
                _say_localized(talk, talk.watch("localize", job.localize), out / "detections")
            with talk.part("page"):
                say_page(talk, talk.watch("page", job.report))
            failures = job.finish()
        talk.say(f"page: {out / 'page' / 'index.html'}; correct detections with: avloc view {out / 'detections'}")
        talk.summary({"unchanged": unchanged, "failures": [vars(f) for f in failures]})
        if failures:
            talk.say(f"{pluralize(len(failures), 'video')} could not be used, listed in {out / FAILURES}; exit code 3")
    exit_partial(failures)


def _say_labels(talk: Talk, labels: Path, table: LabelTable, match: VideoMatch) -> None:
    if match.missing:
        missing = with_neighbours(match.missing, match.unlabelled)
        talk.say(f"failed: {pluralize(len(match.missing), 'video')} named in {labels} not found: {missing}")
    talk.notes(table.notes)
    counts = Counter(label for row in match.found.values() for label in row.labels)
    rare = sorted(label for label, count in counts.items() if count == 1)
    if rare and len(match.found) > 1:
        talk.say(f"note: only one video for {first_few(rare, _LISTED)}: more videos of a class make it easier to find")
    talk.say(f"labels of {pluralize(len(match.found), 'video')}: {_classes(sorted(counts))}")


def _classes(names: Sequence[str]) -> str:
    """Number of classes, and their names if they are few."""
    listed = f" ({', '.join(names)})" if 0 < len(names) <= _LISTED else ""
    return pluralize(len(names), "class") + listed


def train(
    features: Annotated[Path, typer.Option(help="Folder of features, from `avloc extract` or `avloc convert`.")],
    labels: Annotated[Path, typer.Option(help="CSV with columns video,labels[,subset].")],
    out: Out,
    preset: Preset = None,
    config: Config = None,
    sets: Sets = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train on video-level labels.

    Several processes: `torchrun --nproc-per-node 2 -m avloc train ...`.

    avloc train --features features --labels labels.csv -o run
    avloc train --features features --labels labels.csv -o run --resume
    avloc train --features features --labels labels.csv -o run --preset ave
    """
    from avloc.config import parse_overrides
    from avloc.train.resume import train as train_run

    talk = make_talk(as_json)
    made = [key for key in parse_overrides(sets) if key.startswith("extract.")]
    if made:
        raise InputError(f"--set {made[0]}: the features exist already; set it in `avloc extract` or `avloc run`")
    settings = make_config(preset, config, sets)
    with talk.progress("train") as progress:
        trained = train_run(features, labels, out, settings, resume, overwrite, progress, talk.say)
    _say_trained(talk, trained)
    talk.say(f"run: {out}; next: avloc localize {out} videos/ -o detections")


def localize(
    run: Annotated[Path, typer.Argument(help="Run folder, from `avloc train`.")],
    inputs: Annotated[list[str], typer.Argument(help="Videos or feature files: files, folders, globs.")],
    out: Out,
    formats: Formats = "json,csv",
    min_score: MinScore = None,
    min_duration_s: Annotated[float | None, typer.Option(help="Drop shorter detections.")] = None,
    merge_gap_s: Annotated[
        float | None, typer.Option(help="Merge detections of a class across smaller gaps; not with decode=contrast.")
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="Folder of the videos, if the inputs are features.")] = None,
    subset: Annotated[
        str | None, typer.Option(help="Localize only train, validation or test, comma-separated; all if absent.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="For --subset: labels.csv or ActivityNet JSON; labels.csv beside the inputs if absent."),
    ] = None,
    clips: Annotated[Path | None, typer.Option(help="Also cut a clip of every detection into this folder.")] = None,
    video_stream: VideoStream = None,
    audio_stream: AudioStream = None,
    device: Device = "auto",
    sets: LocalizeSets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Localize actions and events in videos or features.

    The streams used of a video are chosen anew, not as for the videos that the run was trained on.

    avloc localize run videos/ -o detections --min-score 0.3
    avloc localize run features/ -o detections -f csv,elan,vtt
    avloc localize run features/ -o detections --subset test --labels labels.csv
    """
    from avloc.config import parse_overrides
    from avloc.formats.results import ResultsFolder
    from avloc.pipeline.folder import localize_folder, plan_folder

    talk, streams = make_talk(as_json), make_streams(video_stream, audio_stream)
    if dry_run:
        plan = plan_folder(inputs, formats, videos, subset, labels)
        count = len(plan.paths)
        talk.notes(plan.notes)
        talk.say(f"would localize {pluralize(count, 'video')} with {run}, to {out}")
        talk.summary({"dry_run": True, "videos": count, "run": str(run), "out": str(out)})
        return
    filters = {"min_score": min_score, "min_duration_s": min_duration_s, "merge_gap_s": merge_gap_s}
    given = {f"localize.{key}": value for key, value in filters.items() if value is not None}
    with talk.part():
        with talk.progress("localize") as progress:
            overrides = {**parse_overrides(sets), **given}
            result = localize_folder(
                run, inputs, out, formats, overrides, videos, progress, device, subset, labels, streams
            )
        _say_localized(talk, result, out)
        if clips is not None:
            with talk.part("clips"):
                cut_clips(talk, out, clips, videos, found=min_score is None)
    if ResultsFolder(out).table is not None:
        talk.say(f"next: avloc report {out} -o page")
    exit_partial(result.failures)


def _say_trained(talk: Talk, run: TrainedRun) -> None:
    record = run.record
    if run.trained:
        videos = pluralize(record.train_videos, "video")
        planned, done = record.config["train"]["steps"], record.last_step
        steps = pluralize(done, "step") + (f" of {planned} (validation no longer improved)" if done < planned else "")
        talk.say(f"trained {steps} on {videos}, {_classes(record.classes)}; kept step {record.selected_step}")
    else:
        talk.say(f"{run.folder} is a finished run, left unchanged; use --overwrite to train again")
    talk.summary({"run": str(run.folder), "scores": record.scores, "classes": record.classes})


def _say_localized(talk: Talk, result: LocalizedFolder, out: Path) -> None:
    from avloc.pipeline.folder import counted

    failures = result.failures
    talk.notes(result.notes)
    talk.notes(f"{name}: {video.note}" for name, video in result.videos.items() if video.note)
    total = sum(len(video.detections) for video in result.videos.values())
    talk.say(f"{counted(result.videos, result.decode)}, {len(failures)} failed; written to {out}")
    say_failures(talk, failures, out)
    talk.summary({"videos": len(result.videos), "detections": total, "failures": [vars(f) for f in failures]})
    require_some(len(result.videos), failures, "localized", out)
