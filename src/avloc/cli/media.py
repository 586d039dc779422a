"""avloc extract, backbones: extract features from videos."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.shared import (
    AudioStream,
    Device,
    DryRun,
    Json,
    Out,
    Overwrite,
    VideoStream,
    Workers,
    exit_partial,
    make_streams,
    make_talk,
    merge_sets,
    require_some,
    say_failures,
)
from avloc.errors import ConfigError, InputError, did_you_mean
from avloc.system.text import pluralize

Weights = Annotated[
    list[str], typer.Option(metavar="NAME=PATH", help="Weight file or hub folder; PATH alone for any; repeatable.")
]

ExtractSets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as extract.step_s=0.64; repeatable."),
]

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.features.folder import Plan, Summary


def extract(
    context: typer.Context,
    videos: Annotated[list[str], typer.Argument(help="Videos: files, folders or globs.")],
    out: Out,
    visual: Annotated[str, typer.Option(help="Visual backbone, auto or none; see `avloc backbones`.")] = "auto",
    audio: Annotated[str, typer.Option(help="Audio backbone, auto or none.")] = "auto",
    step_s: Annotated[
        float | None, typer.Option(help="Seconds per snippet; 1.0 unless --frames-per-snippet is given.")
    ] = None,
    frames_per_snippet: Annotated[
        int | None, typer.Option(help="With --fps: snippet length in frames, such as 16.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frame rate that the visual backbone sees, such as 25.")] = None,
    video_stream: VideoStream = None,
    audio_stream: AudioStream = None,
    weights: Weights = [],  # noqa: B006
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    layout: Annotated[str, typer.Option(help="safetensors, or npy for other tools.")] = "safetensors",
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the backbones with torch.compile.")] = False,
    workers: Workers = 1,
    shard: Annotated[
        str | None, typer.Option(help="PART/PARTS, such as 3/16: extract only this part of the videos.")
    ] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, or local.")] = None,
    silence_s: Annotated[float, typer.Option(help="Timeout per video, in seconds without progress.")] = 300,
    memory_gb: Annotated[
        float | None, typer.Option(help="Memory limit per process; an equal share of the machine if absent.")
    ] = None,
    overwrite: Overwrite = False,
    sets: ExtractSets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Extract snippet features from videos, one file per video.

    Finished videos are skipped.

    avloc extract videos/ -o features --workers 2
    avloc extract videos/ -o features --visual i3d --audio vggish --step-s 0.64
    avloc extract videos/ -o i3d --visual i3d --frames-per-snippet 16 --fps 25
    avloc extract recordings/ -o features --audio-stream mix
    """
    from avloc.config import preset
    from avloc.features.folder import extract_all, parse_shard, plan_all
    from avloc.media.find import find_media
    from avloc.system.isolate import Limits

    talk, streams = make_talk(as_json), make_streams(video_stream, audio_stream)
    if step_s is not None and frames_per_snippet is not None:
        raise InputError("--step-s and --frames-per-snippet both set the snippet length; give one of them")
    settings = {
        "visual": None if visual == "none" else visual,
        "audio": None if audio == "none" else audio,
        "step_s": 1.0 if step_s is None else step_s,
        "frames_per_snippet": frames_per_snippet,
        "fps": fps,
        "video_stream": streams.video,
        "audio_stream": streams.audio,
        "weights": parse_weights(weights),
        "dtype": dtype,
        "device": device,
        "precision": precision,
        "compile": compiled,
    }
    given = merge_sets(sets, {f"extract.{key}": value for key, value in settings.items() if _given(context, key)})
    for key in given:
        if "." in key and not key.startswith("extract."):
            raise ConfigError(f"--set {key}: only extract.* can be set here; give it to the command where it acts")
    options = preset("default", given).extract
    limits, part = Limits(silence_s, memory_gb), parse_shard(shard)
    paths = find_media(videos)
    if dry_run:
        _say_plan(talk, plan_all(paths, out, options, overwrite, layout, part), out)
        return
    began = time.monotonic()
    with talk.progress("extract") as progress:
        summary = extract_all(
            paths, out, options, workers, overwrite, progress, layout=layout, shard=part, ray=ray, limits=limits
        )
    say_extracted(talk, summary, out, time.monotonic() - began)
    if layout == "safetensors":
        talk.say(f"features are in {out}; next: avloc train --features {out} --labels labels.csv -o run")
    exit_partial(summary.failures)


def _given(context: typer.Context, setting: str) -> bool:
    """Whether the option of a setting is on the command line."""
    source = context.get_parameter_source("compiled" if setting == "compile" else setting)
    return source is not None and source.name == "COMMANDLINE"


def parse_weights(given: list[str]) -> dict[str, str]:
    """{name: path} of --weights NAME=PATH; "*" for PATH alone."""
    paths: dict[str, str] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign or Path(text).exists():
            name, path = "*", text
        if not name or not path:
            raise InputError(f"--weights takes NAME=PATH, or a file or folder, got {text!r}")
        paths[name] = path
    return paths


def backbones(
    weights: Weights = [],  # noqa: B006
    get: Annotated[list[str], typer.Option(help="Download the weights of this backbone; repeatable.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """List the backbones and whether their weights are available.

    avloc backbones
    avloc backbones --get efficientat-mn04
    avloc backbones --weights i3d-rgb=rgb_imagenet.pt
    """
    from avloc.features.backbones import all_backbones, download, status
    from avloc.features.weights import cache_folder

    talk = make_talk(as_json)
    given = parse_weights(weights)
    for name in get:
        with talk.progress(name) as progress:
            places = download(name, progress)
        talk.say(f"{name}: {', '.join(map(str, places)) or 'needs no weights'}")
    cards = all_backbones().values()
    names = {name for c in cards for name in (*(w.name for w in c.weights), *([c.name] if c.hub else []))}
    for name in given.keys() - names - {"*"}:
        raise InputError(f"--weights {name}: no backbone has weights of that name.{did_you_mean(name, names)}")
    states = {entry.name: status(entry, given) for entry in cards}
    columns = ["name", "modality", "size", "licence", "weights"]
    short = {name: state.partition(";")[0] for name, state in states.items()}
    talk.table(
        "backbones", columns, [[c.name, c.modality, str(c.size or "?"), c.licence, short[c.name]] for c in cards]
    )
    for entry in cards:
        talk.say(f"{entry.name}: {entry.wants}" + (f"; hub: {entry.hub}" if entry.hub else ""))
    files = {file.name: file for entry in cards for file in entry.weights}
    for file in files.values():
        talk.say(f"weights {file.name}: {file.file} ({file.checksum}) from {file.source}")
    talk.say(f"weights are stored in {cache_folder()}; use others with --weights NAME=PATH")
    talk.summary(
        {
            c.name: {
                "modality": c.modality,
                "size": c.size,
                "licence": c.licence,
                "status": states[c.name],
                "hub": c.hub,
                "weights": [vars(w) for w in c.weights],
            }
            for c in cards
        }
    )


def say_extracted(talk: Talk, summary: Summary, out: Path, seconds: float) -> None:
    """Shared with `avloc run`.

    Raises:
        InputError: every video failed.
    """
    talk.notes(f"{video}: {note}" for video, note in summary.notes.items())
    done, skipped, failures = summary.done, summary.skipped, summary.failures
    talk.say(
        f"extracted {pluralize(len(done), 'video')} in {seconds:.1f} s, {len(skipped)} already done, "
        f"{len(failures)} failed"
    )
    say_failures(talk, failures, out)
    talk.summary({"done": done, "skipped": skipped, "failures": [vars(f) for f in failures]})
    require_some(len(done) + len(skipped), failures, "extracted", out)


def _say_plan(talk: Talk, plan: Plan, out: Path) -> None:
    """Print the plan. Raises InputError where `extract` would."""
    what = f"visual {plan.options.visual or 'none'}, audio {plan.options.audio or 'none'}"
    talk.say(
        f"would extract {pluralize(len(plan.todo), 'video')} to {out} ({what}); {len(plan.skipped)} already done, "
        f"{len(plan.conflicts)} extracted with other options"
    )
    talk.summary({"dry_run": True, "todo": plan.todo, "skipped": plan.skipped, "conflicts": list(plan.conflicts)})
    for reason in plan.conflicts.values():
        raise InputError(reason)
