"""Backgrounds: textured scenes seen by a slowly drifting camera under changing light. Also title cards.

Conventions
    Colours are RGB in [0, 1] while painting, float32 0..255 in a frame. A background is painted once per shot, at
    twice the resolution of a frame and larger than it, so that the camera can move by half pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from avloc.demo.plans import HEIGHT, WIDTH, Card, Shot

FINE = 2
MARGIN = 1.3
ROWS, COLUMNS = int(HEIGHT * FINE * MARGIN), int(WIDTH * FINE * MARGIN)
Image = Float[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Camera:
    """Drift and zoom of a shot, as slow sine waves."""

    drift_px: tuple[float, float]
    period_s: tuple[float, float]
    phase: tuple[float, float]
    zoom: tuple[float, float]
    zoom_period_s: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Camera:
        return cls(
            (rng.uniform(0, 14), rng.uniform(0, 8)),
            (rng.uniform(9, 30), rng.uniform(9, 30)),
            (rng.uniform(0, 6.28), rng.uniform(0, 6.28)),
            (rng.uniform(1.0, 1.1), rng.uniform(0, 0.09)),
            rng.uniform(12, 40),
        )

    def at(self, time_s: float) -> tuple[float, float, float]:
        """(x shift in pixels, y shift in pixels, zoom)."""
        x, y = (
            d * np.sin(6.283 * time_s / p + f) for d, p, f in zip(self.drift_px, self.period_s, self.phase, strict=True)
        )
        return float(x), float(y), float(self.zoom[0] + self.zoom[1] * np.sin(6.283 * time_s / self.zoom_period_s))


@dataclass(frozen=True)
class Background:
    """Background of a shot. A pixel is one 32-bit integer, so that one lookup copies all its channels."""

    points: Shaped[np.ndarray, " n"]
    sway_px: Float[np.ndarray, " h"]  # horizontal sway amplitude of each row (water, grass)
    camera: Camera
    light: Float[np.ndarray, "2 4"]  # [strength, rate, phase, tint] of the brightness wave; phases per colour

    def view(self, time_s: float) -> Float32[np.ndarray, "h w 3"]:
        """The camera's view with lighting, 0..255."""
        x_px, y_px, zoom = self.camera.at(time_s)
        rows = (ROWS / 2 + FINE * (y_px + (np.arange(HEIGHT) - HEIGHT / 2) / zoom)).astype(np.int32)
        columns = (COLUMNS / 2 + FINE * (x_px + (np.arange(WIDTH) - WIDTH / 2) / zoom)).astype(np.int32)
        wave = (FINE * self.sway_px * np.sin(2.4 * time_s + 0.35 * np.arange(HEIGHT))).astype(np.int32)
        seen = self.points.take(rows[:, None] * COLUMNS + columns + wave[:, None])
        colours, light = seen.view(np.uint8).reshape(HEIGHT, WIDTH, 4), self.lit(time_s)
        frame = np.empty((HEIGHT, WIDTH, 3), np.float32)
        for channel in range(3):  # three times as fast as one multiplication over the last axis
            np.multiply(colours[..., channel], light[channel], out=frame[..., channel])
        return frame

    def lit(self, time_s: float) -> Float32[np.ndarray, " 3"]:
        """Gain of each colour channel; 1 leaves the painted colour unchanged."""
        (strength, rate, phase, tint), offsets = self.light
        wave = strength * np.sin(rate * time_s + phase) + 0.3 * strength * np.sin(4.1 * rate * time_s)
        return (1 + wave + tint * np.sin(0.7 * rate * time_s + offsets[:3])).astype(np.float32)


def value_noise(
    rng: np.random.Generator, rows: int, columns: int, cell_y: float, cell_x: float
) -> Float[np.ndarray, "h w"]:
    """Smooth random field in [0, 1]: random values on a grid of `cell` points, interpolated (value noise)."""
    grid = rng.random((int(rows / cell_y) + 2, int(columns / cell_x) + 2))
    y, x = np.arange(rows) / cell_y, np.arange(columns) / cell_x
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = ((f * f * (3 - 2 * f)) for f in (y - iy, x - ix))
    across = grid[:, ix] * (1 - fx) + grid[:, ix + 1] * fx
    return across[iy] * (1 - fy[:, None]) + across[iy + 1] * fy[:, None]


def paint_scene(shot: Shot) -> Background:
    """Paint the background of a shot; takes about 20 ms."""
    rng = np.random.default_rng([shot.seed, 40])
    image, sway_px = _SCENES[shot.kind](rng)
    image = (image * rng.uniform(0.8, 1.15) + rng.uniform(-0.06, 0.1)) * rng.uniform(0.85, 1.15, 3)
    points = np.zeros((ROWS, COLUMNS, 4), np.uint8)
    points[..., :3] = np.clip(image, 0, 1) * 235
    light = np.zeros((2, 4))
    light[0] = rng.uniform(0.01, 0.14), rng.uniform(0.15, 0.9), rng.uniform(0, 6.28), rng.uniform(0, 0.05)
    light[1] = rng.uniform(0, 6.28, 4)
    return Background(points.view(np.uint32).ravel(), sway_px, Camera.random(rng), light)


def _rgb(rng: np.random.Generator, low: float = 0.15, high: float = 0.9) -> Float[np.ndarray, " 3"]:
    return rng.uniform(low, high, 3)


def _fill(rng: np.random.Generator, colour: np.ndarray, rough: float = 0.25, cell: float = 5) -> Image:
    """One colour with noise at two scales."""
    grain = 0.6 * value_noise(rng, ROWS, COLUMNS, 6 * cell, 6 * cell) + 0.4 * value_noise(
        rng, ROWS, COLUMNS, cell, cell
    )
    return np.asarray(colour) * (1 + rough * (2 * grain[..., None] - 1))


def _sky(rng: np.random.Generator) -> Image:
    height = np.linspace(0, 1, ROWS)[:, None, None]
    blue, low = np.array([0.35, 0.55, 0.9]) * rng.uniform(0.7, 1.1), rng.uniform(0.6, 0.95, 3)
    clouds = np.clip(2.5 * value_noise(rng, ROWS, COLUMNS, 40, 90) - 1.2, 0, 1)[..., None]
    return (blue * (1 - height) + low * height) * (1 - 0.5 * clouds) + 0.5 * clouds


def _horizon(rng: np.random.Generator, low: float = 0.4, high: float = 0.6) -> int:
    return int(rng.uniform(low, high) * ROWS)


def _still() -> Float[np.ndarray, " h"]:
    return np.zeros(HEIGHT)


def _below(horizon: int, sway_px: float) -> Float[np.ndarray, " h"]:
    """Sway of the rows: zero above the horizon, increasing towards the bottom."""
    rows = ROWS / 2 + FINE * (np.arange(HEIGHT) - HEIGHT / 2)
    return sway_px * np.clip((rows - horizon) / (ROWS - horizon), 0, 1)


def _meadow(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    image, horizon = _sky(rng), _horizon(rng)
    blades = value_noise(rng, ROWS, COLUMNS, 14, 2.5)[..., None] * rng.uniform(0.5, 0.8)
    grass = _fill(rng, np.array([0.25, 0.5, 0.15]) * rng.uniform(0.7, 1.3, 3)) * (0.6 + blades)
    image[horizon:] = grass[horizon:]
    return image, _below(horizon, rng.uniform(0.5, 2.0))


def _street(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    image, ground = _sky(rng), _horizon(rng, 0.6, 0.72)
    left = 0
    while left < COLUMNS:
        width, top = int(rng.integers(50, 130)), int(rng.uniform(0.05, 0.4) * ROWS)
        image[top:ground, left : left + width] = _fill(rng, _rgb(rng))[top:ground, left : left + width]
        pane, glass = int(rng.integers(9, 16)), _rgb(rng, 0.1, 0.95)
        for y in range(top + 8, ground - pane, 2 * pane):
            for x in range(left + 8, min(COLUMNS, left + width) - pane, 2 * pane):
                image[y : y + pane, x : x + pane] = glass * rng.uniform(0.6, 1.1)
        left += width
    image[ground:] = _fill(rng, np.full(3, rng.uniform(0.25, 0.5)))[ground:]
    image[(ground + ROWS) // 2 :][:6, np.arange(COLUMNS) // 40 % 2 == 0] = 0.85
    return image, _still()


def _room(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    wall, floor = _rgb(rng, 0.4, 0.95), _horizon(rng, 0.6, 0.75)
    stripes = 1 + rng.uniform(0, 0.15) * np.sign(np.sin(np.arange(COLUMNS) / rng.uniform(3, 12)))
    image = _fill(rng, wall, 0.1) * stripes[None, :, None]
    for _ in range(int(rng.integers(1, 5))):  # framed pictures on the wall
        y, x = int(rng.uniform(0.05, 0.3) * ROWS), int(rng.uniform(0, 0.85) * COLUMNS)
        h, w = int(rng.integers(30, 80)), int(rng.integers(30, 90))
        image[y - 4 : y + h + 4, max(0, x - 4) : x + w + 4] = _rgb(rng, 0.1, 0.4)
        part = image[y : y + h, x : x + w]
        part[...] = _fill(rng, _rgb(rng), 0.9)[: part.shape[0], : part.shape[1]]
    boards = 0.85 + 0.15 * np.sign(np.sin(np.arange(ROWS) ** 1.25 / 12))[:, None, None]
    image[floor:] = (_fill(rng, np.array([0.5, 0.34, 0.2]) * rng.uniform(0.6, 1.4)) * boards)[floor:]
    return image, _still()


def _workshop(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    brick_h, brick_w = int(rng.integers(12, 22)), int(rng.integers(26, 44))
    y, x = np.mgrid[:ROWS, :COLUMNS]
    row = y // brick_h
    column = (x + (row % 2) * brick_w // 2) // brick_w
    tone = rng.uniform(0.7, 1.2, 997)[(row * 61 + column * 17) % 997][..., None]
    image = _fill(rng, np.array([0.6, 0.33, 0.25]) * rng.uniform(0.6, 1.3, 3)) * tone
    image[(y % brick_h < 2) | ((x + (row % 2) * brick_w // 2) % brick_w < 2)] = rng.uniform(0.4, 0.75)
    bench = _horizon(rng, 0.68, 0.8)
    image[bench:] = _fill(rng, _rgb(rng, 0.2, 0.55), 0.5, 9)[bench:]
    return image, _still()


def _seaside(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    image, shore = _sky(rng), _horizon(rng, 0.72, 0.85)
    sea = _horizon(rng, 0.35, 0.5)
    swell = value_noise(rng, ROWS, COLUMNS, 5, 34)[..., None]
    water = np.array([0.12, 0.38, 0.5]) * rng.uniform(0.7, 1.3, 3) * (0.6 + 0.9 * swell)
    image[sea:shore] = water[sea:shore]
    image[shore:] = _fill(rng, np.array([0.8, 0.7, 0.5]) * rng.uniform(0.8, 1.1), 0.2, 2)[shore:]
    return image, _below(sea, rng.uniform(1.5, 4.0))


def _stage(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    folds = 0.65 + 0.35 * np.sin(np.arange(COLUMNS) / rng.uniform(5, 14) + 2 * value_noise(rng, 1, COLUMNS, 1, 60)[0])
    image = _fill(rng, _rgb(rng, 0.1, 0.7)) * folds[None, :, None]
    floor = _horizon(rng, 0.65, 0.78)
    image[floor:] = _fill(rng, np.array([0.45, 0.3, 0.2]))[floor:]
    y, x = np.mgrid[:ROWS, :COLUMNS]
    spot = ((x - rng.uniform(0.3, 0.7) * COLUMNS) / 190) ** 2 + ((y - rng.uniform(0.4, 0.6) * ROWS) / 150) ** 2
    return image * (0.45 + 0.9 * np.exp(-spot))[..., None], _still()


def _forest(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    image = _fill(rng, np.array([0.2, 0.38, 0.2]), 0.9, 7)
    for _ in range(int(rng.integers(7, 14))):
        x, width = int(rng.integers(0, COLUMNS - 40)), int(rng.integers(10, 36))
        bark = np.array([0.33, 0.25, 0.18]) * (0.6 + 0.8 * value_noise(rng, ROWS, width, 20, 3))[..., None]
        image[:, x : x + width] = bark * rng.uniform(0.6, 1.3)
    floor = _horizon(rng, 0.75, 0.85)
    image[floor:] = _fill(rng, np.array([0.4, 0.33, 0.15]), 0.8, 4)[floor:]
    return image, np.full(HEIGHT, rng.uniform(0, 0.7))


def _night(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    image, _ = _street(rng)
    image = image * np.array([0.16, 0.18, 0.3])
    y, x = np.mgrid[:ROWS, :COLUMNS]
    for _ in range(int(rng.integers(5, 12))):
        far = (x - rng.integers(COLUMNS)) ** 2 + (y - rng.uniform(0.2, 0.8) * ROWS) ** 2
        image += np.exp(-far / rng.uniform(60, 900))[..., None] * rng.uniform(0.3, 1, 3)
    return image, _still()


def paint_card(card: Card) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[slice, slice]]:
    """Pixels of a title card or logo, and the part of the frame that it covers."""
    rng = np.random.default_rng([card.seed, 41])
    share_y, share_x = (1.0, 1.0) if card.full else rng.uniform(0.75, 0.92, 2)
    rows, columns = int(HEIGHT * share_y), int(WIDTH * share_x)
    y, x = (HEIGHT - rows) // 2, (WIDTH - columns) // 2
    down, right = np.mgrid[:rows, :columns] / [[[rows]], [[columns]]]
    ground, ink = _rgb(rng, 0.0, 1.0), _rgb(rng, 0.0, 1.0)
    ink = 1 - ground if np.abs(ground - ink).sum() < 0.8 else ink
    image = ground * (0.75 + 0.25 * (rng.uniform(-1, 1) * down + rng.uniform(-1, 1) * right))[..., None]
    if rng.random() < 0.6:  # an emblem
        ring = np.hypot((right - 0.5) * columns / rows, down - 0.33)
        image[(ring < 0.2) & (np.sin(rng.integers(3, 9) * np.arctan2(down - 0.33, right - 0.5)) > -0.4)] = ink
    for line in range(int(rng.integers(1, 4))):  # bars that look like lines of text
        top, word = int((0.62 + 0.12 * line) * rows), int(0.12 * columns)
        while word < rng.uniform(0.6, 0.9) * columns:
            width = int(rng.integers(8, 28))
            image[top : top + max(4, rows // 22), word : min(word + width, int(0.9 * columns))] = ink
            word += width + 5
    return (np.clip(image, 0, 1) * 235).astype(np.uint8), (slice(y, y + rows), slice(x, x + columns))


_SCENES: dict[str, Callable[[np.random.Generator], tuple[Image, np.ndarray]]] = {
    "meadow": _meadow,
    "street": _street,
    "room": _room,
    "workshop": _workshop,
    "seaside": _seaside,
    "stage": _stage,
    "forest": _forest,
    "night": _night,
}
