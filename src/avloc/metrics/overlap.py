"""Temporal intersection over union.

Defined for every input: a zero-length, reversed or non-finite segment overlaps nothing, so its t-IoU with any segment,
itself included, is 0. (The ActivityNet toolkit computes 0/0 there.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Num

from avloc.types import Detection, Instance

Labelled = TypeVar("Labelled", Instance, Detection, Instance | Detection)


def t_iou(a: Num[np.ndarray, "n 2"], b: Num[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """t-IoU of every segment of `a` with every segment of `b`.

    Args:
        a, b: rows of (start, end) in seconds.

    Returns:
        (n, m), in [0, 1]: length of the intersection / length of the union. Symmetric to the bit; 0 for adjacent and
        zero-length segments.
    """
    return paired_t_iou(a[:, None, 0], a[:, None, 1], b[None, :, 0], b[None, :, 1])


def paired_t_iou(
    start_a: Num[np.ndarray, "*#shape"],
    end_a: Num[np.ndarray, "*#shape"],
    start_b: Num[np.ndarray, "*#shape"],
    end_b: Num[np.ndarray, "*#shape"],
    undefined: float = 0.0,
) -> Float[np.ndarray, "*#shape"]:
    """Elementwise t-IoU, with broadcasting. `undefined` is the value where it is not a number: 0/0, NaN times."""
    with np.errstate(invalid="ignore", divide="ignore"):  # infinite times: inf - inf
        intersection = np.maximum(np.minimum(end_a, end_b) - np.maximum(start_a, start_b), 0.0)
        # Keep this order: thresholds are met exactly, so the last bit of the sum matters.
        union = (end_a - start_a) + (end_b - start_b) - intersection
        overlap = intersection / union
    return np.where(np.isnan(overlap), undefined, np.maximum(overlap, 0.0))  # never -0.0, of a negative union


def lanes(
    segments: Iterable[Labelled], span: Callable[[Labelled], tuple[float, float]] = lambda s: (s.start_s, s.end_s)
) -> list[list[Labelled]]:
    """Distribute segments over the fewest rows without overlap within a row; each row is in order of time.

    Args:
        span: (start, end) of a segment, for comparison; seconds by default.
    """
    rows: list[list[Labelled]] = []
    busy: list[tuple[float, int]] = []  # (end of its last segment, row)
    free: list[int] = []
    for item in sorted(segments, key=lambda s: (s.start_s, s.end_s)):
        start, end = span(item)
        while busy and busy[0][0] <= start:
            heappush(free, heappop(busy)[1])
        number = heappop(free) if free else len(rows)
        if number == len(rows):
            rows.append([])
        rows[number].append(item)
        heappush(busy, (end, number))
    return rows
