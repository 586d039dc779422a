"""Visual distractors: moving objects that belong to no class.

Conventions
    Positions are in pixels of the unzoomed frame. A distractor is visible from its `start_s` to its `end_s`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32

from avloc.demo.actors import Canvas, Drawer, Sprites, draw_poses
from avloc.demo.plans import HEIGHT, WIDTH, Extra

Path = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Distractor:
    """One distractor; its path is computed once.

    Args:
        extra: its kind and time.
        times_s: (t,) times of the video's frames.
    """

    def __init__(self, extra: Extra, times_s: Float[np.ndarray, " t"]) -> None:
        rng = np.random.default_rng([extra.seed, 60])
        self.extra = extra
        self.sprites: Sprites | None = None
        if extra.kind == "specks":
            self.specks = rng.random((int(rng.integers(25, 90)), 4))
            self.tint = rng.uniform(120, 255, 3).astype(np.float32)
        else:
            draw, path = _DISTRACTORS[extra.kind]
            self.sprites = draw_poses(draw, int(rng.integers(18, 44)), extra.seed)
            local_s = np.clip(times_s - extra.start_s, 0, extra.end_s - extra.start_s)
            self.x_px, self.y_px, self.pose = path(rng, local_s)
            share = local_s / (extra.end_s - extra.start_s)
            if extra.kind in _CROSSING:  # from one side of the frame to the other
                way = share * (WIDTH + 60) - 30
                self.x_px = way if rng.random() < 0.5 else WIDTH - way

    def draw(
        self,
        frame: Float32[np.ndarray, "h w 3"],
        index: int,
        time_s: float,
        camera: tuple[float, float, float],
        light: np.ndarray,
    ) -> None:
        """Draw the distractor onto frame `index`, if it is visible then."""
        if not self.extra.start_s <= time_s < self.extra.end_s:
            return
        if self.sprites is None:
            self._draw_specks(frame, time_s)
            return
        x_px, y_px = to_screen(float(self.x_px[index]), float(self.y_px[index]), camera)
        self.sprites.paste(frame, float(self.pose[index]) % 1, x_px, y_px, light)

    def _draw_specks(self, frame: Float32[np.ndarray, "h w 3"], time_s: float) -> None:
        """Snow, leaves or dust: points that fall at individual speeds."""
        x, y, speed, sway = self.specks.T
        columns = (x * WIDTH + 12 * np.sin(time_s * (0.5 + sway) + 6 * x)).astype(int) % (WIDTH - 1)
        rows = (y * HEIGHT + time_s * (8 + 40 * speed)).astype(int) % (HEIGHT - 1)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            frame[rows + down, columns + right] = 0.35 * frame[rows + down, columns + right] + 0.65 * self.tint


def to_screen(x_px: float, y_px: float, camera: tuple[float, float, float]) -> tuple[float, float]:
    """Frame position of a scene position under the camera's (x shift, y shift, zoom)."""
    shift_x, shift_y, zoom = camera
    return (x_px - WIDTH / 2 - shift_x) * zoom + WIDTH / 2, (y_px - HEIGHT / 2 - shift_y) * zoom + HEIGHT / 2


def _draw_ball(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    canvas.draw(canvas.disc(0, 0, 0.85), colours[0])
    for spot in range(3):
        angle = 2 * np.pi * (pose + spot / 3)
        canvas.draw(canvas.disc(0.5 * np.cos(angle), 0.5 * np.sin(angle), 0.2), colours[1])


def _draw_bird(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    lift = 0.6 * np.sin(2 * np.pi * pose)
    canvas.draw(canvas.oval(0, 0, 0.4, 0.16), 0.6 * colours[0])
    for side in (-1, 1):
        canvas.draw(canvas.rod((0, 0), (side * 0.8, -lift), 0.09), 0.6 * colours[1])


def _draw_balloon(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    canvas.draw(canvas.rod((0, 0.3), (0.1 * np.sin(2 * np.pi * pose), 0.95), 0.03), np.full(3, 0.2))
    canvas.draw(canvas.oval(0, -0.25, 0.5 + 0.15 * shape[0], 0.65), colours[0])


def _draw_walker(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    stride = 0.35 * np.sin(2 * np.pi * pose)
    for side in (-1, 1):
        canvas.draw(canvas.rod((0, 0.3), (side * stride, 0.9), 0.09), 0.5 * colours[0])
        canvas.draw(canvas.rod((0, -0.25), (-0.8 * side * stride, 0.25), 0.07), colours[1])
    canvas.draw(canvas.rod((0, -0.2), (0, 0.3), 0.17), colours[1])
    canvas.draw(canvas.disc(0, -0.65, 0.2), np.array([0.8, 0.6, 0.5]) * (0.5 + 0.5 * shape[0]))


def _draw_pinwheel(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    canvas.draw(canvas.rod((0, 0), (0, 0.95), 0.05), np.full(3, 0.3))
    for blade in range(4):
        angle = np.pi / 2 * (blade + pose)
        canvas.draw(canvas.disc(0.35 * np.cos(angle), 0.35 * np.sin(angle) - 0.2, 0.28), colours[blade % 2])


def _draw_kite(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    canvas.draw((np.abs(canvas.u) * 1.4 + np.abs(canvas.v + 0.3) - 0.6) / 1.7, colours[0])
    for knot in range(4):
        canvas.draw(canvas.disc(0.2 * np.sin(6.28 * pose + knot), 0.4 + 0.15 * knot, 0.08), colours[1])


def _bounce(rng: np.random.Generator, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hops = np.abs(np.sin(np.pi * rng.uniform(0.6, 1.5) * times_s))
    return times_s, rng.uniform(0.7, 0.9) * HEIGHT - rng.uniform(20, 60) * hops, times_s * rng.uniform(0.3, 1.2)


def _fly(rng: np.random.Generator, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sway = rng.uniform(4, 14) * np.sin(rng.uniform(0.6, 2) * times_s)
    return times_s, rng.uniform(0.1, 0.45) * HEIGHT + sway, times_s * rng.uniform(1.2, 3.2)


def _walk(rng: np.random.Generator, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return times_s, np.full(len(times_s), rng.uniform(0.6, 0.85) * HEIGHT), times_s * rng.uniform(0.7, 1.6)


def _rise(rng: np.random.Generator, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x_px = rng.uniform(0.1, 0.9) * WIDTH + 8 * np.sin(rng.uniform(0.5, 1.2) * times_s)
    return x_px, HEIGHT + 20 - rng.uniform(9, 25) * times_s, times_s * 0.3


def _spin(rng: np.random.Generator, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = np.full((2, len(times_s)), [[rng.uniform(0.08, 0.92) * WIDTH], [rng.uniform(0.55, 0.85) * HEIGHT]])
    return place[0], place[1], times_s * rng.uniform(0.5, 3) + 0.3 * np.sin(times_s)


def _hover(rng: np.random.Generator, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x_px = (0.5 + 0.4 * np.sin(rng.uniform(0.3, 0.8) * times_s + rng.uniform(0, 6))) * WIDTH
    return x_px, (0.25 + 0.15 * np.sin(rng.uniform(0.7, 1.5) * times_s)) * HEIGHT, times_s * rng.uniform(0.5, 1.5)


_CROSSING = ("ball", "bird", "walker")
_DISTRACTORS: dict[str, tuple[Drawer, Path]] = {
    "ball": (_draw_ball, _bounce),
    "bird": (_draw_bird, _fly),
    "balloon": (_draw_balloon, _rise),
    "walker": (_draw_walker, _walk),
    "pinwheel": (_draw_pinwheel, _spin),
    "kite": (_draw_kite, _hover),
}
