"""Which videos to correct next, and where to look in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from avloc.errors import InputError
from avloc.formats.failures import Failure
from avloc.formats.labels import LabelRow, LabelTable, match_videos
from avloc.interchange.corrections import read_correction_files
from avloc.metrics.snippets import runs
from avloc.pipeline.localizer import Localizer, load
from avloc.pipeline.many import find_inputs, localize_each
from avloc.pipeline.subset import find_labels, select_subset
from avloc.system.atomic import atomic_write, sweep_beside
from avloc.system.text import csv_text, pluralize, readable
from avloc.types import ActivationSequence, Progress, Segment

COLUMNS = ("rank", "video", "score", "start_s", "end_s", "path")


@dataclass(frozen=True)
class Suggestion:
    """A video to correct.

    Args:
        score: how far it is from the videos before it, and from those checked, as `rank` measures it.
        spans: times to look at first, the most uncertain first.
        path: its video or feature file; None if unknown.
    """

    video_id: str
    score: float
    spans: tuple[Segment, ...]
    path: Path | None = None


@dataclass(frozen=True)
class Suggestions:
    """Videos to correct, the most useful first.

    Args:
        notes: which videos were left out.
    """

    videos: tuple[Suggestion, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write a table with the columns rank,video,score,start_s,end_s,path; a row per time to look at."""
        rows: list[tuple[object, ...]] = [COLUMNS]
        for rank, video in enumerate(self.videos, start=1):
            where = "" if video.path is None else readable(video.path)
            for span in video.spans:
                times = f"{span.start_s:.3f}", f"{span.end_s:.3f}"
                rows.append((rank, video.video_id, f"{video.score:.4f}", *times, where))
        sweep_beside(path)
        atomic_write(path, csv_text(rows))


def entropy(activations: ActivationSequence) -> Float[np.ndarray, " l"]:
    """Entropy of p (Eq. 5) per snippet, as a share of its maximum log(1 + C)."""
    p = np.clip(activations.probs, 1e-12, 1)
    return -(p * np.log(p)).sum(axis=1) / np.log(p.shape[1])


def rank(
    found: Iterable[ActivationSequence], count: int = 10, checked: Iterable[ActivationSequence] = ()
) -> tuple[Suggestion, ...]:
    """The `count` videos to correct next, from their activations: those least like the checked ones and each other.

    A video is described by the mean of p over time, and taken if it is farthest from all taken before
    (`farthest_first`). docs/decisions.md, Corrections, compares measures.

    Args:
        checked: activations of the videos that are checked already, by the same run.
    """
    videos, known = sorted(found, key=lambda one: one.video_id), list(checked)
    if not videos:
        return ()
    points = np.stack([one.probs.mean(axis=0) for one in (*videos, *known)])
    order, distance = farthest_first(points, np.arange(len(videos), len(points)), count)
    return tuple(
        Suggestion(videos[k].video_id, float(d), _spans(videos[k], entropy(videos[k])))
        for k, d in zip(order, distance, strict=True)
    )


def farthest_first(
    points: Float[np.ndarray, "n d"], taken: Int[np.ndarray, " k"], count: int
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """At most `count` points, each the farthest from all taken before, and their distances.

    This is the greedy solution of k-centre (Gonzalez 1985), as in Sener and Savarese, "Active learning for
    convolutional neural networks: a core-set approach", ICLR 2018. Without `taken`, the first is the one farthest from
    the mean.
    """
    distance = np.full(len(points), np.inf)
    for k in taken:
        distance = np.minimum(distance, np.linalg.norm(points - points[k], axis=1))
    away = np.linalg.norm(points - points.mean(axis=0), axis=1)
    free = np.ones(len(points), dtype=bool)
    free[taken] = False
    order, distances = [], []
    for _ in range(min(count, int(free.sum()))):
        measure = distance if np.isfinite(distance).all() else away
        best = int(np.where(free, measure, -1.0).argmax())
        order.append(best)
        distances.append(float(measure[best]))
        free[best] = False
        distance = np.minimum(distance, np.linalg.norm(points - points[best], axis=1))
    return np.array(order, dtype=np.int64), np.array(distances)


def suggest(
    run: Path | Localizer,
    inputs: Sequence[str | Path],
    count: int = 10,
    corrections: Sequence[Path] = (),
    labels: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Suggestions:
    """The videos whose correction should teach a run most, and times in them.

    Args:
        inputs: videos or feature files: files, folders, globs.
        count: number of videos.
        corrections: files of corrections so far; the videos checked in them are left out.
        labels: labels.csv or ground truth, whose training videos alone are suggested; None: the labels.csv in or next
            to the inputs if there is one, else every input is.

    Raises:
        InputError: there are no inputs, no training videos, or nothing is left to correct. Otherwise as `load` and
            `read_correction_files`.
    """
    if count < 1:
        raise InputError(f"expected a number of videos of 1 or more, got {count}")
    localizer = run if isinstance(run, Localizer) else load(run, device)
    paths, notes = _training_videos(find_inputs(inputs), inputs, labels)
    found: dict[str, ActivationSequence] = {}
    files: dict[str, Path] = {}
    failures = []
    for done, (path, result) in enumerate(localize_each(localizer, paths, in_order=True), start=1):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            found[result.video_id], files[result.video_id] = result.activations, path
        if progress is not None:
            progress(done, len(paths), path.name)
    given_files = read_correction_files(corrections)
    checked = tuple(LabelRow(name, (), "") for name, one in given_files.videos.items() if one.checked)
    known = set(match_videos(LabelTable(checked), found).found)
    if known:
        notes = (*notes, f"left out {pluralize(len(known), 'video')} checked already")
    left = [seen for name, seen in found.items() if name not in known]
    if not left and not failures:
        raise InputError(f"nothing is left to correct: all of {pluralize(len(found), 'video')} are checked")
    ranked = rank(left, count, [found[name] for name in known])
    own = tuple(Suggestion(one.video_id, one.score, one.spans, files[one.video_id]) for one in ranked)
    return Suggestions(own, tuple(failures), (*given_files.notes, *notes))


def _training_videos(
    paths: Sequence[Path], inputs: Sequence[str | Path], labels: Path | None
) -> tuple[Sequence[Path], tuple[str, ...]]:
    """The inputs that are training videos by the labels; all without labels."""
    if labels is None:
        try:
            labels = find_labels(inputs)
        except InputError:
            return paths, ()
    chosen, notes = select_subset(paths, "train", labels)
    return chosen, notes[1:]


def _spans(activations: ActivationSequence, curve: Float[np.ndarray, " l"]) -> tuple[Segment, ...]:
    """Up to three runs of snippets of more than half the curve's range, the highest mean first."""
    high = runs(curve >= (curve.max() + curve.min()) / 2)
    best = sorted(high.tolist(), key=lambda run: -float(curve[run[0] : run[1]].mean()))[:_SPANS]
    return tuple(activations.grid.segment(first, stop, activations.duration_s) for first, stop in best)


_SPANS = 3
