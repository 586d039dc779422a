"""appearance: colour, edges and motion of a snippet. No weights, numpy only.

Six pictures a second at 96 x 128; a 3 x 4 grid of cells of 32 x 32 pixels, cells row by row. Pixel values are in
[0, 1]; Y is luma, Cr = R - Y, Cb = B - Y. "pair" is two consecutive pictures of the snippet.

Channels (300):
    colour  0-35     mean over pixels and time of Y, Cr, Cb: 12 cells each
            36-47    standard deviation of Y over a cell's pixels, mean over time
            48-111   square root of the frequency of 4 x 4 x 4 RGB colours (r slowest, b fastest)
    edges   112-207  histogram of gradient orientation (unsigned), 8 bins of 22.5 degrees from 0 for each cell,
                     square root of the share; flat cells are 0
            208-219  log(1 + 32 x mean gradient magnitude) per cell
    motion  220-231  log(1 + 32 x mean |difference|) per cell, mean over pairs
            232-243  the same, maximum over pairs
            244-255  standard deviation over time of each cell's mean Y, times 4
            256-287  direction of motion: 8 sectors from 0 (rightwards) through 90 degrees (downwards) for the 4
                     quarters of the picture; difference-weighted share of the normal flow, square root
            288-289  drift of the whole picture, x and y, in pixels per pair / 4
            290      mean length of that drift / 4
            291      mean |change of brightness| of the whole picture, times 8
            292-294  log(1 + 32 x) of all cells' motion: mean, standard deviation and maximum over pairs
            295      share of pixels that move (difference above 0.06)
            296-297  centre of motion, x and y, in [-1, 1]
            298-299  spread of motion around it, x and y

Differences are taken after removing the change of overall brightness and a drift of the whole picture (camera) of up
to 6 pixels, found by matching row and column profiles with a median, which an object that moves alone does not sway.
Snippets of one picture have no motion: zeros.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Float32, Int, UInt8

__all__ = ["Appearance", "drift_px"]

HEIGHT, WIDTH, CELL = 96, 128, 32
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
CELLS = ROWS * COLUMNS
BINS = 8
MAX_DRIFT_PX = 6
GAIN = np.float32(32)
MOVING = np.float32(0.06)


class Appearance:
    """(n, frames, 96, 128, 3) -> (n, 300). See the top of the file for the channels."""

    name = "appearance"
    modality = "visual"
    size = 300
    licence = "Apache-2.0"
    weights: str | None = None
    frame_rate: Fraction | None = Fraction(6)
    frames_per_snippet: int | None = None
    frame_size: tuple[int, int] | int = (HEIGHT, WIDTH)

    def __call__(self, batch: UInt8[np.ndarray, "n frames 96 128 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet; snippets do not look at each other."""
        # one at a time: the temporaries of a snippet fit the processor's cache, those of a batch cost twice the time
        return np.concatenate([self._rows(batch[i : i + 1]) for i in range(len(batch))])

    def _rows(self, batch: UInt8[np.ndarray, "n frames 96 128 3"]) -> Float32[np.ndarray, "n size"]:
        rgb = batch.astype(np.float32) / np.float32(255)
        red, green, blue = (np.float32(weight) for weight in (0.299, 0.587, 0.114))
        luma = red * rgb[..., 0] + green * rgb[..., 1] + blue * rgb[..., 2]
        dx, dy = _gradients(luma)
        parts = [*_colour(batch, rgb, luma), *_edges(dx, dy), *_motion(luma, dx, dy)]
        return np.concatenate(parts, axis=1).astype(np.float32, copy=False)


def _cells(images: Float32[np.ndarray, "*lead 96 128"]) -> Float32[np.ndarray, "*lead 12"]:
    """Mean of each cell."""
    lead = images.shape[:-2]
    blocks = images.reshape(*lead, ROWS, CELL, COLUMNS, CELL)
    return blocks.mean(axis=(-3, -1)).reshape(*lead, CELLS)


def _colour(
    batch: UInt8[np.ndarray, "n f h w 3"], rgb: Float32[np.ndarray, "n f h w 3"], luma: Float32[np.ndarray, "n f h w"]
) -> list[Float32[np.ndarray, "n _"]]:
    mean_y = _cells(luma)
    mean_r, mean_b = _cells(rgb[..., 0]), _cells(rgb[..., 2])
    spread = np.sqrt(np.maximum(_cells(luma * luma) - mean_y * mean_y, 0)).mean(axis=1)
    means = [mean_y.mean(axis=1), (mean_r - mean_y).mean(axis=1), (mean_b - mean_y).mean(axis=1)]

    quarter = batch[:, :, ::2, ::2] >> 6  # every second pixel is enough for a histogram
    code = (quarter[..., 0] * 16 + quarter[..., 1] * 4 + quarter[..., 2]).reshape(len(batch), -1)
    counts = _histogram(code.astype(np.intp), None, 64)
    return [*means, spread, np.sqrt(counts / np.float32(code.shape[1]))]


def _histogram(
    codes: Int[np.ndarray, "rows m"], weights: Float32[np.ndarray, "rows m"] | None, bins: int
) -> Float32[np.ndarray, "rows bins"]:
    """Weighted count of each code in each row."""
    rows = len(codes)
    flat = (codes + bins * np.arange(rows)[:, None]).ravel()
    counts = np.bincount(flat, None if weights is None else weights.ravel(), minlength=rows * bins)
    return counts.reshape(rows, bins).astype(np.float32)


def _gradients(luma: Float32[np.ndarray, "*lead h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Central differences in x and y, zero at the border."""
    dx, dy = np.zeros_like(luma), np.zeros_like(luma)
    dx[..., 1:-1] = (luma[..., 2:] - luma[..., :-2]) / 2
    dy[..., 1:-1, :] = (luma[..., 2:, :] - luma[..., :-2, :]) / 2
    return dx, dy


def _edges(dx: Float32[np.ndarray, "n f h w"], dy: Float32[np.ndarray, "n f h w"]) -> list[Float32[np.ndarray, "n _"]]:
    count = len(dx)
    magnitude = np.sqrt(dx * dx + dy * dy)
    turn = np.arctan2(dy, dx) * np.float32(BINS / np.pi)  # half a turn is BINS bins: orientation has no sign
    bins = np.floor(turn).astype(np.intp) % BINS
    cell = (np.arange(HEIGHT)[:, None] // CELL) * COLUMNS + np.arange(WIDTH) // CELL
    codes = (cell * BINS + bins).reshape(count, -1)
    strength = _histogram(codes, magnitude.reshape(count, -1), CELLS * BINS).reshape(count, CELLS, BINS)
    # per pixel, a noise floor of 1 / 500 of full scale: what is below it is flat
    total = strength.sum(axis=-1, keepdims=True) + np.float32(0.002 * CELL * CELL * dx.shape[1])
    shares = np.sqrt(strength / total).reshape(count, -1)
    return [shares, np.log1p(GAIN * _cells(magnitude).mean(axis=1))]


def drift_px(profiles: Float32[np.ndarray, "n f m"]) -> Int[np.ndarray, "n pairs"]:
    """How far each profile has moved against the one before it, in whole pixels; positive: to higher indices.

    The shift with the smallest median mismatch, if it at least halves that of standing still.
    """
    before, after = profiles[:, :-1], profiles[:, 1:]
    length = profiles.shape[-1]
    margin = MAX_DRIFT_PX
    middle = before[..., margin : length - margin]
    shifts = np.array(sorted(range(-margin, margin + 1), key=abs))
    inside = length - 2 * margin
    errors = [np.abs(after[..., margin + s : margin + s + inside] - middle) for s in shifts]
    mismatch = np.stack([np.partition(error, inside // 2, axis=-1)[..., inside // 2] for error in errors])
    best = mismatch.argmin(axis=0)
    clear = np.take_along_axis(mismatch, best[None], axis=0)[0] < 0.5 * mismatch[0] - 1e-3
    return np.where(clear, shifts[best], 0)


def _motion(
    luma: Float32[np.ndarray, "n f h w"], dx: Float32[np.ndarray, "n f h w"], dy: Float32[np.ndarray, "n f h w"]
) -> list[Float32[np.ndarray, "n _"]]:
    count, frames = luma.shape[:2]
    if frames < 2:
        return [np.zeros((count, 80), np.float32)]
    level = luma.mean(axis=(2, 3), keepdims=True)
    even = luma - level
    drift_y = drift_px(even.mean(axis=3))
    drift_x = drift_px(even.mean(axis=2))
    change = _compensated_change(even, drift_x, drift_y)

    size = np.abs(change)
    cells = _cells(size)
    flicker = _cells(luma).std(axis=1) * 4
    per_pair = np.log1p(GAIN * cells.mean(axis=2))
    drift = np.stack([drift_x, drift_y], axis=-1).astype(np.float32) / 4
    brightness = np.abs(np.diff(level[:, :, 0, 0], axis=1)).mean(axis=1) * 8
    overall = [
        *(drift[..., 0].mean(axis=1), drift[..., 1].mean(axis=1)),
        *(np.hypot(drift[..., 0], drift[..., 1]).mean(axis=1), brightness),
        *(per_pair.mean(axis=1), per_pair.std(axis=1), per_pair.max(axis=1)),
        (size > MOVING).mean(axis=(1, 2, 3)),
        *_centre_and_spread(size.mean(axis=1)),
    ]
    return [
        np.log1p(GAIN * cells).mean(axis=1),
        np.log1p(GAIN * cells).max(axis=1),
        flicker,
        _directions((dx[:, 1:] + dx[:, :-1]) / 2, (dy[:, 1:] + dy[:, :-1]) / 2, change),
        np.stack(overall, axis=1).astype(np.float32),
    ]


def _compensated_change(
    even: Float32[np.ndarray, "n f h w"], drift_x: Int[np.ndarray, "n pairs"], drift_y: Int[np.ndarray, "n pairs"]
) -> Float32[np.ndarray, "n pairs h w"]:
    """Each picture minus the one before it moved along with the drift; zero where that one does not reach."""
    change = even[:, 1:] - even[:, :-1]
    for snippet, pair in zip(*np.nonzero((drift_x != 0) | (drift_y != 0)), strict=True):
        dx, dy = int(drift_x[snippet, pair]), int(drift_y[snippet, pair])
        moved = np.roll(even[snippet, pair], (dy, dx), axis=(0, 1))
        here = change[snippet, pair]
        here[:] = even[snippet, pair + 1] - moved
        here[: max(dy, 0)] = here[HEIGHT + min(dy, 0) :] = 0
        here[:, : max(dx, 0)] = here[:, WIDTH + min(dx, 0) :] = 0
    return change


def _directions(
    dx: Float32[np.ndarray, "n pairs h w"],
    dy: Float32[np.ndarray, "n pairs h w"],
    change: Float32[np.ndarray, "n pairs h w"],
) -> Float32[np.ndarray, "n 32"]:
    """Shares of 8 directions of motion in the 4 quarters of the picture.

    Brightness moves along its gradient against the sign of its change: that is all one pixel can say of the motion.
    """
    count = len(change)
    sign = -np.sign(change)
    turn = np.arctan2(dy * sign, dx * sign) * np.float32(BINS / (2 * np.pi))
    bins = np.rint(turn).astype(np.intp) % BINS
    quarter = (np.arange(HEIGHT)[:, None] // (HEIGHT // 2)) * 2 + np.arange(WIDTH) // (WIDTH // 2)
    codes = (quarter * BINS + bins).reshape(count, -1)
    weights = np.minimum(np.abs(change), 0.25) * np.minimum(np.sqrt(dx * dx + dy * dy), 0.25)
    strength = _histogram(codes, weights.reshape(count, -1), 4 * BINS)
    floor = np.float32(1e-5 * codes.shape[1])
    return np.sqrt(strength / (strength.sum(axis=1, keepdims=True) + floor))


def _centre_and_spread(size: Float32[np.ndarray, "n h w"]) -> list[Float32[np.ndarray, " n"]]:
    """Centre of motion (x, y) and its spread (x, y), in half widths and heights from the middle."""
    moving = np.maximum(size - MOVING / 2, 0)
    total = moving.sum(axis=(1, 2)) + np.float32(1.0)
    x, y = (np.linspace(-1, 1, m, dtype=np.float32) for m in (WIDTH, HEIGHT))
    along_x, along_y = moving.sum(axis=1), moving.sum(axis=2)
    centre_x, centre_y = along_x @ x / total, along_y @ y / total
    spread_x = np.sqrt(np.maximum(along_x @ (x * x) / total - centre_x**2, 0))
    spread_y = np.sqrt(np.maximum(along_y @ (y * y) / total - centre_y**2, 0))
    return [centre_x, centre_y, spread_x, spread_y]
