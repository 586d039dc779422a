"""`avloc`: one command = one library call + words for a person. Everything heavy is imported inside the commands."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc import __version__
from avloc.errors import AvlocError, ConfigError, InputError

if TYPE_CHECKING:
    from avloc.config import RunConfig
    from avloc.console import Talk
    from avloc.evaluation import Evaluation
    from avloc.extraction import Failure

app = typer.Typer(
    name="avloc",
    help="Find when actions and events happen in untrimmed videos, by sight and by sound, from video-level labels.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("-o", "--out", help="Where results go: exactly there, never numbered.")]
Sets = Annotated[list[str], typer.Option("--set", help="section.key=value, as often as needed; see docs/config.md.")]
Preset = Annotated[str, typer.Option(help="default, paper, ave, activitynet or demo.")]
Config = Annotated[Path | None, typer.Option(help="A YAML configuration, instead of --preset.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Redo what is done already.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary for scripts on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that decode.")]


class _State:
    """The options before the command."""

    quiet = False
    verbose = False


@app.callback()
def _globals(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More than usual.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    _State.quiet, _State.verbose = quiet, verbose
    if version:
        print(f"avloc {__version__}")
        raise typer.Exit


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where videos, features, runs and pictures go.")] = Path("demo-out"),
    seed: int = 0,
    workers: Workers = 2,
) -> None:
    """Render real videos with sound, extract, train, localize, evaluate: the whole river on a made-up world.

    avloc demo demo-out
    """
    from avloc.demo.walk import walk

    walk(folder, seed, workers, _talk())


@app.command()
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

    talk = _talk(as_json)
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
    failures = _extract(talk, videos, out, options, workers, overwrite, dry_run)
    if not dry_run:
        talk.say(f"features are in {out}; next: avloc train --features {out} --labels labels.csv -o run")
    _exit_partial(failures)


@app.command()
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
    talk = _talk(as_json)
    _train(talk, features, labels, out, _config(preset, config, sets), resume, overwrite)
    talk.say(f"the run is in {out}; next: avloc localize {out} videos/ -o detections")


@app.command()
def localize(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    inputs: Annotated[list[str], typer.Argument(help="Videos or feature files: files, folders, globs.")],
    out: Out,
    formats: Annotated[str, typer.Option("-f", "--format", help="json, csv, or both with a comma.")] = "json,csv",
    min_score: Annotated[float | None, typer.Option(help="Drop weaker detections.")] = None,
    min_duration_s: Annotated[float | None, typer.Option(help="Drop shorter detections.")] = None,
    merge_gap_s: Annotated[float | None, typer.Option(help="Join detections of a class closer than this.")] = None,
    sets: Sets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Say when actions happen, in videos or in features.

    avloc localize run videos/ -o detections --min-score 0.3
    """
    talk = _talk(as_json)
    filters = {"min_score": min_score, "min_duration_s": min_duration_s, "merge_gap_s": merge_gap_s}
    overrides = {f"localize.{key}": value for key, value in filters.items() if value is not None}
    failures = _localize(talk, run, inputs, out, formats, overrides, sets, dry_run)
    _exit_partial(failures)


@app.command()
def evaluate(
    detections: Annotated[Path, typer.Argument(help="segments.json or .csv, or a folder `avloc localize` wrote.")],
    ground_truth: Annotated[Path, typer.Argument(help="ActivityNet JSON.")],
    subset: Annotated[str | None, typer.Option(help="training, validation or testing; all that fit if absent.")] = None,
    t_iou: Annotated[str, typer.Option(help="first:last:step of the thresholds.")] = "0.5:0.95:0.05",
    per_class: Annotated[bool, typer.Option("--per-class", help="Also each class's AP.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Also write the scores there, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Score detections: mAP over t-IoU thresholds, the trivial baseline beside it.

    avloc evaluate detections ground_truth.json --subset validation
    """
    from avloc.evaluation import evaluate_files

    talk = _talk(as_json)
    result = evaluate_files(detections, ground_truth, subset, _thresholds(t_iou))
    _say_evaluation(talk, result, per_class)
    if out is not None:
        result.save(out)
        talk.say(f"scores are in {out}")
    talk.summary(result.to_dict())


@app.command()
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
    """The whole job: extract, train, localize every video. Run it again to go on where it stopped.

    avloc run videos/ --labels labels.csv -o out
    """
    from avloc.formats import read_labels

    talk = _talk(as_json)
    read_labels(labels)  # a broken table is said before hours of decoding, not after
    settings = _config(preset, config, sets)
    failures = _extract(talk, videos, out / "features", settings.extract, workers, overwrite, False)
    resume = (out / "run" / "state.pt").exists() and not overwrite
    _train(talk, out / "features", labels, out / "run", settings, resume, overwrite)
    _localize(talk, out / "run", [str(out / "features")], out / "detections", "json,csv", {}, [], False)
    _exit_partial(failures)


@app.command()
def backbones() -> None:
    """List what features can be extracted with."""
    from avloc.media.backbones import BACKBONES, load_backbone

    made = [load_backbone(name) for name in BACKBONES]
    rows = [(b.name, b.modality, str(b.size), b.licence, b.weights or "needs none") for b in made]
    _talk().table("backbones", ["name", "modality", "size", "licence", "weights"], rows)


def main() -> None:
    """Entry point: bad input is one line and exit code 2; Ctrl-C is 1; only our own bugs show a traceback."""
    try:
        app()
    except AvlocError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(1)


def _talk(as_json: bool = False) -> Talk:
    from avloc.console import Talk

    return Talk(_State.quiet, _State.verbose, as_json)


def _config(name: str, path: Path | None, sets: list[str]) -> RunConfig:
    from avloc.config import parse_overrides, preset, read_config

    overrides = parse_overrides(sets)
    return read_config(path, overrides) if path is not None else preset(name, overrides)


def _extract(
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
    _say_failures(talk, summary.failures, out)
    talk.summary({"done": summary.done, "skipped": summary.skipped, "failures": [vars(f) for f in summary.failures]})
    if not summary.done and not summary.skipped:
        raise InputError(f"none of {len(paths)} videos could be extracted; the reasons are in {out / 'failures.csv'}")
    return summary.failures


def _train(
    talk: Talk, features: Path, labels: Path, out: Path, settings: RunConfig, resume: bool, overwrite: bool
) -> None:
    from avloc.train import fit, read_record

    if not resume and not overwrite and (out / "record.json").exists():
        talk.say(f"{out} is a finished run, left as it is; --overwrite trains it anew")
        return
    if not resume and not overwrite and (out / "state.pt").exists():
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


def _localize(
    talk: Talk,
    run: Path,
    inputs: list[str],
    out: Path,
    formats: str,
    overrides: dict[str, Any],
    sets: list[str],
    dry_run: bool,
) -> tuple[Failure, ...]:
    from avloc.config import parse_overrides
    from avloc.pipeline import find_inputs, load, localize_all, with_options

    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in ("json", "csv")]
    if unknown or not wanted:
        raise InputError(f"-f takes json, csv or both with a comma, got {formats!r}")
    paths = find_inputs(inputs)
    if dry_run:
        talk.say(f"would localize {len(paths)} videos with {run}, to {out}")
        return ()
    localizer = with_options(load(run), {**parse_overrides(sets), **overrides})
    with talk.progress("localize") as progress:
        found, failures = localize_all(localizer, paths, out, wanted, progress)
    total = sum(len(result.detections) for result in found.values())
    talk.say(f"{total} detections in {len(found)} videos, {len(failures)} failed; they are in {out}")
    _say_failures(talk, failures, out)
    talk.summary({"videos": len(found), "detections": total, "failures": [vars(f) for f in failures]})
    if not found:
        raise InputError(f"none of {len(paths)} videos could be localized; the reasons are in {out / 'failures.csv'}")
    return failures


def _say_failures(talk: Talk, failures: tuple[Failure, ...], out: Path) -> None:
    for failure in failures[:20]:
        talk.err.print(f"failed: {failure.video_id}: {failure.reason}", markup=False, soft_wrap=True)
    if len(failures) > 20:
        talk.err.print(f"... and {len(failures) - 20} more in {out / 'failures.csv'}", markup=False)


def _say_evaluation(talk: Talk, result: Evaluation, per_class: bool) -> None:
    from avloc.console import percent

    columns = ["mAP in percent", *(f"{t:.2f}" for t in result.scores.t_iou), "average"]
    rows = [
        [name, *map(percent, scores.mean_ap), percent(scores.average_mean_ap)]
        for name, scores in (("detections", result.scores), ("whole video, true class", result.trivial))
    ]
    if per_class:
        rows += [
            [label, *map(percent, result.scores.ap[:, i]), percent(result.scores.ap[:, i].mean())]
            for i, label in enumerate(result.scores.classes)
        ]
    talk.table("", columns, rows)
    if result.snippets is not None:
        s, e = result.snippets.snippets, result.snippets.events
        talk.say(
            f"snippets: accuracy {percent(s.accuracy)}, background recall {percent(s.background_recall)}, "
            f"foreground recall {percent(s.foreground_recall)}; event F1 {percent(e.mean_f1)}"
        )
    for note in result.notes:
        talk.say(f"note: {note}")
    if result.never_found:
        names = ", ".join(result.never_found[:8]) + (", ..." if len(result.never_found) > 8 else "")
        talk.say(f"note: {len(result.never_found)} classes without a single detection, AP 0: {names}")


def _thresholds(text: str) -> list[float]:
    import numpy as np

    try:
        first, last, step = (float(part) for part in text.split(":"))
        count = round((last - first) / step) + 1
        return [float(t) for t in np.linspace(first, last, count)]
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"--t-iou takes first:last:step such as 0.5:0.95:0.05, got {text!r}") from error


def _exit_partial(failures: tuple[Failure, ...]) -> None:
    if failures:
        raise typer.Exit(3)
