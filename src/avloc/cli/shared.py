"""Common options of the commands, failures and exit codes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc.errors import ConfigError, InputError, few_lines, one_line

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.config import RunConfig
    from avloc.formats.failures import Failure
    from avloc.mediafile import StreamChoice

PARTLY = 3
"""Exit code of work of which a part failed; README.md lists the codes."""

Out = Annotated[Path, typer.Option("-o", "--out", help="Output folder; the name is used as given.")]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, such as train.steps=2000; repeatable. See docs/config.md."
    ),
]
LocalizeSets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as localize.min_score=0.3; repeatable."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="auto (used if absent), default, paper, ave, activitynet, thumos14, llp, unav100, demo, w-talc or tian.",
        show_default=False,
    ),
]
Config = Annotated[Path | None, typer.Option(help="YAML configuration file, instead of --preset.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Redo finished work.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON summary to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and exit.")]
Formats = Annotated[
    str, typer.Option("-f", "--format", help="csv, json, vtt, elan, boris, ..., comma-separated; or all.")
]
MinScore = Annotated[
    float | None,
    typer.Option(
        help="Drop detections with a lower score. If absent, csv, json and parquet have all, others from 0.3."
    ),
]
Corrections = Annotated[
    list[Path],
    typer.Option(metavar="FILE", help="Corrections from `avloc view`, or ground truth of training videos; repeatable."),
]
FigureFormats = Annotated[str, typer.Option("-f", "--format", help="pdf, svg, png, comma-separated.")]
VideoStream = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Video stream of each file, from 1; by the file's default flags if absent."),
]
AudioStream = Annotated[
    str | None,
    typer.Option(
        metavar="N|mix", help="Audio stream of each file, from 1, or mix for the mean of all; likewise if absent."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that decode videos.")]


class State:
    """Options given before the command."""

    quiet = False
    verbose = False


def make_talk(as_json: bool = False) -> Talk:
    from avloc.cli.console import Talk

    return Talk(State.quiet, State.verbose, as_json)


def make_config(name: str | None, path: Path | None, sets: list[str], init_from: Path | None = None) -> RunConfig:
    """The configuration of --preset or --config; with --init-from alone, that of the run."""
    from avloc.config import parse_overrides, preset, read_config

    if name is not None and path is not None:
        raise ConfigError("--preset and --config both name a starting configuration; give one of them")
    overrides = parse_overrides(sets)
    if init_from is not None and name is None and path is None:
        from avloc.train.warm import continued

        return continued(init_from, overrides)
    if init_from is not None:
        overrides = {"train.init_from": str(init_from), **overrides}
    return read_config(path, overrides) if path is not None else preset(name or "auto", overrides)


def merge_sets(sets: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of --set and of a command's own options.

    Args:
        options: {"section.key": value of the option}; None for one that was not given.

    Raises:
        ConfigError: a setting is given both ways.
    """
    from avloc.config import parse_overrides

    settings, given = parse_overrides(sets), {key: value for key, value in options.items() if value is not None}
    for key in settings.keys() & given.keys():
        option = "--" + key.rpartition(".")[2].replace("_", "-")
        raise ConfigError(f"{option} and --set {key} both set it; give one of them")
    return settings | given


def make_streams(video: int | None, audio: str | None) -> StreamChoice:
    """The options --video-stream and --audio-stream."""
    from avloc.formats.streams import parse_streams

    try:
        return parse_streams(str(video or ""), audio)
    except ValueError:
        raise InputError(f"--audio-stream takes a number from 1, or mix, got {audio!r}") from None


def parse_suffixes(formats: str) -> list[str]:
    """ "pdf, .png" as ["pdf", "png"]."""
    return [name.strip().lstrip(".") for name in formats.split(",") if name.strip()]


def say_failures(talk: Talk, failures: Sequence[Failure], out: Path) -> None:
    from avloc.formats.failures import FAILURES

    for line in few_lines(failure_lines(failures), f" in {out / FAILURES}"):
        talk.err.print(one_line(line), markup=False, soft_wrap=True)


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    return [f"failed: {failure.video_id}: {failure.reason}" for failure in failures]


def require_some(done: int, failures: Sequence[Failure], verb: str, out: Path) -> None:
    """InputError when every video failed."""
    if failures and not done:
        from avloc.formats.failures import FAILURES

        raise InputError(f"no video could be {verb}, {len(failures)} failed; see {out / FAILURES}")


def exit_partial(failures: Collection[object]) -> None:
    """Exit code `PARTLY` if part of the work failed."""
    if failures:
        raise typer.Exit(PARTLY)
