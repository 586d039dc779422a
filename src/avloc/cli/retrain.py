"""avloc retrain: from corrections to a new result beside the old one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.look import Run, Source
from avloc.cli.shared import Json, make_talk
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.evaluate.changes import VideoChanges
    from avloc.workflow.retrain import Retrained

_LISTED = 20


def retrain(
    detections: Source,
    corrections: Annotated[
        Path | None, typer.Option(help="Corrections from `avloc view`; corrections.json in the detections if absent.")
    ] = None,
    run: Run = None,
    features: Annotated[Path | None, typer.Option(help="Features of the videos; those beside the run.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="labels.csv that the run was trained on; near the detections if absent.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output folder; retrained-1, -2, ... beside the detections.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train on with corrections, and localize the videos anew.

    What the page of `avloc view` does at a press of "Retrain". The old result stays as it is.

    avloc retrain out/detections
    avloc retrain detections --run run --labels labels.csv -o retrained
    """
    from avloc.formats.retraining import corrections_of
    from avloc.report.retraining import find_inputs, next_folder, retrained_home
    from avloc.report.sources import PageSources
    from avloc.workflow.retrain import Cancelled
    from avloc.workflow.retrain import retrain as work

    talk = make_talk(as_json)
    inputs = find_inputs(PageSources(detections, run=run, features=features, labels=labels))
    folder = out or next_folder(retrained_home(detections))
    saved = corrections or corrections_of(detections)
    try:
        result = talk.watch("retrain", lambda progress: work(inputs, saved, folder, progress, talk.say))
    except Cancelled:
        talk.say("cancelled; the old result is unchanged")
        raise typer.Exit(130) from None
    _say(talk, result)


def _say(talk: Talk, result: Retrained) -> None:
    talk.notes(result.notes)
    changed = {video: of for video, of in result.changes.items() if of.moved or of.added or of.lost}
    order = sorted(changed, key=lambda video: -_count(changed[video]))[:_LISTED]
    rows = [[video, *_cells(changed[video])] for video in order]
    if rows:
        title = f"what changed in {pluralize(len(changed), 'video')} of {len(result.changes)}"
        talk.table(title, ["video", "same", "moved", "by s", "added", "lost"], rows)
    else:
        talk.say(f"nothing changed in {pluralize(len(result.changes), 'video')}")
    talk.say(f"new result: {result.folder / 'detections'}; next: avloc view {result.folder / 'detections'}")
    talk.summary(
        {
            "folder": str(result.folder),
            "changes": {
                video: {"same": c.same, "moved": len(c.moved), "added": len(c.added), "lost": len(c.lost)}
                for video, c in result.changes.items()
            },
        }
    )


def _cells(changes: VideoChanges) -> list[str]:
    moved = f"{changes.shift_s:.2f}" if changes.moved else "-"
    return [str(changes.same), str(len(changes.moved)), moved, str(len(changes.added)), str(len(changes.lost))]


def _count(changes: VideoChanges) -> int:
    return len(changes.moved) + len(changes.added) + len(changes.lost)
