"""Feature arrays of many videos, each with its own clock, brought onto one snippet grid.

A track is one kind of feature (rgb, flow, vggish) for many videos. Tracks of one modality are concatenated: rgb and
flow become 2048 visual channels. Arrays are read on demand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from avloc.datasets.resample import resample
from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.arrays import load_array, load_arrays, load_pickle, load_tensors
from avloc.formats.untrusted.hdf5 import dataset_names, open_hdf5, plain_dataset
from avloc.types import FeatureSequence, Provenance, SnippetGrid

FEATURE_KEYS = ("feature", "features", "feats", "feat", "rgb", "flow", "vggish")


@dataclass(frozen=True)
class Clock:
    """Times of an array's rows: row i is the window of `length_s` that starts at start_s + i step_s.

    If `step_s` is None, the rows divide the video evenly.
    """

    step_s: Fraction | None
    length_s: Fraction | None = None
    start_s: Fraction = Fraction(0)

    def grid(self, count: int, duration_s: float | None) -> SnippetGrid:
        """The grid of an array of `count` rows.

        Raises:
            InputError: neither a step nor a duration is known.
        """
        if self.step_s is not None:
            return SnippetGrid(self.start_s, self.step_s, self.length_s or self.step_s, count)
        if duration_s is None:
            raise InputError(
                "the times of its rows are unknown; give the seconds between them (--stride-s), or durations"
            )
        step = Fraction(str(duration_s)) / count
        return SnippetGrid(Fraction(0), step, step, count)


EVEN = Clock(None)


@runtime_checkable
class Place(Protocol):
    """Where an array is stored."""

    def read(self) -> np.ndarray: ...


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file.

    Args:
        key: its name in a .npz, .pt, .pkl or .h5 of several arrays; "" takes the only one, or the one called
            `feature`, `feats`, ...
    """

    path: Path
    key: str = ""

    def read(self) -> np.ndarray:
        """Read the array.

        Raises:
            InputError, FormatError: as in `arrays` and `hdf5`, or several arrays and no key.
        """
        suffix = self.path.suffix.lower()
        if suffix in (".h5", ".hdf5"):
            with open_hdf5(self.path) as file:
                names = list(dataset_names(file))
                return np.asarray(plain_dataset(self.path, file, self._choose(names)))
        value: Any
        if suffix == ".npy":
            value = load_array(self.path)
        else:
            value = {".npz": load_arrays, ".pt": load_tensors, ".pth": load_tensors, ".pkl": load_pickle}[suffix](
                self.path
            )
        if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
            value = value[()]
        if isinstance(value, dict):
            value = value[self._choose([str(key) for key, part in value.items() if np.ndim(part) >= 2])]
        return np.asarray(value)

    def _choose(self, names: Sequence[str]) -> str:
        if self.key in names:
            return self.key
        known = [name for name in names if name.rpartition("/")[2].lower() in FEATURE_KEYS]
        if self.key or (len(names) != 1 and len(known) != 1):
            wanted = f"an array {self.key!r}" if self.key else "one array, or one called feature, feats, rgb, ..."
            raise FormatError(f"{self.path}: expected {wanted}, got {', '.join(names[:6]) or 'none'}")
        return names[0] if len(names) == 1 else known[0]


@dataclass(frozen=True)
class Track:
    """One kind of feature.

    Args:
        name: "rgb", "flow", "vggish", ...; "" if unknown.
        places: {video_id: where its array is stored}.
        clocks: of single videos, if different from `clock`.
    """

    name: str
    modality: Literal["visual", "audio"]
    places: Mapping[str, Place]
    clock: Clock = EVEN
    clocks: Mapping[str, Clock] = field(default_factory=dict)

    def read(self, video_id: str) -> np.ndarray:
        """Read one video's (rows, size) as float32, averaged over crops and positions in the frame.

        Raises:
            FormatError: other dtype or shape, empty, or NaN.
        """
        values = self.places[video_id].read()
        where = f"{video_id}: {self.name or self.modality} features"
        if values.dtype.kind not in "fiu":
            raise FormatError(f"{where} are {values.dtype}; expected numbers")
        if values.ndim == 4:  # (rows, height, width, size), AVE
            values = values.mean(axis=(1, 2))
        elif values.ndim == 3 and len(values) <= 10:  # (crops, rows, size), CMCS
            values = values.mean(axis=0)
        if values.ndim != 2 or not values.size:
            raise FormatError(f"{where} have shape {values.shape}; expected (rows, size)")
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values).all(axis=1)).sum())
            raise FormatError(f"{where} have NaN or infinity in {bad} of {len(values)} rows")
        return values.astype(np.float32, copy=False)

    def clock_of(self, video_id: str) -> Clock:
        """The clock of this video."""
        return self.clocks.get(video_id, self.clock)


@dataclass(frozen=True)
class Tracks:
    """All features of a data set.

    Args:
        tracks: in the order in which they are concatenated.
        grid_step_s: seconds between snippets; None keeps the clock of the first visual track, else of the first track.
        rule: of resampling onto this grid; see `resample`.
    """

    tracks: tuple[Track, ...]
    grid_step_s: Fraction | None = None
    rule: str = "mean"

    @property
    def ids(self) -> tuple[str, ...]:
        """Videos with any track, in track order."""
        return tuple(dict.fromkeys(video for track in self.tracks for video in track.places))

    def onto(self, step_s: Fraction | None, rule: str) -> Tracks:
        """The same tracks on another grid."""
        return replace(self, grid_step_s=step_s or self.grid_step_s, rule=rule)

    def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence:
        """One video's features on one grid.

        Args:
            duration_s: of the video. None, or a value before the last row's start, is replaced by the end of the
                features (some of THUMOS14's listed durations are wrong).

        Raises:
            InputError: unknown video, or no clock. FormatError: an array other than (rows, size) of numbers.
        """
        found = [(track, track.read(video_id)) for track in self.tracks if video_id in track.places]
        if not found:
            raise InputError(f"no features of {video_id!r} among {len(self.ids)} videos")
        try:
            grids = [track.clock_of(video_id).grid(len(rows), duration_s) for track, rows in found]
        except InputError as error:
            raise InputError(f"{video_id}: {error}") from error
        lead = next((k for k, (track, _) in enumerate(found) if track.modality == "visual"), 0)
        rows_end, last_row = (float(grids[lead].edge_s(grids[lead].count - back)) for back in (0, 1))
        length_s = rows_end if duration_s is None or duration_s <= last_row else duration_s
        grid = grids[lead] if self.grid_step_s is None else SnippetGrid.cover(length_s, self.grid_step_s)
        parts: dict[str, list[np.ndarray]] = {"visual": [], "audio": []}
        source: dict[str, str] = {}
        for (track, rows), own in zip(found, grids, strict=True):
            parts[track.modality].append(resample(rows, own, grid, self.rule))
            source[track.modality] = "+".join(filter(None, (source.get(track.modality), track.name or "features")))
        joined = {name: np.concatenate(arrays, axis=1) if arrays else None for name, arrays in parts.items()}
        return FeatureSequence(video_id, length_s, grid, joined["visual"], joined["audio"], Provenance(source))
