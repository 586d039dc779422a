"""avloc demo, run, train, localize: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc.cli.look import page_of
from avloc.cli.media import extract_videos
from avloc.cli.shared import (
    Config,
    DryRun,
    Json,
    Out,
    Overwrite,
    Preset,
    Sets,
    Workers,
    exit_partial,
    make_config,
    make_talk,
    say_failures,
)
from avloc.errors import InputError

if TYPE_CHECKING:
    from avloc.config import RunConfig
    from avloc.console import Talk
    from avloc.extraction import Failure


def demo(
    folder: Annotated[Path, typer.Argument(help="Where videos, features, runs and pictures go.")] = Path("demo-out"),
    seed: int = 0,
    workers: Workers = 2,
) -> None:
    """Render real videos with sound, extract, train, localize, evaluate: the whole river on a made-up world.

    avloc demo demo-out
    """
    from avloc.demo.walk import walk

    walk(folder, seed, workers, make_talk())


def run(
    videos: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    labels: Annotated[Path, typer.Option(help="labels.csv: video,labels[,subset].")],
    out: Out,
    preset: Preset = "default",
    config: Config = None,
    sets: Sets = [],  # noqa: B006
    workers: Workers = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """The whole job: extract, train, localize every video, make the page. Run it again to go on where it stopped.

    avloc run videos/ --labels labels.csv -o out
    """
    from avloc.checkpoint import has_state
    from avloc.formats import read_labels
    from avloc.locks import alone_in

    talk = make_talk(as_json)
    read_labels(labels)  # a broken table is said before hours of decoding, not after
    settings = make_config(preset, config, sets)
    with alone_in(out, "the results"):
        failures = extract_videos(talk, videos, out / "features", settings.extract, workers, overwrite, False)
        resume = has_state(out / "run") and not overwrite
        train_run(talk, out / "features", labels, out / "run", settings, resume, overwrite)
        found = out / "detections"
        localize_inputs(talk, out / "run", [str(out / "features")], found, "json,csv", {}, [], False, videos)
        page_of(talk, found, out / "page", workers)
    exit_partial(failures)


def train(
    features: Annotated[Path, typer.Option(help="Folder that `avloc extract` wrote.")],
    labels: Annotated[Path, typer.Option(help="labels.csv: video,labels[,subset].")],
    out: Out,
    preset: Preset = "default",
    config: Config = None,
    sets: Sets = [],  # noqa: B006 - typer's way
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learn from video-level labels. Several processes: torchrun --nproc-per-node 2 -m avloc train ...

    avloc train --features features --labels labels.csv -o run --set model.num_stages=3
    """
    talk = make_talk(as_json)
    train_run(talk, features, labels, out, make_config(preset, config, sets), resume, overwrite)
    talk.say(f"the run is in {out}; next: avloc localize {out} videos/ -o detections")


def localize(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    inputs: Annotated[list[str], typer.Argument(help="Videos or feature files: files, folders, globs.")],
    out: Out,
    formats: Annotated[
        str, typer.Option("-f", "--format", help="With commas: csv, json, vtt, elan, boris, ...; all.")
    ] = "json,csv",
    min_score: Annotated[float | None, typer.Option(help="Drop weaker detections.")] = None,
    min_duration_s: Annotated[float | None, typer.Option(help="Drop shorter detections.")] = None,
    merge_gap_s: Annotated[
        float | None, typer.Option(help="Join those of a class closer than this; not for decode=multi.")
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="Where the videos lie, when the inputs are features.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Also cut every detection out, to this folder.")] = None,
    sets: Sets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Say when actions happen, in videos or in features.

    avloc localize run videos/ -o detections --min-score 0.3
    """
    talk = make_talk(as_json)
    filters = {"min_score": min_score, "min_duration_s": min_duration_s, "merge_gap_s": merge_gap_s}
    overrides = {f"localize.{key}": value for key, value in filters.items() if value is not None}
    failures = localize_inputs(talk, run, inputs, out, formats, overrides, sets, dry_run, videos)
    if clips is not None and not dry_run:
        from avloc.cli.look import cut_clips

        cut_clips(talk, out, clips, videos)
    exit_partial(failures)


def train_run(
    talk: Talk, features: Path, labels: Path, out: Path, settings: RunConfig, resume: bool, overwrite: bool
) -> None:
    from avloc.checkpoint import has_state, is_whole
    from avloc.config import RunConfig, differences
    from avloc.train import fit, prepare, read_record, require_same

    if not overwrite and (out / "record.json").exists():
        record = read_record(out)
        differing = differences(RunConfig.model_validate(record.config), settings)
        if differing:
            raise InputError(
                f"{out} is a finished run of other settings ({'; '.join(differing)}); use another -o, or --overwrite"
            )
        if record.data:  # runs of earlier versions do not say what they were trained on
            now = prepare(features, labels, settings.train, settings.model.modality)
            require_same(out, record.data, now.facts())
        if not resume or is_whole(out):
            talk.say(f"{out} is a finished run, left as it is; --overwrite trains it anew")
            return
    if not resume and not overwrite and has_state(out):
        raise InputError(f"{out} holds an unfinished run; go on with --resume, or start anew with --overwrite")
    with talk.progress("train") as progress:
        fit(features, labels, out, settings, resume, progress)
    if talk.first:
        record = read_record(out)
        talk.say(
            f"trained {settings.train.steps} steps on {record.scores['train_videos']:.0f} videos, "
            f"{len(record.classes)} classes; kept step {record.scores['selected_step']:.0f}"
        )
        talk.summary({"run": str(out), "scores": dict(record.scores), "classes": record.classes})


def localize_inputs(
    talk: Talk,
    run: Path,
    inputs: list[str],
    out: Path,
    formats: str,
    overrides: dict[str, Any],
    sets: list[str],
    dry_run: bool,
    videos: Path | list[str] | None = None,
) -> tuple[Failure, ...]:
    from avloc.config import parse_overrides
    from avloc.exporting import FORMATS, parse_formats
    from avloc.localizing import find_inputs, localize_all
    from avloc.media.find import find_media
    from avloc.pipeline import load, with_options

    wanted = parse_formats(formats)
    paths = find_inputs(inputs)
    media = {path.stem: path for path in find_media(videos)} if videos is not None else {}
    counting = [name for name in wanted if FORMATS[name].frames]
    bare = [path for path in paths if path.suffix == ".safetensors" and path.stem not in media]
    if counting and bare:  # said before the work, not after it
        raise InputError(
            f"-f {','.join(counting)} needs frames, and of {len(bare)} inputs only the features are known "
            f"({bare[0].name}); give --videos FOLDER, or other formats"
        )
    if dry_run:
        talk.say(f"would localize {len(paths)} videos with {run}, to {out}")
        return ()
    localizer = with_options(load(run), {**parse_overrides(sets), **overrides})
    with talk.progress("localize") as progress:
        found, failures = localize_all(localizer, paths, out, wanted, progress, media)
    total = sum(len(result.detections) for result in found.values())
    talk.say(f"{total} detections in {len(found)} videos, {len(failures)} failed; they are in {out}")
    say_failures(talk, failures, out)
    talk.summary({"videos": len(found), "detections": total, "failures": [vars(f) for f in failures]})
    if not found:
        raise InputError(f"none of {len(paths)} videos could be localized; the reasons are in {out / 'failures.csv'}")
    return failures
