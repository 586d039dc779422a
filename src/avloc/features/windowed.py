"""Audio features from networks that need context: long overlapping windows, their rows averaged over each snippet.

A tagging network is trained on 10 s of audio; fed one snippet at a time it would see mostly padding. So a window of
`backbone.window_s` moves over the audio. Rows within `MARGIN_S` of a window's edge come from the neighbouring window,
which sees what lies beyond. A snippet's feature is the mean of the rows, each weighted by the part of its `row_s`
seconds that lies in the snippet's cell.

The last window ends with the audio; audio shorter than a window is one window of its own length, without padding.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float32

from avloc.features.backbones.protocol import WindowedAudioBackbone
from avloc.system.isolate_child import heartbeat
from avloc.types import SnippetGrid, exact

MARGIN_S = Fraction(1)
"""Ours: a tenth of the window at either side."""


class WindowedAudioRows:
    """Consecutive blocks of audio -> one feature per snippet. Holds a few windows of audio, however long the video.

    Args:
        at_once: windows given to the backbone in one call.
    """

    def __init__(self, backbone: WindowedAudioBackbone, grid: SnippetGrid, at_once: int = 4) -> None:
        self.rate_hz = backbone.rate_hz
        self._backbone, self._grid, self._at_once = backbone, grid, at_once
        self._row_s, self._first_s = exact(backbone.row_s), exact(backbone.first_s)
        window_s = exact(backbone.window_s)
        self._hop_rows = int((window_s - 2 * MARGIN_S) / self._row_s)  # whole rows: all windows share one grid of rows
        if self._hop_rows < 1:
            raise ValueError(
                f"backbone {backbone.name!r}: windows of {float(window_s):g} s leave no row inside the margins"
            )
        self._length = self._samples(window_s)
        self._sums = np.zeros((grid.count, backbone.size))
        self._weights = np.zeros(grid.count)
        self._audio = np.zeros(0, np.float32)
        self._start = 0  # of `_audio`, in samples from t = 0
        self._parts: list[np.ndarray] = []
        self._end = 0
        self._next = 0  # row at which the next window starts
        self._counted_s = Fraction(0)  # rows before this time are in the sums

    def push(self, samples: Float[np.ndarray, " n"]) -> None:
        """Take the next block."""
        self._parts.append(np.asarray(samples, np.float32))
        self._end += len(samples)
        last = self._next + (self._at_once - 1) * self._hop_rows
        if self._end >= self._first_sample(last) + self._length:
            self._run([self._next + k * self._hop_rows for k in range(self._at_once)])

    def finish(self, count: int) -> Float32[np.ndarray, "l d"]:
        """Features of the first `count` snippets; where there is no audio, zeros are heard."""
        missing = self._samples(self._grid.edge_s(count)) - self._end
        if missing > 0:
            self.push(np.zeros(missing, np.float32))
        while self._first_sample(self._next) + self._length < self._end:
            self._run([self._next])
        over = max(0, self._end - self._length)
        self._run([int(Fraction(over, self.rate_hz) / self._row_s)], last=True)
        return (self._sums[:count] / self._weights[:count, None]).astype(np.float32)

    def _samples(self, time_s: Fraction) -> int:
        return round(time_s * self.rate_hz)

    def _first_sample(self, row: int) -> int:
        return self._samples(row * self._row_s)

    def _run(self, starts: list[int], last: bool = False) -> None:
        """Windows that start at these rows. Audio from the last one on is kept: the final window may reach back."""
        self._audio = np.concatenate([self._audio, *self._parts])
        self._parts = []
        firsts = [self._first_sample(row) - self._start for row in starts]
        stop = len(self._audio) - firsts[0] if last else self._length
        heartbeat()
        rows = self._backbone(np.stack([self._audio[first : first + stop] for first in firsts]))
        for start, some in zip(starts, rows, strict=True):
            self._count(start, some, last)
        self._next = starts[-1] + self._hop_rows
        self._audio = self._audio[firsts[-1] :].copy()
        self._start += firsts[-1]

    def _count(self, start: int, rows: Float32[np.ndarray, "r d"], last: bool) -> None:
        """Add those of a window's rows that are new, up to its margin, to the snippets that they lie in."""
        zero = start * self._row_s
        stop_s = math.inf if last else zero + self._hop_rows * self._row_s + MARGIN_S
        times = [zero + self._first_s + k * self._row_s for k in range(len(rows))]
        chosen = [k for k, time_s in enumerate(times) if self._counted_s <= time_s < stop_s]
        half = self._row_s / 2
        edges = [times[k] - half for k in chosen] + [times[chosen[-1]] + half]
        if not self._counted_s:
            edges[0] = min(edges[0], Fraction(0))
        if last:
            edges[-1] = max(edges[-1], self._grid.edge_s(self._grid.count))
        else:
            self._counted_s = Fraction(stop_s)
        self._spread(rows[chosen], np.array([float(edge) for edge in edges]))

    def _spread(self, rows: Float32[np.ndarray, "r d"], edges_s: Float[np.ndarray, " r1"]) -> None:
        """Row k covers [edges_s[k], edges_s[k + 1]); its weight in a snippet is the overlap, in cells."""
        edges = (edges_s - float(self._grid.edge_s(0))) / float(self._grid.step_s)
        starts, stops = edges[:-1], edges[1:]
        first = np.floor(starts).astype(int)
        for offset in range(int((np.ceil(stops) - first).max())):
            cell = first + offset
            overlap = np.minimum(stops, cell + 1) - np.maximum(starts, cell)
            inside = (cell >= 0) & (cell < self._grid.count) & (overlap > 0)
            np.add.at(self._sums, cell[inside], overlap[inside, None] * rows[inside])
            np.add.at(self._weights, cell[inside], overlap[inside])
