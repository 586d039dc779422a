"""appearance: shape, motion and colour of moving objects, independent of their position. No weights.

Frames are 96 x 128 at 12 fps. Pixel values are in [0, 1]; a "pair" is a frame of the snippet and the one before it, for
the first frame the last of the snippet before (version 1 left this pair out, and with it what changes between two
snippets). The first frame of a video is paired with itself. A frame has
12 x 16 cells of 8 x 8 pixels; a *patch* is 3 x 3 cells, at each of 10 x 14 positions. The descriptor of a patch is the
gradient orientations of its cells (8 unsigned bins each, as in HOG) and the motion energy of its cells, each part of
unit length. It is projected on 256 fixed random directions and rectified (random features: Rahimi & Recht 2008).
Responses are pooled over moving patches, so that an object gives nearly the same row at any position and a static
background gives none.

Channels (584):
    parts   0-255    mean response over patches, weighted by their motion
            256-511  largest response over moving patches
    motion  512-513  global drift of the frame, x and y, in pixels per pair / 4
            514      mean length of that drift / 4
            515      mean |change of brightness| of the frame, times 8
            516-518  log(1 + 32 x) of motion: mean over the frame, deviation and maximum over cells
            519      fraction of moving pixels (difference above 0.06)
    colour  520-583  of moving pixels: square root of the frequency of 4 x 4 x 4 RGB colours (r slowest, b fastest)

Differences of luma are taken after removing the change of overall brightness and a global drift (camera) of up to 6
pixels, found by matching row and column profiles with a median, which a single moving object does not affect. Without
motion all channels are zero.

There are no channels for position or for the colours of the whole frame: with a few dozen training videos they identify
the scene of each training video, and a weakly supervised classifier then labels the scene as the action and the action
as background. docs/decisions.md has the figures.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

HEIGHT, WIDTH, CELL, PATCH = 96, 128, 8, 3
BINS = 8
PARTS = 256
MAX_DRIFT_PX = 6
GAIN = np.float32(32)
MOVING = np.float32(0.06)
STILL = np.float32(0.04)  # smaller differences are sensor and compression noise


class Appearance:
    """(n, 1 + frames, 96, 128, 3) -> (n, 584). See the top of the file for the channels."""

    name = "appearance"
    modality = "visual"
    size = 2 * PARTS + 8 + 64
    licence = "Apache-2.0"
    version = "2"
    weights: str | None = None
    frame_rate: Fraction | None = Fraction(12)
    frames_per_snippet: int | None = None
    frame_size: tuple[int, int] | int = (HEIGHT, WIDTH)
    frames_before = 1

    def __call__(self, batch: UInt8[np.ndarray, "n frames 96 128 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet, whose frames follow the last one of the snippet before."""
        # one at a time: the temporaries then fit the CPU cache; a whole batch takes twice the time
        return np.stack([_row(frames) for frames in batch])


def _row(frames: UInt8[np.ndarray, "f 96 128 3"]) -> Float32[np.ndarray, " size"]:
    red, green, blue = (np.float32(weight / 255) for weight in (0.299, 0.587, 0.114))
    luma = red * frames[..., 0] + green * frames[..., 1] + blue * frames[..., 2]
    if len(frames) < 2:
        return np.zeros(Appearance.size, np.float32)
    level = luma.mean(axis=(1, 2), keepdims=True)
    even = luma - level
    drift_y, drift_x = (drift_px(even.mean(axis=axis)[None])[0] for axis in (2, 1))
    change = np.abs(_compensated_change(even, drift_x, drift_y))
    energy = _cells(np.maximum(change - STILL, 0))
    parts = _parts(_orientations(luma[1:]), energy)
    motion = _motion(change, level[:, 0, 0], drift_x, drift_y)
    return np.concatenate([parts, motion, _colour(frames[1:], change > MOVING)]).astype(np.float32, copy=False)


def _cells(images: Float32[np.ndarray, "f 96 128"]) -> Float32[np.ndarray, "f 12 16"]:
    """Mean over each cell."""
    return images.reshape(len(images), HEIGHT // CELL, CELL, WIDTH // CELL, CELL).mean(axis=(2, 4))


def _colour(frames: UInt8[np.ndarray, "f h w 3"], moves: Bool[np.ndarray, "f h w"]) -> Float32[np.ndarray, " 64"]:
    quarter = frames[moves] >> 6
    code = quarter[:, 0] * 16 + quarter[:, 1] * 4 + quarter[:, 2]
    floor = 1e-4 * moves.size  # suppresses the colours of a few noisy pixels
    return np.sqrt(np.bincount(code, minlength=64) / (code.size + floor)).astype(np.float32)


def _orientations(luma: Float32[np.ndarray, "f 96 128"]) -> Float32[np.ndarray, "f 12 16 8"]:
    """Mean gradient magnitude per cell and unsigned orientation: 8 bins for 180 degrees."""
    dx, dy = np.zeros_like(luma), np.zeros_like(luma)
    dx[:, :, 1:-1] = (luma[:, :, 2:] - luma[:, :, :-2]) / 2
    dy[:, 1:-1] = (luma[:, 2:] - luma[:, :-2]) / 2
    bins = np.floor(np.arctan2(dy, dx) * np.float32(BINS / np.pi)).astype(np.intp) % BINS
    across = WIDTH // CELL
    cell = (np.arange(HEIGHT)[:, None] // CELL) * across + np.arange(WIDTH) // CELL
    frame = np.arange(len(luma))[:, None, None] * (HEIGHT // CELL * across)
    codes = (frame + cell) * BINS + bins
    size = len(luma) * (HEIGHT // CELL) * across * BINS
    strength = np.bincount(codes.ravel(), np.sqrt(dx * dx + dy * dy).ravel(), minlength=size)
    return (strength / (CELL * CELL)).reshape(len(luma), HEIGHT // CELL, across, BINS).astype(np.float32)


def _patches(cells: Float32[np.ndarray, "f rows columns k"]) -> Float32[np.ndarray, "f places k9"]:
    """The 3 x 3 cells of each patch, concatenated."""
    rows, columns = (n - PATCH + 1 for n in cells.shape[1:3])
    shifted = [cells[:, i : i + rows, j : j + columns] for i in range(PATCH) for j in range(PATCH)]
    return np.concatenate(shifted, axis=-1).reshape(len(cells), rows * columns, -1)


def _unit(rows: Float32[np.ndarray, "*n d"], floor: float) -> Float32[np.ndarray, "*n d"]:
    """Rows scaled to about unit length; rows well below `floor` stay near 0."""
    return rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + np.float32(floor))


@cache
def _directions() -> Float32[np.ndarray, "d parts"]:
    """The random directions, from a fixed seed."""
    inputs = PATCH * PATCH * (BINS + 1)
    rng = np.random.Generator(np.random.PCG64(20210503))
    return (3 / np.sqrt(inputs) * rng.standard_normal((inputs, PARTS))).astype(np.float32)


def _parts(
    orientations: Float32[np.ndarray, "f 12 16 8"], energy: Float32[np.ndarray, "f 12 16"]
) -> Float32[np.ndarray, " 512"]:
    """Motion-weighted mean and maximum of the patch responses."""
    moving = _patches(energy[..., None])
    described = np.concatenate([_unit(_patches(orientations), 0.05), _unit(moving, 0.02)], axis=-1)
    rows = described.reshape(-1, described.shape[-1])
    weight = moving.mean(axis=-1).ravel()
    busy = weight > 0  # the other patches do not contribute; busy ones are rarely more than half
    response = np.maximum(rows[busy] @ _directions(), 0)
    weight = weight[busy]
    mean = weight @ response / (weight.sum() + np.float32(1e-3))
    most = (response * np.minimum(20 * weight, 1)[:, None]).max(axis=0, initial=0)
    return np.concatenate([mean, most])


def _motion(
    change: Float32[np.ndarray, "pairs h w"],
    level: Float32[np.ndarray, " f"],
    drift_x: Int[np.ndarray, " pairs"],
    drift_y: Int[np.ndarray, " pairs"],
) -> Float32[np.ndarray, " 8"]:
    cells = _cells(change)
    amounts = np.log1p(GAIN * np.array([cells.mean(), cells.mean(axis=0).std(), cells.max()]))
    drift = np.array([drift_x.mean(), drift_y.mean(), np.hypot(drift_x, drift_y).mean()]) / 4
    brightness = np.abs(np.diff(level)).mean() * 8
    return np.array([*drift, brightness, *amounts, (change > MOVING).mean()], dtype=np.float32)


def drift_px(profiles: Float32[np.ndarray, "n f m"]) -> Int[np.ndarray, "n pairs"]:
    """Shift of each profile relative to the previous one, in whole pixels; positive means to higher indices.

    The shift with the smallest median mismatch, if that is less than half the mismatch without shift; else 0.
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


def _compensated_change(
    even: Float32[np.ndarray, "f h w"], drift_x: Int[np.ndarray, " pairs"], drift_y: Int[np.ndarray, " pairs"]
) -> Float32[np.ndarray, "pairs h w"]:
    """Each frame minus the drift-shifted previous frame; zero where the two do not overlap."""
    change = even[1:] - even[:-1]
    for pair in np.flatnonzero((drift_x != 0) | (drift_y != 0)):
        dx, dy = int(drift_x[pair]), int(drift_y[pair])
        here = change[pair]
        here[:] = even[pair + 1] - np.roll(even[pair], (dy, dx), axis=(0, 1))
        here[: max(dy, 0)] = here[HEIGHT + min(dy, 0) :] = 0
        here[:, : max(dx, 0)] = here[:, WIDTH + min(dx, 0) :] = 0
    return change
