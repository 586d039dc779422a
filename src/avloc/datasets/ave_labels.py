"""AVE's label files, compared with labels built from Annotations.txt.

labels.h5 (PSP: right_labels.h5)   (4143, 10, 29) one-hot per second, background 28
mil_labels.h5                      (4143, 29) one class per video, never background
labels_closs.h5                    (4143, 10) 1 during the event
labels_noisy.h5                    (178, 29) background
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Int

from avloc.datasets.ave import AVE_BACKGROUND, AXES, DURATION_S, SNIPPETS, AveData, read_ave
from avloc.datasets.collection import Collection
from avloc.datasets.tracks import Clock, Track, Tracks
from avloc.errors import first_few
from avloc.formats.untrusted.hdf5 import open_hdf5, plain_dataset
from avloc.system.text import pluralize
from avloc.types import SnippetGrid
from avloc.vocabulary import Subset


def ave_collection(folder: Path | str) -> Collection:
    """AVE as a data set. Raises as `read_ave`; the notes report label files that disagree with Annotations.txt."""
    data = read_ave(folder)
    clock = Clock(SnippetGrid.cover(DURATION_S, DURATION_S / SNIPPETS).step_s)
    names = (("audio_feature", "audio"), ("visual_feature", "visual"))
    tracks = tuple(Track(name, kind, data.places(kind), clock, axes=AXES) for name, kind in names)  # type: ignore[arg-type]
    return Collection(
        name="AVE",
        classes=data.classes,
        annotations=data.annotations,
        labels=data.labels,
        features=Tracks(tracks) if any(track.places for track in tracks) else None,
        preset="ave",
        notes=data.notes + compare_ave_labels(data) + _shared_ids(data),
    )


def _shared_ids(data: AveData) -> tuple[str, ...]:
    subsets: dict[str, set[str]] = {}
    for video in data.annotations:
        subsets.setdefault(re.sub(r"_row\d{4}$", "", video.video_id), set()).add(video.subset)
    both = [video for video, names in subsets.items() if {Subset.TRAINING, Subset.TESTING} <= names]
    words = f"{pluralize(len(both), 'YouTube id')} in both train and test, with different classes"
    return (f"{words}: {first_few(both, 3)}",) * bool(both)


def ave_class_indices(data: AveData) -> Int[np.ndarray, "n l"]:
    """Class index of each second of the videos in Annotations.txt: 0..27 in `data.classes`, 28 background.

    Equals `labels.h5`, which is one-hot; row i is line i.
    """
    index = {name: c for c, name in enumerate(data.classes)}
    seconds = np.full((len(data.annotations), SNIPPETS), AVE_BACKGROUND, dtype=np.int64)
    grid = SnippetGrid.cover(DURATION_S, DURATION_S / SNIPPETS)
    for row, video in enumerate(data.annotations):
        for instance in video.instances:
            seconds[row, grid.indices(instance.start_s, instance.end_s)] = index[instance.label]
    return seconds


def compare_ave_labels(data: AveData) -> tuple[str, ...]:
    """Differences between AVE's label files and Annotations.txt, one sentence per file that differs."""
    seconds = ave_class_indices(data)
    named = {row.video_id: row.labels for row in data.labels.rows}
    classes = np.array(
        [data.classes.index(named[v.video_id][0]) if named.get(v.video_id) else -1 for v in data.annotations]
    )
    notes = []
    for name in ("labels.h5", "right_labels.h5", "labels_closs.h5", "mil_labels.h5"):
        path = data.folder / name
        if not path.is_file():
            continue
        with open_hdf5(path) as file:
            values = np.asarray(plain_dataset(path, file, "avadataset"))
        if name == "mil_labels.h5":
            expected, own = classes, values.argmax(axis=-1) if values.ndim == 2 else values
        elif name == "labels_closs.h5":
            expected, own = (seconds != AVE_BACKGROUND).astype(np.int64), values
        else:
            expected, own = seconds, values.argmax(axis=-1) if values.ndim == 3 else values
        if own.shape != expected.shape:
            notes.append(f"{name} has shape {values.shape}, Annotations.txt {len(seconds)} lines: not compared")
            continue
        wrong = own != expected
        rows = int((wrong.any(axis=1) if wrong.ndim == 2 else wrong)[classes >= 0].sum())
        if rows:
            words = pluralize(rows, "video")
            notes.append(f"{name} disagrees with Annotations.txt in {words}; Annotations.txt is used")
    return tuple(notes)
