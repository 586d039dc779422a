"""The AVE data set as distributed: a folder of HDF5 files with Annotations.txt.

    Annotations.txt                        class&id&quality&start&end; line i is row i of every file
    audio_feature.h5, visual_feature.h5    `avadataset` (4143, 10, 128) and (4143, 10, 7, 7, 512) or (4143, 10, 2048)
    audio_feature_noisy.h5, visual_...     178 unnamed videos with background only
    train_order.h5, val_..., test_...      `order`: rows of each subset

Differs from the authors' code: rows are read on demand as float32 (they load 7.7 GB and copy it to float64), the 7 x 7
positions of a frame are averaged, and background has no label (theirs is index 28). Ids are not unique (4,097 ids for
4,143 rows): repeated ones get their row number, `<id>_row0026`. HDF5 links to other files are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.labels import LabelRow, LabelTable
from avloc.formats.untrusted.bombs import read_document
from avloc.formats.untrusted.hdf5 import open_hdf5, plain_dataset
from avloc.system.text import nfc, pluralize
from avloc.types import FeatureSequence, Instance, Provenance, SnippetGrid, VideoAnnotation
from avloc.vocabulary import Subset

AVE_BACKGROUND = 28
"""Index of background in AVE's label files; avloc's is 0, before the classes."""

DURATION_S = 10.0
SNIPPETS = 10
KEY = "avadataset"
AXES = {"2": "tc", "4": "thwc"}
"""Layouts of a video's features, by their number of axes."""

SOURCE = {"audio": "AVE audio_feature (VGGish)", "visual": "AVE visual_feature"}
SUBSETS = {"train": Subset.TRAINING, "val": Subset.VALIDATION, "test": Subset.TESTING}
"""By the names of the order files."""


@dataclass(frozen=True)
class AveData:
    """AVE, with features read on demand.

    Args:
        classes: the 28 names in AVE's order (first appearance in Annotations.txt).
        annotations: one per row, 10 s; a row with a zero-length event has no instance.
        labels: one class per video (noisy videos: none), in subset train, validation or test.
        notes: issues.
    """

    folder: Path
    classes: tuple[str, ...]
    annotations: tuple[VideoAnnotation, ...]
    labels: LabelTable
    notes: tuple[str, ...]
    _rows: Mapping[str, tuple[str, int]]  # video_id: ("" or "_noisy", row)

    @property
    def ids(self) -> tuple[str, ...]:
        """All videos: those of Annotations.txt, then the noisy ones."""
        return tuple(self._rows)

    def places(self, modality: str) -> dict[str, AveRow]:
        """{video_id: row} of the "audio" or "visual" features, as far as the files exist.

        Raises:
            FormatError: a file not in AVE's format, or without one row per video.
        """
        kinds = {}
        for kind in ("", "_noisy"):
            path = self.folder / f"{modality}_feature{kind}.h5"
            if path.is_file():
                kinds[kind] = self._checked(path, kind)
        return {video: AveRow(kinds[kind], row) for video, (kind, row) in self._rows.items() if kind in kinds}

    def _checked(self, path: Path, kind: str) -> _Rows:
        rows = _Rows(path)
        expected = sum(kind == own for own, _ in self._rows.values())
        if rows.count != expected:
            raise FormatError(f"{path}: expected {expected} rows, one per video, got {rows.count}")
        return rows

    def load(self, video_id: str) -> FeatureSequence:
        """Features of one video: audio and visual, or the one whose file exists.

        Raises:
            InputError: unknown video, or no feature file.
            FormatError: a file not in AVE's format.
        """
        if video_id not in self._rows:
            hint = did_you_mean(video_id, self.ids)
            raise InputError(f"{self.folder}: no video {video_id!r} among {len(self._rows)}.{hint}")
        kind, row = self._rows[video_id]
        paths = {name: self.folder / f"{name}_feature{kind}.h5" for name in ("audio", "visual")}
        there = {name: path for name, path in paths.items() if path.is_file()}
        if not there:
            raise InputError(
                f"{self.folder}: expected {paths['audio'].name} or {paths['visual'].name} for the features of "
                f"{video_id!r}; put AVE's feature files there"
            )
        arrays = {name: self._checked(path, kind).read(row) for name, path in there.items()}
        return _sequence(video_id, arrays, {name: str(path) for name, path in there.items()})


def read_ave(folder: Path | str) -> AveData:
    """Read AVE's annotations and labels; features are read on demand.

    Rows of `*_feature_noisy.h5`, if it exists, are training videos with background only.

    Raises:
        InputError: no folder, or no Annotations.txt in it.
        FormatError: a line or file not in AVE's format, or overlapping subsets.
    """
    root = Path(folder)
    entries = _read_annotations_txt(root / "Annotations.txt")
    names = _unique_names([video for _, video, _, _ in entries])
    subsets, notes = _read_subsets(root, len(entries))
    annotations, labels = [], []
    for name, subset, (label, _, start_s, end_s) in zip(names, subsets, entries, strict=True):
        instances = (Instance(start_s, end_s, label),) if end_s > start_s else ()
        if not instances:
            notes.append(f"{name}: zero-length event {label!r} {start_s:g}-{end_s:g} s dropped, its label kept")
        annotations.append(VideoAnnotation(name, DURATION_S, subset.value if subset else "", instances))
        if subset:
            labels.append(LabelRow(name, (label,), subset.short))
    rows = {name: ("", row) for row, name in enumerate(names)}
    for row, name in enumerate(_noisy_names(root)):
        rows[name] = ("_noisy", row)
        labels.append(LabelRow(name, (), Subset.TRAINING.short))
    classes = tuple(dict.fromkeys(label for label, *_ in entries))
    return AveData(root, classes, tuple(annotations), LabelTable(tuple(labels), tuple(notes)), tuple(notes), rows)


def _sequence(video_id: str, arrays: Mapping[str, np.ndarray], paths: Mapping[str, str]) -> FeatureSequence:
    files = {f"{name}_path": path for name, path in paths.items()}
    source = Provenance({name: SOURCE[name] for name in arrays}, details=files)
    grid = SnippetGrid.cover(DURATION_S, DURATION_S / SNIPPETS)
    return FeatureSequence(video_id, DURATION_S, grid, arrays.get("visual"), arrays.get("audio"), source)


class _Rows:
    """One of AVE's feature files, read by row; open only while reading, so that it can be pickled."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with open_hdf5(self.path) as file:
            data = plain_dataset(self.path, file, KEY)
            self.count, self.shape = int(data.shape[0]), tuple(data.shape[1:])
            square = len(self.shape) == 2 or (len(self.shape) == 4 and self.shape[1] == self.shape[2])
            if data.dtype.kind != "f" or not square or self.shape[0] != SNIPPETS:
                raise FormatError(
                    f"{self.path}: expected float rows of ({SNIPPETS}, size) or ({SNIPPETS}, 7, 7, size), "
                    f"got {data.dtype} {self.shape}"
                )

    def read(self, row: int) -> np.ndarray:
        """(10, size) of one video, float32."""
        values = self.raw(row)
        pooled = values.mean(axis=(1, 2)) if values.ndim == 4 else values
        if not np.isfinite(pooled).all():
            raise FormatError(f"{self.path}: row {row} has NaN or infinity; download the file again")
        return pooled.astype(np.float32)

    def raw(self, row: int) -> np.ndarray:
        """(10, size) or (10, 7, 7, size) of one video."""
        with open_hdf5(self.path) as file:
            return np.asarray(plain_dataset(self.path, file, KEY)[row])


@dataclass(frozen=True)
class AveRow:
    """One video's features in one of AVE's files."""

    rows: _Rows
    row: int

    def read_shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def read(self) -> np.ndarray:
        """(10, size) or (10, 7, 7, size)."""
        return self.rows.raw(self.row)


def _read_annotations_txt(path: Path) -> list[tuple[str, str, float, float]]:
    """(class, YouTube id, start, end) of each line, without a header line."""
    if not path.is_file():
        raise InputError(f"{path}: expected AVE's list of videos; put AVE's Annotations.txt there")
    try:
        lines = nfc(read_document(path).decode("utf-8")).splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: expected UTF-8 text ({error})") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        fields = line.strip().split("&")
        if number == 1 and len(fields) == 5 and fields[3].strip().isalpha():
            continue
        try:
            label, video_id, _, start, end = fields
            times = float(start), float(end)
        except ValueError:
            raise FormatError(
                f"{path}: line {number}: expected class&id&quality&start&end, got {line[:80]!r}"
            ) from None
        if not (0 <= times[0] <= times[1] <= DURATION_S):
            raise FormatError(f"{path}: line {number}: expected 0 <= start <= end <= 10, got {start} and {end}")
        entries.append((label, video_id, *times))
    return entries


def _unique_names(ids: list[str]) -> list[str]:
    counts = Counter(ids)
    return [video if counts[video] == 1 else f"{video}_row{row:04d}" for row, video in enumerate(ids)]


def _noisy_names(root: Path) -> list[str]:
    files = [root / f"{name}_feature_noisy.h5" for name in ("audio", "visual")]
    present = [path for path in files if path.is_file()]
    return [f"noisy_{row:03d}" for row in range(_Rows(present[0]).count)] if present else []


def _read_subsets(root: Path, count: int) -> tuple[list[Subset | None], list[str]]:
    """The subset of each row according to the order files, and notes."""
    subsets: list[Subset | None] = [None] * count
    for name, subset in SUBSETS.items():
        path = root / f"{name}_order.h5"
        with open_hdf5(path) as file:
            order = np.asarray(plain_dataset(path, file, "order"))
        if (
            order.ndim != 1
            or order.dtype.kind not in "iu"
            or (order.size and not 0 <= order.min() <= order.max() < count)
        ):
            raise FormatError(f"{path}: expected row numbers 0..{count - 1}, the lines of Annotations.txt")
        for row in order.tolist():
            if subsets[row] is not None:
                raise FormatError(f"{path}: row {row} is in {subsets[row]} and again in {subset}")
            subsets[row] = subset
    unused = subsets.count(None)
    return subsets, [f"{pluralize(unused, 'video')} in no subset"] * bool(unused)
