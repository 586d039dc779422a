"""avloc demo, run, train, localize: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc.cli.look import cut_clips, page_of
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
from avloc.errors import InputError, with_neighbours
from avloc.system.pool import keep_freed_memory
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.config import RunConfig
    from avloc.formats.failures import Failure
    from avloc.train.record import RunRecord

_LISTED = 12
"""Classes that are named and not only counted."""


def demo(
    folder: Annotated[Path, typer.Argument(help="Where videos, features, runs and pictures go.")] = Path("demo-out"),
    seed: int = 0,
    workers: Workers = 2,
) -> None:
    """Render real videos with sound, extract, train, localize, evaluate: the whole river on a made-up world.

    avloc demo demo-out
    """
    from avloc.cli.demo import walk

    walk(folder, seed, workers, make_talk())


def run(
    videos: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    labels: Annotated[Path, typer.Option(help="labels.csv: video,labels[,subset].")],
    out: Out,
    preset: Preset = None,
    config: Config = None,
    sets: Sets = [],  # noqa: B006
    workers: Workers = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """The whole job: extract, train, localize every video, make the page. Run it again to go on where it stopped.

    avloc run videos/ --labels labels.csv -o out
    """
    from avloc.system.locks import folder_lock
    from avloc.train.state import has_state

    talk = make_talk(as_json)
    settings = make_config(preset, config, sets)
    _say_labels(talk, labels, videos)
    with folder_lock(out, "the results"), talk.part():
        with talk.part("extract"):
            failures = extract_videos(talk, videos, out / "features", settings.extract, workers, overwrite, False)
        resume = has_state(out / "run") and not overwrite
        with talk.part("train"):
            train_run(talk, out / "features", labels, out / "run", settings, resume, overwrite)
        found = out / "detections"
        with talk.part("localize"):
            localize_inputs(talk, out / "run", [str(out / "features")], found, "json,csv", {}, [], False, videos)
        with talk.part("page"):
            page_of(talk, found, out / "page", workers)
    exit_partial(failures)


def _say_labels(talk: Talk, labels: Path, videos: list[str]) -> None:
    """What is wrong with a table of labels is said before hours of decoding, not after.

    Raises:
        FormatError: it is broken. InputError: it names none of the videos.
    """
    from avloc.formats.labels import match_videos, read_labels
    from avloc.media.find import named_media

    table = read_labels(labels)
    match = match_videos(table, named_media(videos))
    missing = with_neighbours(match.missing, match.unlabelled)
    if not match.found:
        raise InputError(
            f"{labels} names none of the videos: expected such as {match.unlabelled[0]!r}, got {missing}; write the "
            "files' names into it, with or without extension"
        )
    if missing:
        talk.say(f"note: {pluralize(len(match.missing), 'labelled video')} not found, left out: {missing}")
    for note in table.notes:
        talk.say(f"note: {note}")
    talk.say(f"labels of {pluralize(len(match.found), 'video')}: {_classes(table.classes)}")


def _classes(names: Sequence[str]) -> str:
    """How many there are; where few, also which."""
    listed = f" ({', '.join(names)})" if 0 < len(names) <= _LISTED else ""
    return pluralize(len(names), "class") + listed


def train(
    features: Annotated[Path, typer.Option(help="Folder that `avloc extract` wrote.")],
    labels: Annotated[Path, typer.Option(help="labels.csv: video,labels[,subset].")],
    out: Out,
    preset: Preset = None,
    config: Config = None,
    sets: Sets = [],  # noqa: B006 - typer's way
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learn from video-level labels. Several processes: torchrun --nproc-per-node 2 -m avloc train ...

    avloc train --features features --labels labels.csv -o run --set model.num_stages=3
    """
    from avloc.config import parse_overrides

    talk = make_talk(as_json)
    made = [key for key in parse_overrides(sets) if key.startswith("extract.")]
    if made:
        raise InputError(f"--set {made[0]}: the features are made already; set it in `avloc extract` or `avloc run`")
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
    with talk.part():
        failures = localize_inputs(talk, run, inputs, out, formats, overrides, sets, dry_run, videos)
        if clips is not None and not dry_run:
            with talk.part("clips"):
                cut_clips(talk, out, clips, videos)
    if any((out / name).is_file() for name in ("segments.json", "segments.csv")) and not dry_run:
        talk.say(f"next: avloc report {out} -o page")
    exit_partial(failures)


def train_run(
    talk: Talk, features: Path, labels: Path, out: Path, settings: RunConfig, resume: bool, overwrite: bool
) -> None:
    from avloc.config import RunConfig, differences
    from avloc.model.checkpoint import is_whole
    from avloc.train.loop import fit
    from avloc.train.prepare import prepare, require_same
    from avloc.train.record import read_record
    from avloc.train.state import has_state

    if not overwrite and (out / "record.json").exists():
        record = read_record(out)
        differing = differences(RunConfig.model_validate(record.config), settings)
        if differing:
            raise InputError(
                f"{out} is a finished run of other settings ({'; '.join(differing)}); use another -o, or --overwrite"
            )
        if record.data:  # runs of earlier versions do not say what they were trained on
            now = prepare(features, labels, settings.train, settings.model.modality)
            require_same(out, record.data, now.facts)
        if not resume or is_whole(out):
            talk.say(f"{out} is a finished run, left as it is; --overwrite trains it anew")
            talk.summary(_facts(out, record))
            return
    if not resume and not overwrite and has_state(out):
        raise InputError(f"{out} holds an unfinished run; go on with --resume, or start anew with --overwrite")
    keep_freed_memory()
    with talk.progress("train") as progress:
        fit(features, labels, out, settings, resume, progress)
    if talk.first:
        record = read_record(out)
        videos = round(record.scores["train_videos"])
        talk.say(
            f"trained {pluralize(settings.train.steps, 'step')} on {pluralize(videos, 'video')}, "
            f"{_classes(record.classes)}; kept step {record.scores['selected_step']:.0f}"
        )
        talk.summary(_facts(out, record))


def _facts(out: Path, record: RunRecord) -> dict[str, Any]:
    return {"run": str(out), "scores": dict(record.scores), "classes": record.classes}


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
    from avloc.interchange.registry import FORMATS, parse_formats
    from avloc.media.find import named_media
    from avloc.pipeline.folder import counted, find_inputs, localize_all
    from avloc.pipeline.localizer import load, with_options

    wanted = parse_formats(formats)
    paths = find_inputs(inputs)
    media = named_media(videos) if videos is not None else {}
    counting = [name for name in wanted if FORMATS[name].frames]
    bare = [path for path in paths if path.suffix == ".safetensors" and not media.keys() & _tails(path)]
    if counting and bare:  # said before the work, not after it
        raise InputError(
            f"-f {','.join(counting)} needs frames, and of {len(bare)} inputs only the features are known "
            f"({bare[0].name}); give --videos FOLDER, or other formats"
        )
    if dry_run:
        talk.say(f"would localize {pluralize(len(paths), 'video')} with {run}, to {out}")
        talk.summary({"dry_run": True, "videos": len(paths), "run": str(run), "out": str(out)})
        return ()
    localizer = with_options(load(run), {**parse_overrides(sets), **overrides})
    with talk.progress("localize") as progress:
        found, failures = localize_all(localizer, paths, out, wanted, progress, media)
    total = sum(len(result.detections) for result in found.values())
    talk.say(f"{counted(found, localizer.options.decode)}, {len(failures)} failed; they are in {out}")
    say_failures(talk, failures, out)
    talk.summary({"videos": len(found), "detections": total, "failures": [vars(f) for f in failures]})
    if not found:
        raise InputError(f"none of {len(paths)} videos could be localized; the reasons are in {out / 'failures.csv'}")
    return failures


def _tails(path: Path) -> set[str]:
    """What a feature file's video may be called: its name, and with folders before it."""
    parts = path.with_suffix("").parts
    return {"/".join(parts[k:]) for k in range(len(parts))}
