"""Feature arrays of many videos, each with its own clock, brought onto one snippet grid.

A track is one kind of feature (rgb, flow, vggish) for many videos. Tracks of one modality are concatenated: rgb and
flow become 2048 visual channels. Arrays are read on demand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, floor
from statistics import median
from typing import Literal

import numpy as np

from avloc.datasets.axes import Layout, Rows, Shape, choose_axes
from avloc.datasets.places import ArrayFile, Place, Shaped
from avloc.datasets.resample import resample
from avloc.errors import AvlocError, ConfigError, FormatError, InputError
from avloc.types import FeatureSequence, Provenance, SnippetGrid

HOW_TO_NAME = (
    "give the axes, such as --axes tc, t1c or tchw (t rows, c channels, h w positions, n crops, 1 an axis of size 1)"
)
SAMPLE = 32
"""Arrays of a track that are looked at to tell its axes."""


@dataclass(frozen=True)
class Clock:
    """Times of an array's rows: row i is the window of `length_s` that starts at start_s + i step_s.

    If `step_s` is None, the rows divide the video evenly. `rows` is their number if something besides the array tells.
    """

    step_s: Fraction | None
    length_s: Fraction | None = None
    start_s: Fraction = Fraction(0)
    rows: int | None = field(default=None, compare=False)

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

    def fitting(self, duration_s: float | None) -> Rows | None:
        """The numbers of rows that fit a video: within 5 % and 2 rows, or one per second if no step is known."""
        if self.rows is not None:
            return Rows(self.rows, self.rows, sure=True)
        if duration_s is None:
            return None
        if self.step_s is None:
            return Rows(floor(duration_s), ceil(duration_s), sure=False)
        count = duration_s / float(self.step_s)
        return Rows(0.95 * count - 2, 1.05 * count + 2, sure=True)


EVEN = Clock(None)

USUAL_CLOCK = Clock(Fraction(16, 25))
"""16 frames at 25 fps, without overlap: published I3D features of THUMOS14 and ActivityNet (W-TALC, BaS-Net)."""


@dataclass(frozen=True)
class Track:
    """One kind of feature.

    Args:
        name: "rgb", "flow", "vggish", ...; "" if unknown.
        places: {video_id: where its array is stored}.
        clocks: of single videos, if different from `clock`.
        axes: known layouts, by track or by number of axes; see `parse_axes`.
        durations_s: {video_id: seconds}, as far as annotated.
    """

    name: str
    modality: Literal["visual", "audio"]
    places: Mapping[str, Place]
    clock: Clock = EVEN
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    axes: Mapping[str, str] = field(default_factory=dict)
    durations_s: Mapping[str, float] = field(default_factory=dict)

    def read(self, video_id: str, positions: bool = False) -> np.ndarray:
        """Read one video's (rows, size) as float32, averaged over crops and positions in the frame.

        Args:
            positions: keep the positions, as in `Layout.apply`.

        Raises:
            FormatError: other dtype, empty, NaN, or a shape whose axes cannot be told.
        """
        values = self.places[video_id].read()
        where = f"{video_id}: {self.name or self.modality} features"
        if values.dtype.kind not in "fiu":
            raise FormatError(f"{where} are {values.dtype}; expected numbers")
        layout = self._layout_of(video_id, values.shape)
        if isinstance(layout, str):
            raise FormatError(f"{where} have shape {values.shape}; expected (rows, size){layout}")
        values = layout.apply(values, positions)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values).all(axis=1)).sum())
            raise FormatError(f"{where} have NaN or infinity in {bad} of {len(values)} rows")
        return values.astype(np.float32, copy=False)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shapes of up to `SAMPLE` arrays, without those that are damaged, empty or of one axis."""
        shapes: dict[str, Shape] = {}
        videos = list(self.places)
        for video in videos[:: ceil(len(videos) / SAMPLE) or 1]:
            try:
                place = self.places[video]
                shape = place.read_shape() if isinstance(place, Shaped) else place.read().shape
            except AvlocError:  # reported when it is read
                continue
            if len(shape) > 1 and all(shape):
                shapes[video] = shape
        return shapes

    @cached_property
    def layouts(self) -> Mapping[int, Layout | str]:
        """The layout of the arrays by their number of axes, or why it cannot be told; from `shapes`."""
        counts = sorted({len(shape) for shape in self.shapes.values()})
        return {
            count: self._choose({video: shape for video, shape in self.shapes.items() if len(shape) == count})
            for count in counts
        }

    @cached_property
    def steps_s(self) -> Mapping[str, tuple[int, Fraction]]:
        """{video: (rows, seconds between them)} of the arrays in `shapes` whose axes and times are known."""
        found = {}
        for video, shape in self.shapes.items():
            layout = self.layouts[len(shape)]
            if isinstance(layout, Layout) and layout.suits(shape):
                count = shape[layout.axes.index("t")]
                with suppress(InputError):
                    found[video] = count, self.clock_of(video).grid(count, self.durations_s.get(video)).step_s
        return found

    def timed(self) -> Track:
        """The same track with the clock of `USUAL_CLOCK` if no step is known and the durations say so.

        They do if even spacing gives the videos different steps, and more than three quarters of them have the rows of
        this clock, by at most two.
        """
        if self.clock.step_s is not None:
            return self
        rows = {video: count for video, (count, _) in self.steps_s.items() if video not in self.clocks}
        if len({self.steps_s[video][1] for video in rows}) < 2:
            return self
        step_s = float(USUAL_CLOCK.step_s or 0)
        fitting = sum(abs(self.durations_s[video] / step_s - count) <= 2 for video, count in rows.items())
        return replace(self, clock=USUAL_CLOCK) if fitting > 0.75 * len(rows) else self

    def _choose(self, shapes: Mapping[str, Shape]) -> Layout | str:
        count = len(next(iter(shapes.values())))
        given = self.axes.get(self.name) or self.axes.get(str(count))
        if given is not None:
            return Layout(given, "given")
        rows = [self.clock_of(video).fitting(self.durations_s.get(video)) for video in shapes]
        return choose_axes(list(shapes.values()), rows, self.name)

    def _layout_of(self, video_id: str, shape: Shape) -> Layout | str:
        """The layout of one array, or the rest of the sentence that refuses it."""
        if len(shape) < 2 or not all(shape):
            return ""
        group = self.layouts.get(len(shape))
        if isinstance(group, Layout) and group.suits(shape):
            return group
        own = group if isinstance(group, str) else self._choose({video_id: shape})
        if isinstance(own, Layout):
            if not own.suits(shape):
                return f", by the given axes {own.axes}"
            if group is None or own.axes == group.axes:  # type: ignore[union-attr]
                return own
            own = f"it looks like {own.axes}, the other files are {group.axes}"  # type: ignore[union-attr]
        return f": {own}; {HOW_TO_NAME}"

    def described(self) -> tuple[str, ...]:
        """One line per layout: `"rgb features (i3d): axes tchw, averaged over h and w (c has a published size)"`."""
        folders = {place.path.parent for place in self.places.values() if isinstance(place, ArrayFile)}
        where = f" ({', '.join(sorted({folder.name for folder in folders})[:3])})" if folders else ""
        kind = f"{self.name or self.modality} features{where}"
        return tuple(
            f"{kind}: axes {layout.text()}" if isinstance(layout, Layout) else f"{kind} of {count} axes: {layout}"
            for count, layout in self.layouts.items()
        )

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
        positions: keep the positions in the frame of visual features, as in `Layout.apply`.
    """

    tracks: tuple[Track, ...]
    grid_step_s: Fraction | None = None
    rule: str = "mean"
    positions: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Videos with any track, in track order."""
        return tuple(dict.fromkeys(video for track in self.tracks for video in track.places))

    def onto(self, step_s: Fraction | None, rule: str) -> Tracks:
        """The same tracks on another grid."""
        return replace(self, grid_step_s=step_s or self.grid_step_s, rule=rule)

    def with_positions(self) -> Tracks:
        """The same tracks with the positions in the frame kept.

        Raises:
            InputError: not exactly one visual track, or it has no positions.
        """
        seen = [track for track in self.tracks if track.modality == "visual"]
        there = {len(x.axes) for t in seen for x in t.layouts.values() if isinstance(x, Layout) and "h" in x.axes}
        if len(seen) != 1 or not there:
            got = ", ".join(f"{t.name or 'visual'} {next(iter(t.shapes.values()), '')}" for t in seen) or "none"
            raise InputError(
                f"--grid needs one kind of visual features with positions in the frame, such as (10, 7, 7, 512) of "
                f"AVE's VGG-19; got {got}"
            )
        return replace(self, positions=True)

    def told(self, axes: Mapping[str, str], durations_s: Mapping[str, float]) -> Tracks:
        """The same tracks with the user's layouts and the annotated durations, to tell axes and times.

        Raises:
            ConfigError: a layout for a track or for a number of axes that there is not.
        """
        tracks = tuple(replace(t, axes={**t.axes, **axes}, durations_s=durations_s) for t in self.tracks)
        there = {track.name for track in tracks} | {str(count) for track in tracks for count in track.layouts if axes}
        for key, letters in axes.items():
            if key not in there:
                what = f"arrays of {key} axes" if key == str(len(letters)) else f"a track {key!r}"
                known = sorted(f"arrays of {name} axes" if name.isdigit() else name for name in there if name)
                raise ConfigError(f"--axes {letters} is for {what}; there is none, but {', '.join(known) or 'nothing'}")
        return replace(self, tracks=tuple(track.timed() for track in tracks))

    def common_step(self) -> Fraction | None:
        """Seconds per snippet of most of the videos that were looked at; None if there were none.

        Raises:
            InputError: no step is that of most videos; a run takes one.
        """
        lead = next((t for t in self.tracks if t.modality == "visual"), next(iter(self.tracks), None))
        if lead is None or self.grid_step_s is not None:
            return self.grid_step_s
        steps_s = [step for _, step in lead.steps_s.values()]
        step_s, count = Counter(steps_s).most_common(1)[0] if steps_s else (None, 1)
        if count <= len(steps_s) / 2:
            why = "their times are unknown, and" if lead.clock.step_s is None and not lead.clocks else "and"
            raise InputError(
                f"{lead.name or lead.modality} features: expected one step in all videos, got {_span(steps_s)} s per "
                f"row: {why} a run takes one. Give the seconds between rows, such as --stride-s 16/25 for 16 frames at "
                f"25 fps, or resample them with --step-s, such as --step-s {float(median(steps_s)):.2g}"
            )
        return step_s

    def check_axes(self) -> None:
        """Raise FormatError if no video can be read because axes cannot be told."""
        refused = [t for t in self.tracks if t.layouts and not any(isinstance(x, Layout) for x in t.layouts.values())]
        if self.tracks and {video for track in refused for video in track.places} >= set(self.ids):
            lines = dict.fromkeys(line for track in refused for line in track.described())
            raise FormatError(f"{'; '.join(lines)}; {HOW_TO_NAME}")

    def described(self) -> tuple[str, ...]:
        """The layouts of all tracks, a line each."""
        return tuple(line for track in self.tracks for line in track.described())

    def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence:
        """One video's features on one grid.

        Args:
            duration_s: of the video. None, or a value before the last row's start, is replaced by the end of the
                features (some of THUMOS14's listed durations are wrong).

        Raises:
            InputError: unknown video, or no clock. FormatError: an array other than (rows, size) of numbers.
        """
        found = [
            (track, track.read(video_id, self.positions and track.modality == "visual"))
            for track in self.tracks
            if video_id in track.places
        ]
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


def _span(values: Sequence[Fraction]) -> str:
    """`"0.61 to 0.67"`, with as many digits as tell the two apart."""
    low, high = float(min(values)), float(max(values))
    digits = next((d for d in range(2, 17) if f"{low:.{d}g}" != f"{high:.{d}g}"), 17)
    return f"{low:.{digits}g} to {high:.{digits}g}"
