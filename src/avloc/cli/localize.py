"""avloc localize: with a trained run, or by prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc.cli.look import cut_clips
from avloc.cli.media import Weights, parse_weights
from avloc.cli.shared import (
    AudioStream,
    Device,
    DryRun,
    Formats,
    Json,
    LocalizeSets,
    MinScore,
    Out,
    VideoStream,
    exit_partial,
    make_streams,
    make_talk,
    merge_sets,
    require_some,
    say_failures,
)
from avloc.errors import InputError
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.pipeline.folder import LocalizedFolder


def localize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] VIDEOS",
            help="A run folder, a published model or OWNER/NAME on the Hugging Face hub; then videos or feature files: "
            "files, folders, globs. With --prompts no run: only videos or feature files.",
        ),
    ],
    out: Out,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="WORDS|FILE", help="Without a run: words joined by ; or a .txt file with one a line."),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="For --prompts: table word,sense,classes of further words.")
    ] = None,
    visual: Annotated[
        str | None, typer.Option(help="For --prompts: backbone for frames with classes or a text tower, or none.")
    ] = None,
    audio: Annotated[str | None, typer.Option(help="For --prompts: likewise for audio.")] = None,
    weights: Weights = [],  # noqa: B006
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
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Fetch the weights of the model's backbones if they are missing.")
    ] = False,
    no_checksum: Annotated[
        bool, typer.Option("--no-checksum", help="Use a model whose checksum is wrong or missing.")
    ] = False,
    sets: LocalizeSets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Localize actions and events in videos or features.

    With a trained run, or with --prompts and no run: pretrained networks then score the words. The streams used of a
    video are chosen anew, not as for the videos that the run was trained on.

    avloc localize run videos/ -o detections --min-score 0.3
    avloc localize run features/ -o detections -f csv,elan,vtt
    avloc localize run features/ -o detections --subset test --labels labels.csv
    avloc localize jane/birds videos/ -o detections
    avloc localize --prompts "dog barking; glass breaking" videos/ -o detections
    """
    asked: tuple[str, ...] = ()
    if prompts is not None:  # before torch is loaded
        from avloc.tagging.vocabulary import parse_prompts

        asked = parse_prompts(prompts)
    from avloc.formats.results import ResultsFolder
    from avloc.pipeline.folder import localize_folder, plan_folder

    talk, streams = make_talk(as_json), make_streams(video_stream, audio_stream)
    only = {"vocabulary": vocabulary, "visual": visual, "audio": audio, "weights": weights or None}
    run, files = _run_and_files(inputs, prompts, only)
    source = f"the prompts {prompts}" if run is None else str(run)
    if dry_run:
        plan = plan_folder(files, formats, videos, subset, labels)
        count = len(plan.paths)
        talk.notes(plan.notes)
        talk.say(f"would localize {pluralize(count, 'video')} with {source}, to {out}")
        talk.summary({"dry_run": True, "videos": count, "run": run and str(run), "prompts": prompts, "out": str(out)})
        return
    filters = {"min_score": min_score, "min_duration_s": min_duration_s, "merge_gap_s": merge_gap_s}
    overrides = merge_sets(sets, {f"localize.{key}": value for key, value in filters.items()})
    with talk.part():
        with talk.progress("localize") as progress:
            if run is not None:
                result = localize_folder(
                    *(run, files, out, formats, overrides, videos, progress, device, subset, labels, streams),
                    checksum=not no_checksum,
                    allow_download=allow_download,
                )
            else:
                networks = {"visual": visual, "audio": audio}
                chosen: dict[str, Any] = {"extract.weights": parse_weights(weights)}
                chosen |= {f"extract.{k}": None if v == "none" else v for k, v in networks.items() if v is not None}
                from avloc.pipeline.prompts import localize_by_prompts

                result = localize_by_prompts(
                    *(asked, files, out, formats, {**chosen, **overrides}, vocabulary),
                    *(videos, progress, device, subset, labels, streams),
                )
        say_localized(talk, result, out)
        if clips is not None:
            with talk.part("clips"):
                cut_clips(talk, out, clips, videos, found=min_score is None)
    if ResultsFolder(out).table is not None:
        talk.say(f"next: avloc report {out} -o page")
    exit_partial(result.failures)


def _run_and_files(inputs: list[str], prompts: str | None, only: Mapping[str, Any]) -> tuple[Path | None, list[str]]:
    """The run, None with prompts, and the files to localize.

    Args:
        only: {option: value} of the options that go with --prompts.
    """
    from avloc.model.files import CONFIG_FILE, MODEL_FILE

    runs = [text for text in inputs if all((Path(text) / name).is_file() for name in (CONFIG_FILE, MODEL_FILE))]
    if prompts is not None:
        if runs:
            raise InputError(
                f"{runs[0]} is a trained run, which --prompts does without; give the run or --prompts, not both"
            )
        return None, inputs
    lost = [name for name, value in only.items() if value is not None]
    if lost:
        raise InputError(f"--{lost[0]} is for --prompts; a run has its own classes and backbones")
    if len(inputs) < 2:
        what = "VIDEOS" if runs else "RUN"
        raise InputError(
            f"expected a run folder and videos, got {inputs[0]} alone: avloc localize RUN VIDEOS -o {'OUT'}; {what} is "
            "missing. Without a run: --prompts WORDS"
        )
    return Path(inputs[0]), inputs[1:]


def say_localized(talk: Talk, result: LocalizedFolder, out: Path) -> None:
    """Notes, numbers and failures of a localization, and its summary."""
    from avloc.pipeline.folder import counted

    failures = result.failures
    talk.notes(result.notes)
    talk.notes(f"{name}: {video.note}" for name, video in result.videos.items() if video.note)
    total = sum(len(video.detections) for video in result.videos.values())
    talk.say(f"{counted(result.videos, result.decode)}, {len(failures)} failed; written to {out}")
    say_failures(talk, failures, out)
    talk.summary({"videos": len(result.videos), "detections": total, "failures": [vars(f) for f in failures]})
    require_some(len(result.videos), failures, "localized", out)
