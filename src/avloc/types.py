"""Data types shared by all packages. numpy only.

Conventions
    Time is in seconds from the start of the presentation, as players count it: the earlier of the first frame and the
    first audio sample, or 0 on the file's own clock where players start there (`FileClock`).
    Intervals are half-open, [start_s, end_s). Arrays are [snippet, channel]; column 0 of a class axis of size
    C+1 is background. All types are frozen and validated on construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float, Int

Progress = Callable[[int, int, str], None]
"""Called with (done, total, current item)."""

Say = Callable[[str], None]
"""Called with a sentence."""

OnMetrics = Callable[[int, dict[str, float]], None]
"""Called with (step, {name: value})."""

FIRST_VERSION = "1"
"""Version of a backbone that states none."""


class Short:
    """A dataclass whose repr fits on a line: arrays as type and shape, long collections as their size."""

    def __repr__(self) -> str:
        shown = (f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self) if field.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"


_BRIEF = 100
"""Longest value in a short repr, in characters."""


def _brief(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, tuple | list | Mapping | set | frozenset) and (len(value) > 3 or len(repr(value)) > _BRIEF):
        return f"<{len(value)} items>"
    text = repr(value)
    if len(text) <= _BRIEF:
        return text
    return f"{text[: _BRIEF - 4]}...{text[-1]}" if isinstance(value, str) else f"<{type(value).__name__}>"


@dataclass(frozen=True)
class SnippetGrid:
    """The only conversion between seconds and snippet indices. Exact: all times are Fractions.

    Snippet i is the window [start_s + i step_s, start_s + i step_s + length_s); its *cell* is the step_s seconds
    around the window's centre. Cells tile time without overlap, so segments are made of cells.

    Rounding: a video of duration D has max(1, floor(D / step_s + 1/2)) snippets: a last partial cell counts if at
    least half of it is inside the video; a shorter tail belongs to the snippet before it.

    >>> SnippetGrid.cover(10.01, 1).count
    10
    >>> SnippetGrid.cover(10, Fraction(16, 25)).count   # 16 frames at 25 per second
    16
    """

    start_s: Fraction
    step_s: Fraction
    length_s: Fraction
    count: int

    def __post_init__(self) -> None:
        for name in ("start_s", "step_s", "length_s"):
            object.__setattr__(self, name, exact(getattr(self, name)))
        if self.step_s <= 0 or self.length_s <= 0:
            raise ValueError(f"step and length must be positive, got {self.step_s} and {self.length_s} s")
        if isinstance(self.count, bool) or not isinstance(self.count, int | np.integer):
            raise ValueError(f"a grid has an integer number of snippets, got {self.count!r}")
        if self.count < 1:
            raise ValueError(f"a grid has at least one snippet, got {self.count}")

    @classmethod
    def cover(
        cls, duration_s: float | Fraction, step_s: float | Fraction, length_s: float | Fraction | None = None
    ) -> SnippetGrid:
        """The grid of a video: the first cell starts at 0. `length_s` defaults to `step_s`."""
        step = exact(step_s)
        length = step if length_s is None else exact(length_s)
        count = max(1, math.floor(exact(duration_s) / step + Fraction(1, 2)))
        return cls(start_s=(step - length) / 2, step_s=step, length_s=length, count=count)

    def window(self, index: int) -> tuple[Fraction, Fraction]:
        """[start, end) of the window of snippet `index` in seconds; may extend outside the video."""
        start = self.start_s + index * self.step_s
        return start, start + self.length_s

    def cell(self, index: int) -> tuple[Fraction, Fraction]:
        """[start, end) of the cell of snippet `index` in seconds."""
        start = self.edge_s(index)
        return start, start + self.step_s

    def edge_s(self, position: float | int | Fraction) -> Fraction:
        """Time of a position on the cell axis: edge_s(i) is the start of cell i, edge_s(i + 1/2) its centre."""
        return self.start_s + (self.length_s - self.step_s) / 2 + exact(position) * self.step_s

    def segment(self, first: float, stop: float, duration_s: float) -> Segment:
        """Cells first..stop-1 as a Segment, clipped to [0, duration_s].

        `first` and `stop` may be fractional (boundaries between snippets). The last cell extends to the end of the
        video, so that a tail is not lost. Raises ValueError for a segment entirely outside the video.
        """
        if not 0 <= first < stop <= self.count:
            raise ValueError(f"need 0 <= first < stop <= {self.count}, got {first} and {stop}")
        start = max(0.0, float(self.edge_s(first)))
        end = duration_s if stop == self.count else min(duration_s, float(self.edge_s(stop)))
        return Segment(start, end)

    def spans_s(
        self, first: Float[np.ndarray, " n"], stop: Float[np.ndarray, " n"], duration_s: float
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Vectorised `segment` in float: starts and ends in seconds, equal for one entirely outside the video."""
        zero, step = float(self.edge_s(0)), float(self.step_s)
        end = np.where(stop == self.count, duration_s, zero + step * stop)
        start = np.clip(zero + step * first, 0, duration_s)
        return start, np.clip(end, start, duration_s)

    def centres_s(self) -> Float[np.ndarray, " l"]:
        """Centres of all cells in seconds."""
        first = float(self.edge_s(Fraction(1, 2)))
        return first + float(self.step_s) * np.arange(self.count)

    def indices(self, start_s: float, end_s: float) -> Int[np.ndarray, " n"]:
        """Snippets whose cell centre lies in [start_s, end_s)."""
        centres = self.centres_s()
        return np.flatnonzero((centres >= start_s) & (centres < end_s))


LARGEST = 10**15
"""Largest time in seconds, rate or length that is read: 30 million years. Floats keep milliseconds below it."""


def exact(value: float | int | str | Fraction) -> Fraction:
    """A number as the decimal it is written as: 0.64 becomes 16/25, not its binary neighbour.

    Raises:
        ValueError: not a number, above `LARGEST`, or too long: "1e999999999" would take hours and all memory.
    """
    if isinstance(value, Fraction):
        return value
    text = str(value)
    digits = text.lower().partition("e")[2].lstrip("+-")
    if len(text) > 400 or len(digits) > 3:
        raise ValueError(f"{text[:40]!r} is not a number of reasonable length")
    number = Fraction(text)
    if abs(number) > LARGEST:
        raise ValueError(f"{text[:40]!r} is not a number of reasonable size")
    return number


@dataclass(frozen=True, repr=False)
class Provenance(Short):
    """How a video's features were made.

    Args:
        backbones: {modality: name of the backbone}, as far as known; modalities are "visual" and "audio".
        absent_because: {modality: why the video has no such features}; "" if they were not requested.
        details: further facts: "path", "damage", "notes", "visual_rate_hz", "visual_weights", "audio_weights",
            "visual_version", "audio_version"; "video_stream", "audio_stream" (number of the stream used, or "mix") if
            the file had several or one was requested; "video_stream_option", "audio_stream_option" (as requested);
            "silence" (the audio stream used is silent and there are others); "conversion" (options of
            `avloc convert`, as JSON).
    """

    backbones: Mapping[str, str] = field(default_factory=dict)
    absent_because: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)

    def version(self, modality: str) -> str:
        """Version of the modality's backbone."""
        return self.details.get(f"{modality}_version", FIRST_VERSION)


@dataclass(frozen=True, repr=False)
class FeatureSequence(Short):
    """A video's snippet features with their times.

    Args:
        video_id: name of the video.
        duration_s: length of the video in seconds.
        grid: time of each row.
        visual: (L, d_v) float array, or None without visual features.
        audio: (L, d_u) float array, or None without audio features.
        source: how the features were made.
    """

    video_id: str
    duration_s: float
    grid: SnippetGrid
    visual: Float[np.ndarray, "l d_v"] | None
    audio: Float[np.ndarray, "l d_u"] | None
    source: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.visual is None and self.audio is None:
            raise ValueError(f"{self.video_id}: neither visual nor audio features")
        for name in ("visual", "audio"):
            rows = getattr(self, name)
            if rows is None:
                continue
            if rows.ndim != 2 or len(rows) != self.grid.count:
                raise ValueError(f"{self.video_id}: {name} has shape {rows.shape}, grid has {self.grid.count} rows")
            if not np.isfinite(rows).all():
                bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
                raise ValueError(f"{self.video_id}: {name} has NaN or infinity in {len(bad)} rows, first {bad[0]}")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The available ones of ("audio", "visual")."""
        return tuple(name for name in ("audio", "visual") if getattr(self, name) is not None)


def _check_interval(start_s: float, end_s: float) -> None:
    if not (math.isfinite(start_s) and math.isfinite(end_s) and end_s > start_s >= 0):
        raise ValueError(f"a segment needs 0 <= start < end, got [{start_s}, {end_s})")


def _check_label(label: str) -> None:
    if not label or label.isspace():
        raise ValueError("a segment needs a label, got an empty one")


@dataclass(frozen=True)
class Segment:
    """[start_s, end_s), end after start."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        _check_interval(self.start_s, self.end_s)


@dataclass(frozen=True)
class Instance:
    """A ground-truth occurrence of a class."""

    start_s: float
    end_s: float
    label: str

    def __post_init__(self) -> None:
        _check_interval(self.start_s, self.end_s)
        _check_label(self.label)


@dataclass(frozen=True)
class Detection:
    """A predicted occurrence of a class; a higher score is more confident."""

    start_s: float
    end_s: float
    label: str
    score: float

    def __post_init__(self) -> None:
        _check_interval(self.start_s, self.end_s)
        _check_label(self.label)
        if not math.isfinite(self.score):
            raise ValueError(f"a detection's score must be finite, got {self.score}")


@dataclass(frozen=True, repr=False)
class VideoAnnotation(Short):
    """A video's ground truth: its instances and its subset ("training", "validation", "testing")."""

    video_id: str
    duration_s: float
    subset: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, repr=False)
class ActivationSequence(Short):
    """A model's output for one video, without padding.

    Args:
        probs: (L, 1+C); column 0 is background, rows sum to 1 (Eq. 5).
        video_scores: (C,) video-level score of each class, in [0, 1].
        classes: C names, in column order.
        modalities: the ones of ("audio", "visual") that the model used.
    """

    video_id: str
    duration_s: float
    grid: SnippetGrid
    classes: tuple[str, ...]
    probs: Float[np.ndarray, "l c1"]
    video_scores: Float[np.ndarray, " c"]
    modalities: tuple[str, ...] = ("audio", "visual")

    def __post_init__(self) -> None:
        expected = (self.grid.count, 1 + len(self.classes))
        if self.probs.shape != expected:
            raise ValueError(f"{self.video_id}: probs has shape {self.probs.shape}, expected {expected}")
        if self.video_scores.shape != (len(self.classes),):
            raise ValueError(f"{self.video_id}: {self.video_scores.shape} video scores, {len(self.classes)} classes")

    @property
    def reliability(self) -> Float[np.ndarray, " l"]:
        """Foreground reliability μ = 1 - p_0 (§3.2)."""
        return 1.0 - self.probs[:, 0]


@dataclass(frozen=True, repr=False)
class DetectionScores(Short):
    """Average precision per t-IoU threshold (rows) and class (columns), in [0, 1]."""

    t_iou: Float[np.ndarray, " t"]
    classes: tuple[str, ...]
    ap: Float[np.ndarray, "t c"]

    @property
    def mean_ap(self) -> Float[np.ndarray, " t"]:
        """mAP at each threshold: the mean over classes; a class without true positives counts as 0."""
        return self.ap.mean(axis=1)

    @property
    def average_mean_ap(self) -> float:
        """Mean of `mean_ap` over the thresholds."""
        return float(self.ap.mean())

    def at(self, t_iou: float) -> float:
        """mAP at one of the thresholds."""
        rows = np.flatnonzero(np.isclose(self.t_iou, t_iou))
        if not len(rows):
            raise ValueError(f"no t-IoU {t_iou}; available: {', '.join(f'{t:g}' for t in self.t_iou)}")
        return float(self.mean_ap[rows[0]])
