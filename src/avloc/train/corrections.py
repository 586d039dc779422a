"""Corrections as supervision: of which training videos they are, and the targets of their snippets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from avloc.errors import InputError, first_few, with_neighbours
from avloc.formats.corrections import VideoCorrections
from avloc.formats.labels import LabelRow, LabelTable, match_videos
from avloc.interchange.corrections import CorrectionFiles
from avloc.system.text import fingerprint, pluralize
from avloc.types import SnippetGrid
from avloc.vocabulary import Subset

_LISTED = 5


@dataclass(frozen=True)
class Assigned:
    """Corrections by training video.

    Args:
        videos: {video_id of the features: its corrections}.
        rows: {video_id of the features: its row of labels}, the labels following from the corrections.
        notes: what has changed in the labels, and what was left out.
    """

    videos: Mapping[str, VideoCorrections]
    rows: Mapping[str, LabelRow]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Digest of everything stated; "" without corrections."""
        return fingerprint({name: repr(one) for name, one in self.videos.items()}) if self.videos else ""


def assign(
    corrections: CorrectionFiles, table: LabelTable, rows: Mapping[str, LabelRow], available: Sequence[str]
) -> Assigned:
    """Match corrections with training videos; the labels of a corrected video follow from its corrections.

    Labels of a checked video become the classes stated to occur; to those of another video they are added.

    Args:
        table: all labels. rows: {video_id of the features: its row}, videos of all subsets.
        available: video ids of the features.

    Raises:
        InputError: a corrected video is not labelled or not a training video, or a label is empty or "background".
    """
    for video, one in corrections.videos.items():
        if wrong := [label for label in one.labels if label.strip().lower() in ("", "background")]:
            raise InputError(
                f"{_files(corrections, [video])}: {video!r}: {wrong[0]!r} is not a class; leave background without a "
                "segment, and give every segment a label"
            )
    named = {row.video_id: name for name, row in rows.items()}
    subsets = {row.video_id: row.subset for row in table.rows} | {name: row.subset for name, row in rows.items()}
    asked = LabelTable(tuple(LabelRow(video, (), "") for video in corrections.videos))
    match = match_videos(asked, subsets)
    unlabelled = set(
        match_videos(LabelTable(tuple(r for r in asked.rows if r.video_id in match.missing)), available).found
    )
    if match.missing:
        raise InputError(
            f"{_files(corrections, match.missing)}: {pluralize(len(match.missing), 'corrected video')} without labels: "
            f"{with_neighbours(match.missing, subsets)}; "
            + ("add a row to the labels" if unlabelled else "correct the name, or add a row to the labels")
        )
    other = {row.video_id: subsets[name] for name, row in match.found.items() if subsets[name] != "train"}
    both = {
        row.video_id: corrections.videos[row.video_id].subset
        for row in match.found.values()
        if corrections.videos[row.video_id].subset not in ("", Subset.TRAINING.value)
    }
    for which, whose in ((other, "by its labels"), (both, "by the corrections, train by its labels")):
        if which:
            names = first_few([f"{video} ({subset} {whose})" for video, subset in which.items()], _LISTED)
            raise InputError(
                f"{_files(corrections, which)}: corrections must be of training videos, got {names}; remove "
                f"{'it' if len(which) == 1 else 'them'} from the corrections"
            )
    videos: dict[str, VideoCorrections] = {}
    changed: dict[str, LabelRow] = {}
    notes: list[str] = []
    for name, asked_row in match.found.items():
        name = named.get(name, name)
        one = corrections.videos[asked_row.video_id]
        if name in videos:
            other_name = videos[name].video_id
            raise InputError(
                f"{_files(corrections, [other_name, one.video_id])}: {other_name!r} and {one.video_id!r} are the same "
                "video; keep one name"
            )
        if name not in rows:
            notes.append(f"{one.video_id} is corrected but has no features, left out")
            continue
        before = rows[name].labels
        after = one.labels if one.checked else tuple(sorted({*before, *one.labels}))
        videos[name], changed[name] = one, replace(rows[name], labels=after)
    notes += _label_notes(rows, changed, table.classes)
    return Assigned(videos, {**rows, **changed}, tuple(notes))


def _files(corrections: CorrectionFiles, videos: Mapping[str, str] | Sequence[str]) -> str:
    return first_few(list(dict.fromkeys(corrections.sources[video] for video in videos)), 2)


def _label_notes(before: Mapping[str, LabelRow], after: Mapping[str, LabelRow], classes: Sequence[str]) -> list[str]:
    told = []
    for name, row in after.items():
        own = before[name].labels
        signs = [f"+{label}" for label in row.labels if label not in own]
        signs += [f"-{label}" for label in own if label not in row.labels]
        if signs:
            told.append(f"{name} ({', '.join(signs)})")
    notes = (
        [f"corrections change the labels of {pluralize(len(told), 'video')}: {first_few(told, _LISTED)}"]
        if told
        else []
    )
    new = sorted({label for row in after.values() for label in row.labels} - set(classes))
    if new:
        notes.append(f"{pluralize(len(new), 'new class')} from corrections: {with_neighbours(new, classes)}")
    return notes


def snippet_truth(
    video: VideoCorrections, grid: SnippetGrid, duration_s: float, classes: Sequence[str]
) -> Float[np.ndarray, "l c1"]:
    """Targets of a corrected video: the share of each snippet's cell that is known to be background or a class.

    Where several classes occur at once, each gets an equal part. Rows sum to the known share of the cell, in [0, 1]: 1
    throughout a checked video, 0 where nothing is stated. A deleted detection is background where no annotation covers
    it. A point stands for the unknown part of its snippet. The last cell ends with the video, as in
    `SnippetGrid.segment`.
    """
    edges = np.array([float(grid.edge_s(i)) for i in range(grid.count + 1)])
    edges[-1] = duration_s if duration_s > edges[-2] else edges[-1]
    ends = [time for i in (*video.present, *video.deleted) for time in (i.start_s, i.end_s)]
    cuts = np.unique(np.concatenate([edges, np.clip(ends, edges[0], edges[-1])]))
    middle, length = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    cell = np.searchsorted(edges, middle, "right") - 1
    known = np.full(len(middle), video.checked)
    occurs = np.zeros((len(middle), 1 + len(classes)))
    for i in video.deleted:
        known |= (i.start_s <= middle) & (middle < i.end_s)
    for i in video.present:
        occurs[(i.start_s <= middle) & (middle < i.end_s), 1 + classes.index(i.label)] = 1
    occurs[:, 0] = known & ~occurs.any(axis=1)
    part = occurs / np.maximum(occurs.sum(axis=1, keepdims=True), 1)
    truth = np.zeros((grid.count, 1 + len(classes)))
    np.add.at(truth, cell, part * (length / np.diff(edges)[cell])[:, None])
    stated: dict[int, set[int]] = {}
    for point in video.points:
        at = int(np.clip(np.searchsorted(edges, point.time_s, "right") - 1, 0, grid.count - 1))
        stated.setdefault(at, set()).add(1 + classes.index(point.label))
    for at, columns in stated.items():
        truth[at, sorted(columns)] += max(0.0, 1 - truth[at].sum()) / len(columns)
    return truth


def beyond_end(name: str, video: VideoCorrections, duration_s: float) -> str:
    """A note on annotations that end after the video; "" if there are none.

    Raises:
        InputError: an annotation, deleted detection or point starts after the end.
    """
    spans = [(i.start_s, i.end_s, i.label) for i in (*video.present, *video.deleted)]
    late = [span for span in (*spans, *((p.time_s, p.time_s, p.label) for p in video.points)) if span[0] >= duration_s]
    if late:
        raise InputError(
            f"corrections of {name}: {late[0][2]!r} at {late[0][0]:g} s is beyond the end of the video "
            f"({duration_s:g} s); are the times in seconds, and of this video?"
        )
    over = [span for span in spans if span[1] > duration_s + _ROUNDING_S]
    ends = f"{over[0][1]:g} s" if over else ""
    return f"corrections of {name} end after the video ({duration_s:g} s), first at {ends}: cut to it" if over else ""


_ROUNDING_S = 0.05
"""Durations in files of corrections and of features may differ by a frame."""
