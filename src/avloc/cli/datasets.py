"""avloc convert: convert data sets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.shared import PARTLY, Json, Overwrite, exit_partial, make_talk, require_some, say_failures
from avloc.errors import ConfigError, first_few
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.datasets.collection import Collection
    from avloc.datasets.convert import Imported

Features = Annotated[
    list[str],
    typer.Option("--features", metavar="<path>", help="Features, if not beside it: folder, .h5 or .npy; repeatable."),
]
Audio = Annotated[Path | None, typer.Option(help="Separate audio features, joined by video id.")]
Stride = Annotated[
    str, typer.Option("--stride-s", help="Seconds between feature rows, 0.64 or 16/25; see docs/datasets.md.")
]
Window = Annotated[str, typer.Option("--window-s", help="Seconds covered by a row; the stride if absent.")]
AudioStride = Annotated[str, typer.Option("--audio-stride-s", help="Seconds between rows of --audio.")]
AudioWindow = Annotated[str, typer.Option("--audio-window-s", help="Seconds covered by a row of --audio.")]
AxesOption = Annotated[
    str,
    typer.Option(
        "--axes",
        help="Axes of the arrays, if they cannot be told: tchw, or rgb=tchw,vggish=ct. "
        "t rows, c channels, h w positions, n crops, 1 an axis of size 1.",
    ),
]
TrackNames = Annotated[str, typer.Option("--tracks", help="Which of several features, in order: rgb,flow.")]


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Data set, or segments in another tool's format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder; for segments, a file or folder.")],
    features: Features = [],  # noqa: B006
    audio: Audio = None,
    stride_s: Stride = "",
    window_s: Window = "",
    audio_stride_s: AudioStride = "",
    audio_window_s: AudioWindow = "",
    tracks: TrackNames = "",
    axes: AxesOption = "",
    step_s: Annotated[str, typer.Option(help="Seconds per snippet; the features' own if absent.")] = "",
    rule: Annotated[str, typer.Option(help="Resampling of rows to snippets: mean, nearest or linear.")] = "mean",
    dtype: Annotated[str, typer.Option(help="float32, or float16 for half the disk space.")] = "float32",
    grid: Annotated[
        bool, typer.Option("--grid", help="Also write features_grid/, with the positions in the frame, for Tian et al.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(help="Segment format: csv, json, vtt, elan, otio, ..., truth; by OUT's suffix if absent."),
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the videos, for segment formats that count frames.")
    ] = None,
    fps_of: Annotated[
        list[str],
        typer.Option(
            "--fps-of",
            metavar="[VIDEO=]FPS",
            help="Frame rate of videos whose file states none or a wrong one, such as dog=25; repeatable.",
        ),
    ] = [],  # noqa: B006
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert data sets to avloc's files, or segments between tools.

    A data set becomes features/, labels.csv and ground_truth.json; finished videos are skipped.

    avloc convert AVE_Dataset/data ave --grid --dtype float16
    avloc convert ActivityNet1.2-Annotations anet --audio vggish
    avloc convert unav.json out --features av --stride-s 8/25 --window-s 24/25
    avloc convert annotations.eaf truth.json
    avloc convert segments.csv project.otio --videos videos
    """
    talk = make_talk(as_json)
    if to is not None or (out.suffix and not out.is_dir() and not features):
        _convert_segments(talk, source, out, to, videos, fps_of)
        return
    if grid and to is not None:
        raise ConfigError("--grid is for data sets")
    if fps_of:
        raise ConfigError("--fps-of is for segments; give their format with --to or by the suffix of OUT")
    if videos is not None:
        raise ConfigError("--videos is for segments; give their format with --to or by the suffix of OUT")
    from avloc.datasets.convert import import_collection

    data = open_source(source, features, audio, (stride_s, window_s), (audio_stride_s, audio_window_s), tracks, axes)
    step = _seconds("--step-s", step_s)
    with talk.progress("convert") as progress:
        result = import_collection(data, out, step, rule, dtype, overwrite, progress, grid)  # type: ignore[arg-type]
    _say_converted(talk, data, result, source, out)
    if data.features is not None and result.labelled_without_features:
        raise typer.Exit(PARTLY)
    exit_partial(result.failures)


def _say_converted(talk: Talk, data: Collection, result: Imported, source: Path, out: Path) -> None:
    """What was written, what is missing, and the next commands. Raises InputError if every video failed."""
    written = f"{pluralize(len(result.done), 'video')} written"
    counts = f"{written}, {len(result.skipped)} already there, {len(result.failures)} failed"
    talk.say(f"{data.name}: {counts}; {len(data.annotations)} annotated, {pluralize(len(data.classes), 'class')}")
    talk.notes(
        dict.fromkeys((*data.notes, *data.labels.notes, *data.report.notes(), *_unusual_axes(data), *result.notes))
    )
    _say_unmatched(talk, "annotated, without features", result.without_features)
    _say_unmatched(talk, "with features, not annotated", result.unknown)
    say_failures(talk, result.failures, out)
    talk.summary(
        {
            "done": len(result.done),
            "skipped": len(result.skipped),
            "failures": [vars(f) for f in result.failures],
            "without_features": list(result.without_features),
            "out": str(out),
        }
    )
    require_some(len(result.done) + len(result.skipped), result.failures, "read", out)
    if data.features is None:
        talk.say(f"labels and ground truth are in {out}; no features were found, give them with --features")
    elif lacking := result.labelled_without_features:
        talk.say(f"written to {out}, without features of {pluralize(len(lacking), 'labelled video')}")
    else:
        talk.say(f"written to {out}; next:")
        for command in _next_commands(data, source, out):
            talk.say(f"  {shlex.join(command)}")


_PROTOCOLS = {"thumos14": "thumos14", "unav100": "unav"}
"""By preset; ActivityNet's for the others."""


def _next_commands(data: Collection, source: Path, out: Path) -> list[list[str]]:
    """Commands from converted features to scores, with the preset of the data set."""
    from avloc.datasets.tracks import Tracks

    if not len(data.labels):
        return [["avloc", "doctor", str(out)]]
    features = str(out / "features")
    there = {track.modality for track in data.features.tracks} if isinstance(data.features, Tracks) else set()
    train = ["avloc", "train", "--features", features, "--labels", str(out / "labels.csv")]
    train += ["--preset", data.preset] * bool(data.preset)
    train += [part for name in there if len(there) == 1 for part in ("--set", f"model.modality={name}")]
    tests = {row.video_id for row in data.labels.subset("test")}
    subset = next((v.subset for v in data.annotations if v.video_id in tests), "").replace("testing", "test")
    commands = [[*train, "-o", "run"]]
    if not subset or data.parts:  # LLP is scored by two runs, see docs/datasets.md
        return commands
    protocol = ["--protocol", _PROTOCOLS[data.preset]] if data.preset in _PROTOCOLS else []
    return [
        *commands,
        ["avloc", "localize", "run", features, "--subset", "test", "-o", "detections"],
        ["avloc", "evaluate", "detections", str(source), "--subset", subset, *protocol],
    ]


def _unusual_axes(data: Collection) -> list[str]:
    """The layouts other than (rows, size), or taken without evidence."""
    from avloc.datasets.axes import USUAL
    from avloc.datasets.tracks import Tracks

    lines = data.features.described() if isinstance(data.features, Tracks) else ()
    return [line for line in lines if ": axes " in line and (": axes tc (" not in line or USUAL in line)]


def open_source(
    source: Path,
    features: Sequence[str],
    audio: Path | None,
    clock: tuple[str, str],
    audio_clock: tuple[str, str],
    tracks: str,
    axes: str,
) -> Collection:
    """Open a data set with the options of these names. Raises ConfigError for options that contradict."""
    from avloc.datasets.axes import parse_axes
    from avloc.datasets.open import open_collection
    from avloc.datasets.tracks import Clock

    def made(option: str, stride_and_window: tuple[str, str]) -> Clock | None:
        stride, window = stride_and_window
        step_s = _seconds(f"--{option}stride-s", stride)
        length_s = _seconds(f"--{option}window-s", window)
        if length_s is not None and step_s is None:
            raise ConfigError(f"--{option}window-s needs --{option}stride-s")
        return None if step_s is None else Clock(step_s, length_s)

    names = [name.strip() for name in tracks.split(",") if name.strip()]
    clocks = made("", clock), made("audio-", audio_clock)
    return open_collection(source, features, audio, *clocks, names, parse_axes(axes))


def _seconds(option: str, text: str) -> Fraction | None:
    from avloc.types import exact

    if not text:
        return None
    try:
        value = exact(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise ConfigError(f"{option} takes seconds such as 0.64 or 16/25, got {text!r}")
    return value


def _convert_segments(
    talk: Talk, source: Path, out: Path, to: str | None, videos: Path | None, fps_of: Sequence[str]
) -> None:
    from avloc.interchange.convert import convert as convert_segments
    from avloc.interchange.convert import parse_fps
    from avloc.media.find import named_media

    if fps_of and videos is None:
        raise ConfigError("--fps-of is the rate of video files; give their folder with --videos")
    media = named_media(videos) if videos is not None else None
    facts = convert_segments(source, out, to, media, parse_fps(fps_of))
    talk.notes(facts["notes"])
    what = f"{pluralize(facts['segments'], 'segment')} of {pluralize(facts['videos'], 'video')}"
    talk.say(f"{what}: {first_few(facts['files'], 5)}")
    talk.summary(facts)


def _say_unmatched(talk: Talk, words: str, videos: Sequence[str]) -> None:
    if videos:
        talk.say(f"note: {pluralize(len(videos), 'video')} {words}: {first_few(videos, 5)}")
