"""Resample feature rows from one snippet grid to another: rgb every 0.32 s, audio every 0.96 s, frames at 8 fps.

Rules, by name
    mean      average of the source cells, weighted by their overlap with the target cell: a finer source is averaged, a
              coarser one repeated, an equal one copied.
    nearest   the row whose centre is nearest to the target cell's; the earlier one of two.
    linear    interpolation between the two rows whose centres enclose the target cell's.

Before the first source cell and after the last, all rules take the nearest row: features may end one window early.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Num

from avloc.errors import InputError
from avloc.types import SnippetGrid

Rule = Literal["mean", "nearest", "linear"]
RULES: tuple[str, ...] = get_args(Rule)


def resample(
    rows: Num[np.ndarray, "n d"], source: SnippetGrid, target: SnippetGrid, rule: str = "mean"
) -> Float[np.ndarray, "l d"]:
    """Resample rows on grid `source` to grid `target`, as float32.

    Raises:
        InputError: unknown rule, or another number of rows than the source grid's.
    """
    check_rule(rule)
    if len(rows) != source.count:
        raise InputError(f"expected {source.count} rows, as in their grid, got {len(rows)}")
    if source == target:
        return np.asarray(rows, dtype=np.float32)
    if rule == "nearest":
        return np.asarray(rows[_nearest(source, target)], dtype=np.float32)
    return (_linear if rule == "linear" else _mean)(rows, source, target).astype(np.float32)


def check_rule(rule: str) -> None:
    """Raise InputError for an unknown rule."""
    if rule not in RULES:
        raise InputError(f"expected a resampling rule of {', '.join(RULES)}, got {rule!r}")


def _edges(grid: SnippetGrid) -> Float[np.ndarray, " n1"]:
    return float(grid.edge_s(0)) + float(grid.step_s) * np.arange(grid.count + 1)


def _position(source: SnippetGrid, target: SnippetGrid) -> Float[np.ndarray, " l"]:
    """Centres of the target's cells as row positions in the source: 0 is the centre of its first cell."""
    return (target.centres_s() - float(source.edge_s(0))) / float(source.step_s) - 0.5


def _nearest(source: SnippetGrid, target: SnippetGrid) -> np.ndarray:
    halves_go_down = np.ceil(_position(source, target) - 0.5 - 1e-9)
    return np.clip(halves_go_down, 0, source.count - 1).astype(np.int64)


def _linear(rows: Num[np.ndarray, "n d"], source: SnippetGrid, target: SnippetGrid) -> Float[np.ndarray, "l d"]:
    position = np.clip(_position(source, target), 0, source.count - 1)
    below = np.minimum(position.astype(np.int64), max(0, source.count - 2))
    above = np.minimum(below + 1, source.count - 1)
    share = (position - below)[:, None]
    return rows[below] * (1 - share) + rows[above] * share


def _mean(rows: Num[np.ndarray, "n d"], source: SnippetGrid, target: SnippetGrid) -> Float[np.ndarray, "l d"]:
    """Differences of the source's integral (a step function) between the ends of each target cell."""
    edges, cuts = _edges(source), np.clip(_edges(target), float(source.edge_s(0)), float(source.edge_s(source.count)))
    integral = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
    position = np.clip((cuts - edges[0]) / float(source.step_s), 0, source.count)
    whole = np.minimum(np.floor(position + 1e-9).astype(np.int64), source.count)
    inside = np.minimum(whole, source.count - 1)
    at_cuts = integral[whole] + np.maximum(position - whole, 0)[:, None] * rows[inside]
    under = np.diff(position)
    values = np.diff(at_cuts, axis=0) / np.where(under > 1e-6, under, 1)[:, None]
    bare = under <= 1e-6
    values[bare] = rows[_nearest(source, target)[bare]]
    return values
