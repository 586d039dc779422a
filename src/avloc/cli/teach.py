"""Command: suggest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avloc.cli.shared import Corrections, Device, Json, exit_partial, failure_lines, make_talk
from avloc.system.text import pluralize


def suggest(
    run: Annotated[Path, typer.Argument(help="Run folder, from `avloc train`.")],
    inputs: Annotated[list[str], typer.Argument(help="Videos or feature files: files, folders, globs.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of videos.")] = 10,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Also write a table (CSV).", show_default=False)
    ] = None,
    corrections: Corrections = [],  # noqa: B006
    labels: Annotated[
        Path | None,
        typer.Option(help="Suggest only its training videos; labels.csv beside the inputs if absent, else all inputs."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Suggest videos to correct next, and where to look.

    The score is the distance of a video's mean class probabilities from those of the nearest video above it or checked:
    the larger, the less alike. Videos checked in --corrections are left out. docs/teach.md has the whole way, from
    corrections to a better model.

    avloc suggest run features/ -n 10
    avloc suggest run videos/ --corrections corrections.json -o suggest.csv
    """
    from avloc.pipeline.suggest import suggest as suggest_videos

    talk = make_talk(as_json)
    with talk.progress("suggest") as progress:
        found = suggest_videos(run, inputs, count, corrections, labels, device, progress)
    if out is not None:
        found.save(out)
    talk.notes(found.notes)
    rows = [
        [
            str(place),
            video.video_id,
            f"{video.score:.3f}",
            ", ".join(f"{span.start_s:.1f}-{span.end_s:.1f} s" for span in video.spans),
        ]
        for place, video in enumerate(found.videos, start=1)
    ]
    title = f"{pluralize(len(rows), 'video')} to correct next (score: distance to the nearest one above or checked)"
    talk.table(title, ["", "video", "score", "look at"], rows)
    if out is not None:
        talk.say(f"written to {out}")
    talk.few(failure_lines(found.failures))
    videos = [
        {
            "video": video.video_id,
            "score": video.score,
            "spans": [[span.start_s, span.end_s] for span in video.spans],
            "path": None if video.path is None else str(video.path),
        }
        for video in found.videos
    ]
    talk.summary({"videos": videos, "failures": [vars(failure) for failure in found.failures]})
    exit_partial(found.failures)
