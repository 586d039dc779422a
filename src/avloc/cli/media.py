"""avloc extract, backbones: from videos to features."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc.cli.shared import DryRun, Json, Out, Overwrite, Workers, exit_partial, make_talk, say_failures
from avloc.errors import InputError

if TYPE_CHECKING:
    from avloc.console import Talk
    from avloc.extraction import Failure


def extract(
    videos: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    out: Out,
    visual: Annotated[str, typer.Option(help="Backbone for the picture, or none.")] = "appearance",
    audio: Annotated[str, typer.Option(help="Backbone for the sound, or none.")] = "logmel",
    step_s: Annotated[float, typer.Option(help="Seconds per snippet.")] = 1.0,
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    workers: Workers = 1,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Turn videos into snippet features, one file each. What is done is skipped.

    avloc extract videos/ -o features --step-s 1.0 --workers 2
    """
    from avloc.config import preset

    talk = make_talk(as_json)
    none = {"none": None}
    options = preset(
        "default",
        {
            "extract.visual": none.get(visual, visual),
            "extract.audio": none.get(audio, audio),
            "extract.step_s": step_s,
            "extract.dtype": dtype,
        },
    ).extract
    failures = extract_videos(talk, videos, out, options, workers, overwrite, dry_run)
    if not dry_run:
        talk.say(f"features are in {out}; next: avloc train --features {out} --labels labels.csv -o run")
    exit_partial(failures)


def backbones() -> None:
    """List what features can be extracted with."""
    from avloc.media.backbones import BACKBONES, load_backbone

    made = [load_backbone(name) for name in BACKBONES]
    rows = [(b.name, b.modality, str(b.size), b.licence, b.weights or "needs none") for b in made]
    make_talk().table("backbones", ["name", "modality", "size", "licence", "weights"], rows)


def extract_videos(
    talk: Talk, videos: list[str], out: Path, options: Any, workers: int, overwrite: bool, dry_run: bool
) -> tuple[Failure, ...]:
    from avloc.extraction import extract_all
    from avloc.media.find import find_media

    paths = find_media(videos)
    if dry_run:
        talk.say(f"would extract {len(paths)} videos to {out}: visual {options.visual}, audio {options.audio}")
        return ()
    began = time.monotonic()
    with talk.progress("extract") as progress:
        summary = extract_all(paths, out, options, workers, overwrite, progress)
    for video, note in summary.notes.items():
        talk.say(f"note: {video}: {note}")
    seconds = time.monotonic() - began
    talk.say(
        f"extracted {len(summary.done)} videos in {seconds:.1f} s, {len(summary.skipped)} were done already, "
        f"{len(summary.failures)} failed"
    )
    say_failures(talk, summary.failures, out)
    talk.summary({"done": summary.done, "skipped": summary.skipped, "failures": [vars(f) for f in summary.failures]})
    if not summary.done and not summary.skipped:
        raise InputError(f"none of {len(paths)} videos could be extracted; the reasons are in {out / 'failures.csv'}")
    return summary.failures
