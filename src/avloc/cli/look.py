"""avloc report, view, review, plot: look at results and correct them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.shared import FigureFormats, Json, Out, Seed, exit_partial, make_talk, parse_suffixes
from avloc.errors import InputError
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.report.page.build import BuiltPage
    from avloc.report.serve import PageServer
    from avloc.report.sources import PageSources


class Proxy(StrEnum):
    auto = "auto"
    always = "always"
    never = "never"


class Order(StrEnum):
    score = "score"
    random = "random"
    uncertain = "uncertain"


class Cut(StrEnum):
    ENCODE = "encode"
    COPY = "copy"


Source = Annotated[Path, typer.Argument(help="Run folder, folder from `avloc localize`, or segments.json or .csv.")]
Truth = Annotated[Path | None, typer.Option("--ground-truth", help="ActivityNet JSON, ELAN, BORIS, VIA, VTT, CSV.")]
Videos = Annotated[Path | None, typer.Option(help="Folder of the videos, if not recorded with the detections.")]
Compare = Annotated[list[Path], typer.Option(metavar="<path>", help="Further detections to show; repeatable.")]
Audio = Annotated[Path | None, typer.Option(help="Detections of an audio-only run, to show which modality decided.")]
Visual = Annotated[Path | None, typer.Option(help="Detections of a visual-only run, likewise.")]
Run = Annotated[
    Path | None, typer.Option(help="Audio-visual run, to localize with each modality alone; needs its features.")
]
Features = Annotated[Path | None, typer.Option(help="Features of the videos; those beside the run if absent.")]
ProxyOption = Annotated[
    Proxy, typer.Option(help="Make H.264 copies of videos that browsers cannot play, of all, or of none.")
]
Labels = Annotated[
    Path | None, typer.Option(help="labels.csv, to show beside what was found; the one in the detections if absent.")
]
CopyMedia = Annotated[bool, typer.Option("--copy-media", help="Copy the videos into the page.")]
Title = Annotated[str, typer.Option(help="Title of the page.")]
Jobs = Annotated[int, typer.Option("--workers", min=1, help="Processes that make thumbnails.")]


def report(
    detections: Source,
    out: Out,
    ground_truth: Truth = None,
    videos: Videos = None,
    compare: Compare = [],  # noqa: B006
    audio: Audio = None,
    visual: Visual = None,
    run: Run = None,
    features: Features = None,
    proxy: ProxyOption = Proxy.auto,
    copy_media: CopyMedia = False,
    labels: Labels = None,
    title: Title = "",
    workers: Jobs = 1,
    as_json: Json = False,
) -> None:
    """Make an interactive HTML page of detections.

    Shows videos, detections, activations and ground truth on one time axis; opens from disk.

    avloc report detections --videos videos -o page
    avloc report detections --ground-truth truth.json --compare other -o page
    """
    from avloc.report.sources import PageSources

    talk = make_talk(as_json)
    sources = PageSources(
        detections,
        ground_truth,
        videos=videos,
        compare=tuple(compare),
        run=run,
        features=features,
        audio=audio,
        visual=visual,
        title=title,
        labels=labels,
    )
    say_page(talk, _build(talk, sources, out, proxy, "copy" if copy_media else "link", workers))
    talk.say(f"page: {out / 'index.html'}; open it in a browser, or run: avloc view {detections}")


def view(
    detections: Source,
    ground_truth: Truth = None,
    videos: Videos = None,
    compare: Compare = [],  # noqa: B006
    audio: Audio = None,
    visual: Visual = None,
    run: Run = None,
    features: Features = None,
    proxy: ProxyOption = Proxy.auto,
    corrections: Annotated[
        Path | None, typer.Option(help="File for corrections; corrections.json beside the detections if absent.")
    ] = None,
    suggest: Annotated[
        int, typer.Option(min=0, help="Number of training videos to suggest for correction, listed first.")
    ] = 10,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    labels: Labels = None,
    title: Title = "",
    workers: Jobs = 1,
) -> None:
    """View and correct detections or draft labels, and retrain.

    The page is served to this machine only, until Ctrl-C; a retraining goes on after that.

    avloc view detections --ground-truth truth.json
    avloc view detections --run run --features features --labels labels.csv
    avloc view tags.csv
    """
    from avloc.formats.retraining import corrections_of
    from avloc.formats.tags import is_tags
    from avloc.report.retraining import to_teach
    from avloc.report.serve import PageServer, Retrainer
    from avloc.report.sources import PageSources
    from avloc.system.scratch import scratch_folder

    talk = make_talk()
    if is_tags(detections):
        _view_tags(talk, detections, videos, proxy, port, browser, workers)
        return
    saved = corrections or corrections_of(detections)
    if saved.exists() and not saved.is_file():
        raise InputError(f"{saved}: expected a file for corrections; choose another --corrections")
    sources = PageSources(
        detections,
        ground_truth,
        videos=videos,
        compare=tuple(compare),
        run=run,
        features=features,
        audio=audio,
        visual=visual,
        title=title,
        labels=labels,
        corrections=saved if saved.is_file() else None,
    )
    sources = to_teach(sources, suggest)
    with scratch_folder("avloc-view-") as folder:
        served: dict[str, Path] = {}
        jobs = Retrainer(sources, saved, folder, served, proxy.value, workers)
        server = PageServer(folder, served, saved, port, jobs=jobs)  # before the long work: the port may be in use
        built = _build(talk, sources, folder, proxy, "serve", workers)
        say_page(talk, built)
        served.update(built.served)
        _serve(talk, server, f"corrections are saved to {server.corrections}", browser)


def _view_tags(
    talk: Talk, table: Path, videos: Path | None, proxy: Proxy, port: int, browser: bool, workers: int
) -> None:
    from avloc.report.serve import PageServer
    from avloc.report.tags.build import build_tags_page
    from avloc.system.scratch import scratch_folder

    with scratch_folder("avloc-view-") as folder:
        server = PageServer(folder, port=port, tags=table)
        with talk.progress("page") as progress:
            built = build_tags_page(table, folder, videos, proxy.value, "serve", workers, progress)
        say_page(talk, built)
        server.served = built.served
        _serve(talk, server, f"what you tick is saved to {table} by the button Save", browser)


def _serve(talk: Talk, server: PageServer, saved: str, browser: bool) -> None:
    talk.say(f"page: {server.url}, until Ctrl-C; {saved}")
    if browser:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.run()
    except KeyboardInterrupt:
        talk.say("closed")


def _build(talk: Talk, sources: PageSources, out: Path, proxy: Proxy, media: str, workers: int) -> BuiltPage:
    from avloc.report.page.build import build_page

    with talk.progress("page") as progress:
        return build_page(sources, out, proxy.value, media, workers, progress)  # type: ignore[arg-type]


def say_page(talk: Talk, built: BuiltPage) -> None:
    talk.notes(built.notes())
    counts = f"{pluralize(built.count, 'video')}, {pluralize(built.proxies, 'proxy file')}"
    talk.say(f"{counts}, {len(built.problems)} with missing media")
    page, problems = str(built.folder), dict(built.problems)
    talk.summary({"page": page, "videos": built.count, "proxies": built.proxies, "problems": problems})


def review(
    detections: Source,
    out: Out,
    videos: Videos = None,
    per_class: Annotated[int, typer.Option(min=1, help="Maximum clips per class.")] = 20,
    by: Annotated[
        Order, typer.Option(help="Choose by highest score, at random, or least certain first.")
    ] = Order.score,
    margin_s: Annotated[float, typer.Option(min=0, help="Seconds added before and after.")] = 0.5,
    cut: Annotated[Cut, typer.Option("--cut", help="encode: exact; copy: fast, starts at a key frame.")] = Cut.ENCODE,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Cut clips of detections to review, and a table to fill in.

    avloc review detections --videos videos -o clips
    avloc review detections -o clips --by uncertain --per-class 10
    """
    cut_clips(make_talk(as_json), detections, out, videos, per_class, by.value, margin_s, cut.value, seed)


def cut_clips(
    talk: Talk,
    detections: Path,
    out: Path,
    videos: Path | None,
    per_class: int | None = None,
    by: str = "score",
    margin_s: float = 0.5,
    cut: str = "encode",
    seed: Seed = 0,
    found: bool = False,
) -> None:
    """Shared with `avloc localize --clips`, which cuts only what counts as `found`."""
    from avloc.formats.results import find_results
    from avloc.report.clips import review as cut_all
    from avloc.report.sources import video_files

    run = find_results(detections).read()
    if found:
        run = run.likely()
    files = video_files(videos, run)
    with talk.progress("clips") as progress:
        clips, failed = cut_all(run, files, out, per_class, by, margin_s, cut, seed, progress)  # type: ignore[arg-type]
    talk.few(f"failed: {video}: {reason}" for video, reason in failed.items())
    talk.say(f"{pluralize(len(clips), 'clip')} and clips.csv written to {out}; fill in yes or no in its last column")
    talk.summary({"clips": len(clips), "failed": failed})
    if failed and not clips:
        raise InputError(f"no clip could be cut, {pluralize(len(failed), 'video')} failed; see above")
    exit_partial(failed)


def plot(
    detections: Source,
    out: Out,
    ground_truth: Truth = None,
    compare: Compare = [],  # noqa: B006
    run: Annotated[Path | None, typer.Option(help="Run folder; the one beside the detections if absent.")] = None,
    features: Features = None,
    videos: Videos = None,
    formats: FigureFormats = "pdf,png",
    limit: Annotated[int, typer.Option(min=0, help="Maximum videos with timeline and attention figures.")] = 6,
    as_json: Json = False,
) -> None:
    """Draw figures of a result for a paper.

    Draws mAP over t-IoU, AP per class, confusion, training curves, timelines and cross-attention.

    avloc plot detections --ground-truth truth.json -o figures
    """
    from avloc.report.plots import plot_all
    from avloc.report.sources import PlotSources

    talk = make_talk(as_json)
    sources = PlotSources(detections, ground_truth, videos=videos, compare=tuple(compare), run=run, features=features)
    written, notes = plot_all(sources, out, parse_suffixes(formats), limit)
    talk.notes(notes)
    talk.say(f"{pluralize(len(written), 'file')} written to {out}")
    talk.summary({"files": [str(path) for path in written], "notes": notes})
    if not written:
        raise InputError(f"{detections}: nothing to draw; see above")
