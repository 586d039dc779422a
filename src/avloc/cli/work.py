"""avloc demo, run, train: the main commands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.localize import say_localized
from avloc.cli.look import CopyMedia, say_page
from avloc.cli.media import say_extracted
from avloc.cli.shared import (
    AudioStream,
    Config,
    Corrections,
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
    merge_sets,
)
from avloc.errors import InputError, first_few, with_neighbours
from avloc.formats.failures import FAILURES
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.formats.labels import LabelTable, VideoMatch
    from avloc.train.resume import TrainedRun

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
    from avloc.config import with_overrides
    from avloc.workflow import Workflow

    talk = make_talk(as_json)
    streams = make_streams(video_stream, audio_stream)
    own = {"extract.video_stream": streams.video, "extract.audio_stream": streams.audio}
    given = merge_sets(sets, own | {"localize.min_score": min_score})
    settings = with_overrides(make_config(preset, config, sets), given)
    if "localize.min_score" in given:
        min_score = settings.localize.min_score
    job = Workflow(videos, labels, out, settings, workers, overwrite, formats, min_score, copy_media)
    _say_labels(talk, labels, *job.check())
    with job.lock(), talk.part():
        talk.few(f"since the last run: {change}" for change in job.changes())
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
                say_localized(talk, talk.watch("localize", job.localize), out / "detections")
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
    corrections: Corrections = [],  # noqa: B006
    init_from: Annotated[
        Path | None,
        typer.Option(help="Start from this run's weights, with its settings and a short schedule.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train on video-level labels, and on corrections if given.

    Several processes: `torchrun --nproc-per-node 2 -m avloc train ...`.

    avloc train --features features --labels labels.csv -o run
    avloc train --features features --labels labels.csv -o run --resume
    avloc train --features features --labels labels.csv -o run --preset ave
    avloc train --features features --labels labels.csv -o run2 --init-from run
    avloc train --features features --labels l.csv -o run2 --corrections c.json
    """
    from avloc.config import parse_overrides
    from avloc.train.resume import train as train_run

    talk = make_talk(as_json)
    made = [key for key in parse_overrides(sets) if key.startswith("extract.")]
    if made:
        raise InputError(f"--set {made[0]}: the features exist already; set it in `avloc extract` or `avloc run`")
    settings = make_config(preset, config, sets, init_from)
    with talk.progress("train") as progress:
        trained = train_run(features, labels, out, settings, resume, overwrite, progress, talk.say, corrections)
    _say_trained(talk, trained)
    talk.say(f"run: {out}; next: avloc localize {out} videos/ -o detections")


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
