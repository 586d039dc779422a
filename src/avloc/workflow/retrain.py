"""From corrections to a new result beside the old one: train on, localize the same videos, compare.

retrain(RetrainInputs(Path("out/detections"), Path("out/run"), Path("out/features"), Path("labels.csv")),
        Path("out/detections/corrections.json"), Path("out/retrained-1"))
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import AvlocError, InputError, first_few
from avloc.formats.corrections import VideoCorrections, read_corrections, write_corrections
from avloc.formats.labels import LabelRow, LabelTable, match_videos, read_labels
from avloc.formats.results import ResultsFolder, find_results
from avloc.formats.retraining import (
    CANCELLED,
    FAILED,
    FINISHED,
    LEARNED_FILE,
    RUNNING,
    RetrainState,
    cancel_asked,
    clear_cancel,
    relative,
    write_state,
)
from avloc.system.atomic import atomic_write
from avloc.system.locks import folder_lock
from avloc.system.text import pluralize
from avloc.types import Progress, Say
from avloc.vocabulary import Subset

if TYPE_CHECKING:
    from avloc.evaluate.changes import VideoChanges
    from avloc.report.retraining import RetrainInputs

_EVERY_S = 0.3
"""Interval at which the state is written."""


class Cancelled(Exception):
    """The file `cancel` has appeared in the folder."""


@dataclass(frozen=True)
class Retrained:
    """A new result.

    Args:
        changes: {video_id: changes of the detections that count as found}.
        notes: what training and localization remarked.
    """

    folder: Path
    changes: Mapping[str, VideoChanges]
    notes: tuple[str, ...]


def retrain(
    inputs: RetrainInputs,
    corrections: Path,
    out: Path,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Retrained:
    """Train from the run's weights on labels and corrections, and localize the videos of the old result anew.

    Writes out/run, out/detections, out/learned.json with the corrections that were used, and out/retrain.json with the
    state meanwhile. Corrections of videos that are not for training are left out.

    Args:
        progress: called with (done, total, text), first of training, then of localization.

    Raises:
        AvlocError: as training and localization do; InputError: there are no corrections of training videos, or another
            process works in `out`. Cancelled: it was asked to stop.
    """
    if not corrections.is_file():
        raise InputError(f"{corrections}: expected corrections, there are none yet; make some with `avloc view`")
    with folder_lock(out, "the new result"):
        videos, left_out = learnable(corrections, inputs.labels)
        if not videos:
            raise InputError(
                f"{corrections}: expected corrections of training videos, got none of videos for training in "
                f"{inputs.labels}; correct some of those"
            )
        learned = tuple(video.video_id for video in videos if video.checked)
        paths = relative(inputs.detections, out), relative(corrections, out)
        first = RetrainState(RUNNING, *paths, "train", learned=learned)
        report = _Report(out, first, progress)
        try:
            write_corrections(out / LEARNED_FILE, videos)
            result = _retrain(inputs, out, report, say)
        except Cancelled:
            report.end(CANCELLED)
            raise
        except BaseException as error:
            words = str(error) if isinstance(error, AvlocError) else f"{type(error).__name__}: {error}"
            report.end(CANCELLED if isinstance(error, KeyboardInterrupt) else FAILED, words)
            raise
        result = replace(result, notes=(*left_out, *result.notes))
        report.end(FINISHED, " ".join(result.notes))
        return result


def _retrain(inputs: RetrainInputs, out: Path, report: _Report, say: Say | None) -> Retrained:
    from avloc.evaluate.changes import result_changes
    from avloc.pipeline.folder import localize_folder
    from avloc.train.resume import train
    from avloc.train.warm import continued

    before = find_results(inputs.detections).read()
    config = continued(inputs.run)
    train(
        inputs.features, inputs.labels, out / "run", config, False, True, report.of("train"), say, [out / LEARNED_FILE]
    )
    overrides = {f"localize.{key}": value for key, value in before.options.items()}
    sought, absent = _inputs_of(inputs.features, before.videos(), before.paths)
    media = [str(path) for path in before.paths.values()] or None
    detections = out / "detections"
    result = localize_folder(
        out / "run", sought, detections, overrides=overrides, videos=media, progress=report.of("localize")
    )
    atomic_write(ResultsFolder(detections).labels, inputs.labels.read_bytes())
    notes = [*result.notes, *absent, *(f"{f.video_id}: {f.reason}" for f in result.failures)]
    after = find_results(detections).read()
    return Retrained(out, result_changes(before.likely().detections, after.likely().detections), tuple(notes))


def learnable(path: Path, labels: Path) -> tuple[list[VideoCorrections], list[str]]:
    """The corrections of training videos, and a note on the others."""
    found = read_corrections(path)[0]
    table = read_labels(labels)
    subsets = {row.video_id: row.subset for row in table.rows}
    asked = LabelTable(tuple(LabelRow(video.video_id, (), "") for video in found))
    train = {row.video_id for name, row in match_videos(asked, subsets).found.items() if subsets[name] == "train"}
    chosen = [v for v in found if v.video_id in train and v.subset in ("", Subset.TRAINING.value)]
    others = [v.video_id for v in found if v not in chosen]
    words = f"{pluralize(len(others), 'corrected video')} not learned, not for training: {first_few(others, 3)}."
    return chosen, [words] if others else []


def _inputs_of(features: Path, videos: tuple[str, ...], paths: Mapping[str, Path]) -> tuple[list[Path], list[str]]:
    """The features, else the file, of each video, and a note on those that have neither."""
    from avloc.formats.features import FeatureStore

    store = FeatureStore(features)
    known = set(store.ids)
    sought = [store.path(video) if video in known else paths[video] for video in videos if video in known | set(paths)]
    absent = [video for video in videos if video not in known and video not in paths]
    if not sought:
        raise InputError(
            f"{features}: none of the {pluralize(len(videos), 'video')} has features there; give --features"
        )
    words = f"{pluralize(len(absent), 'video')} left out, without features and file: {', '.join(absent[:3])}"
    return sought, [words] if absent else []


class _Report:
    """Writes the state at intervals, and stops the work when asked to."""

    def __init__(self, out: Path, state: RetrainState, progress: Progress | None) -> None:
        self.out, self.state, self.progress = out, state, progress
        self.last = time.monotonic()
        write_state(out, state)

    def of(self, step: str) -> Progress:
        self.state = replace(self.state, step=step, done=0, total=0)
        write_state(self.out, self.state)

        def report(done: int, total: int, text: str) -> None:
            if cancel_asked(self.out):
                raise Cancelled
            self.state = replace(self.state, done=done, total=total)
            if time.monotonic() - self.last >= _EVERY_S:
                self.last = time.monotonic()
                write_state(self.out, self.state)
            if self.progress is not None:
                self.progress(done, total, text)

        return report

    def end(self, status: str, message: str = "") -> None:
        clear_cancel(self.out)
        write_state(self.out, replace(self.state, status=status, message=message))
