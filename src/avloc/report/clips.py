"""`avloc review`: short clips of detections for manual review, and a table to fill in.

CLIPS/0001_barking_0.913_dog.mp4 ...
CLIPS/clips.csv    clip,video,start_s,end_s,label,score,clip_start_s,clip_end_s,correct
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from avloc.errors import AvlocError, InputError
from avloc.formats.records import read_records
from avloc.formats.results import RunSource
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.system.atomic import atomic_write, claim
from avloc.system.isolate import map_isolated
from avloc.system.locks import folder_lock
from avloc.system.text import csv_text
from avloc.types import Detection

_TABLE, _ANSWER = "clips.csv", "correct"
Order = Literal["score", "random", "uncertain"]


@dataclass(frozen=True)
class Clip:
    """A detection and its clip; start_s and end_s are the clip's, in the time of the video."""

    file: str
    video_id: str
    detection: Detection
    start_s: float
    end_s: float


def review(
    run: RunSource,
    files: Mapping[str, Path],
    out: Path,
    per_class: int | None = 20,
    by: Order = "score",
    margin_s: float = 0.5,
    cut: Literal["encode", "copy"] = "encode",
    seed: int = 0,
    progress: Any = None,
) -> tuple[list[Clip], dict[str, str]]:
    """Cut clips of selected detections and write the table.

    Args:
        files: {video_id: file}.
        per_class, by, seed: as in `choose`.
        margin_s: context before and after each detection.
        cut: "encode" is frame-accurate; "copy" is fast and lossless, but starts at the preceding key frame.

    Returns:
        The clips, and {video_id: reason} for failures.

    Raises:
        InputError: there is no detection, no video file is known, or the table of an earlier call has answers.
    """
    from avloc.media.clips import clip_stem

    chosen = choose(run.detections, per_class, by, seed)
    if not chosen:
        raise InputError(f"{run.table}: no detections to review")
    if not any(video in files for video, _ in chosen):
        raise InputError(f"{run.table}: no video file is known for its {len(chosen)} detections; give --videos FOLDER")
    items = [
        _Item(number, video, d, files.get(video), run.streams.get(video, BY_FLAGS), clip_stem(number, video, d))
        for number, (video, d) in enumerate(chosen, start=1)
    ]
    with folder_lock(out, "the clips"):
        _keep_answers(out / _TABLE)
        claim([out / _TABLE, *(out / f"{item.stem}{_suffix(item.path, cut)}" for item in items if item.path)])
        return _cut_all(items, out, margin_s, cut, progress)


def _keep_answers(table: Path) -> None:
    """Raise InputError if somebody has filled in the last column of an earlier table."""
    if not table.is_file():
        return
    try:
        answered = any(row.get(_ANSWER, "").strip() for row in read_records(table))
    except (csv.Error, ValueError):
        answered = True
    if answered:
        raise InputError(f"{table}: has answers in the column {_ANSWER!r}; move it away, or choose another -o")


def _suffix(path: Path, cut: str) -> str:
    from avloc.media.find import known_suffix

    return known_suffix(path) if cut == "copy" else ".mp4"


class _Item(NamedTuple):
    """A detection to cut out of its file."""

    number: int
    video: str
    detection: Detection
    path: Path | None
    streams: StreamChoice
    stem: str


def _cut_all(
    items: Sequence[_Item],
    out: Path,
    margin_s: float,
    cut: str,
    progress: Any,
) -> tuple[list[Clip], dict[str, str]]:
    clips: list[Clip] = []
    failed: dict[str, str] = {}
    for item, answer in map_isolated(partial(_cut, out=out, margin_s=margin_s, cut=cut), items, in_order=True):
        if isinstance(answer, AvlocError):
            failed[item.video] = str(answer)
        else:
            clips.append(answer)
        if progress is not None:
            progress(item.number, len(items), item.video)
    atomic_write(out / _TABLE, _table(clips))
    return clips, failed


def choose(
    detections: Mapping[str, Sequence[Detection]], per_class: int | None, by: Order, seed: int = 0
) -> list[tuple[str, Detection]]:
    """Up to `per_class` detections of each class (None: all), in alphabetical order of classes.

    Args:
        by: "score": highest scores; "random": a random sample; "uncertain": scores closest to the midpoint of the
            class's score range.
    """
    classes: dict[str, list[tuple[str, Detection]]] = {}
    for video, found in detections.items():
        for d in found:
            classes.setdefault(d.label, []).append((video, d))
    shuffle = random.Random(seed)
    result = []
    for label in sorted(classes):
        rows = classes[label]
        if by == "random":
            shuffle.shuffle(rows)
        elif by == "score":
            rows.sort(key=lambda row: -row[1].score)
        else:
            scores = [d.score for _, d in rows]
            middle = (min(scores) + max(scores)) / 2
            rows.sort(key=lambda row: abs(row[1].score - middle))
        result += rows[:per_class]
    return result


def _cut(item: _Item, out: Path, margin_s: float, cut: str) -> Clip:
    """Cut one clip."""
    from avloc.media.clips import cut_detection
    from avloc.media.probe import probe

    _, video, d, path, streams, stem = item
    if path is None:
        raise InputError(f"{video}: no video file is known; give --videos FOLDER")
    name, start_s, end_s = cut_detection(probe(path, video, streams), d, out, stem, margin_s, cut)
    return Clip(name, video, d, start_s, end_s)


def _table(clips: Sequence[Clip]) -> str:
    rows = [["clip", "video", "start_s", "end_s", "label", "score", "clip_start_s", "clip_end_s", _ANSWER]]
    for c in clips:
        d = c.detection
        row = [c.file, c.video_id, f"{d.start_s:.3f}", f"{d.end_s:.3f}", d.label, repr(float(d.score))]
        rows.append([*row, f"{c.start_s:.3f}", f"{c.end_s:.3f}", ""])
    return csv_text(rows)
