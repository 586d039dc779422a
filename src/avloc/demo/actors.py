"""Objects that perform the actions: textured sprites drawn from simple shapes in a number of poses, and their motion.

Conventions
    A shape is a signed distance function (negative inside) on the square canvas of an object, in coordinates -1..1 (u
    to the right, v down). A pose is a value in [0, 1) that selects one of the POSES sprites.
    Drumming and hammering share the arm and the two engines share wheels, so that vision alone is ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from avloc.demo.plans import Actor, Happening
from avloc.demo.scenes import value_noise
from avloc.demo.timing import rev_hz, strike_times_s, syllables

POSES = 16
Field = Float[np.ndarray, "s s"]
Colour = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Sprites:
    """One image per pose: premultiplied colour 0..255, and transparency 0..1."""

    colour: Float32[np.ndarray, "p s s 3"]
    clear: Float32[np.ndarray, "p s s 3"]

    def paste(
        self, frame: Float32[np.ndarray, "h w 3"], pose: float, x_px: float, y_px: float, light: np.ndarray
    ) -> None:
        """Draw onto the frame, centred at (x_px, y_px) and clipped at its edges."""
        index, size = int(pose * len(self.colour)) % len(self.colour), self.colour.shape[1]
        top, left = round(y_px - size / 2), round(x_px - size / 2)
        rows = slice(max(0, top), max(0, min(frame.shape[0], top + size)))
        columns = slice(max(0, left), max(0, min(frame.shape[1], left + size)))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        own = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        part = frame[rows, columns]
        part *= self.clear[index][own]
        part += self.colour[index][own] * light


class Canvas:
    """A square to draw shapes on, in layers, with antialiased edges and a common texture."""

    def __init__(self, size_px: int, grain: Field, mirrored: bool) -> None:
        line = (np.arange(size_px) + 0.5) / size_px * 2 - 1
        self.u, self.v = np.meshgrid(-line if mirrored else line, line)
        self.scale = size_px / 2
        self.grain = grain[..., None]
        self.colour = np.zeros((size_px, size_px, 3))
        self.clear = np.ones((size_px, size_px, 1))

    def draw(self, distance: Field, colour: np.ndarray, opacity: float = 1.0) -> None:
        """Fill the region where `distance` (in canvas units) is negative."""
        inside = opacity * np.clip(0.5 - distance * self.scale, 0, 1)[..., None]
        self.colour = self.colour * (1 - inside) + inside * colour * (0.7 + 0.6 * self.grain)
        self.clear = self.clear * (1 - inside)

    def disc(self, u: float, v: float, radius: float) -> Field:
        """Distance to a disc."""
        return np.hypot(self.u - u, self.v - v) - radius

    def oval(self, u: float, v: float, wide: float, high: float) -> Field:
        """Distance to an axis-aligned ellipse, accurate near its edge."""
        return (np.hypot((self.u - u) / wide, (self.v - v) / high) - 1) * min(wide, high)

    def box(self, u: float, v: float, wide: float, high: float) -> Field:
        """Distance to a rectangle with half sizes `wide` and `high`."""
        return np.maximum(np.abs(self.u - u) - wide, np.abs(self.v - v) - high)

    def rod(self, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
        """Distance to a line segment with round ends."""
        du, dv = end[0] - start[0], end[1] - start[1]
        along = np.clip(((self.u - start[0]) * du + (self.v - start[1]) * dv) / (du * du + dv * dv + 1e-9), 0, 1)
        return np.hypot(self.u - start[0] - along * du, self.v - start[1] - along * dv) - radius


Drawer = Callable[[Canvas, float, np.ndarray, np.ndarray], None]


def draw_poses(draw: Drawer, size_px: int, seed: int, poses: int = POSES) -> Sprites:
    """Sprites of all poses. `draw(canvas, pose, colours (6, 3), shape (6,) in [0, 1])` paints one of them."""
    rng = np.random.default_rng([seed, 50])
    colours, shape, mirrored = rng.uniform(0.05, 1, (6, 3)), rng.random(6), bool(rng.random() < 0.5)
    grain = 0.5 * value_noise(rng, size_px, size_px, 9, 9) + 0.5 * value_noise(rng, size_px, size_px, 2.5, 2.5)
    if shape[5] < 0.5:
        grain = 0.6 * grain + 0.4 * (np.sin(np.arange(size_px) * rng.uniform(0.4, 1.4)) > 0)[None, :]
    canvases = [Canvas(size_px, grain, mirrored) for _ in range(poses)]
    for index, canvas in enumerate(canvases):
        draw(canvas, index / poses, colours, shape)
    colour = np.clip(np.stack([canvas.colour for canvas in canvases]) * 235, 0, 255)
    clear = np.stack([canvas.clear for canvas in canvases])
    return Sprites(colour.astype(np.float32), np.repeat(clear, 3, axis=-1).astype(np.float32))


def actor_sprites(actor: Actor) -> Sprites:
    """Sprites of an actor."""
    return draw_poses(_DRAWERS[actor.label], actor.size_px, actor.seed)


def _arm(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> tuple[float, float]:
    """Draw an arm that is down at pose 0 and raised in between; return the position of its end."""
    lift = np.radians(25 + 50 * shape[0]) * np.sin(np.pi * pose) ** 0.8
    pivot, reach = (0.85, -0.05 - 0.2 * shape[1]), 0.95
    rest = np.pi - np.radians(12)
    tip = (pivot[0] + reach * np.cos(rest + lift), pivot[1] + reach * np.sin(rest + lift))
    canvas.draw(canvas.disc(*pivot, 0.15), colours[2])
    canvas.draw(canvas.rod(pivot, tip, 0.055 + 0.03 * shape[2]), colours[1])
    return float(tip[0]), float(tip[1])


def _tinted(colour: Colour, typical: tuple[float, float, float]) -> Colour:
    """A random colour mixed with a typical one."""
    return 0.45 * colour + 0.55 * np.array(typical)


def _drum(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    wide, top = 0.45 + 0.2 * shape[3], 0.22 + 0.04 * (pose < 0.1)
    canvas.draw(canvas.box(-0.2, top + 0.35, wide, 0.33), colours[0])
    canvas.draw(canvas.oval(-0.2, top + 0.66, wide, 0.13), colours[0])
    canvas.draw(canvas.oval(-0.2, top, wide, 0.14), 0.5 + 0.5 * colours[3])
    canvas.draw(canvas.disc(*_arm(canvas, pose, colours, shape), 0.08), colours[4])


def _anvil(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    wide, top = 0.45 + 0.2 * shape[3], 0.26
    canvas.draw(canvas.box(-0.2, top + 0.4, wide * (0.5 + 0.4 * shape[4]), 0.35), colours[0])
    canvas.draw(canvas.box(-0.2, top, wide, 0.13), _tinted(colours[3], (0.4, 0.42, 0.46)))
    tip = _arm(canvas, pose, colours, shape)
    canvas.draw(canvas.box(tip[0], tip[1] - 0.03, 0.09, 0.16), colours[4])


def _bell(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    bronze = _tinted(colours[1], (0.8, 0.6, 0.2))
    angle = np.radians(18 + 16 * shape[0]) * np.sin(2 * np.pi * pose)
    canvas.draw(canvas.box(0, -0.85, 0.6 + 0.2 * shape[1], 0.09), colours[0])
    u, v = canvas.u, canvas.v
    canvas.u, canvas.v = (  # coordinates of the swinging bell, scaled to stay on the canvas
        1.35 * (u * np.cos(angle) + (v + 0.8) * np.sin(angle)),
        1.35 * (-u * np.sin(angle) + (v + 0.8) * np.cos(angle)) - 0.8,
    )
    canvas.draw(canvas.disc(0.5 * np.sin(angle), 0.72, 0.13), colours[2])
    flare = 0.3 + (0.1 + 0.25 * shape[2]) * np.clip((canvas.v + 0.4) / 1.0, 0, 1) ** 2
    canvas.draw(np.maximum(np.abs(canvas.u) - flare, np.abs(canvas.v - 0.1) - 0.5), bronze)
    canvas.draw(canvas.disc(0, -0.4, 0.3), bronze)
    canvas.draw(canvas.box(0, 0.52, float(flare.max()), 0.07), colours[3])
    canvas.u, canvas.v = u, v


def _wheel(canvas: Canvas, u: float, v: float, radius: float, turn: float, colours: np.ndarray) -> None:
    canvas.draw(canvas.disc(u, v, radius), 0.35 * colours[2])
    canvas.draw(canvas.disc(u, v, 0.68 * radius), 0.5 + 0.5 * colours[3])
    for spoke in range(4):
        angle = np.pi / 4 * (spoke + turn)
        arm = (0.65 * radius * np.cos(angle), 0.65 * radius * np.sin(angle))
        if spoke % 2:
            canvas.draw(canvas.rod((u - arm[0], v - arm[1]), (u + arm[0], v + arm[1]), 0.04), 0.3 * colours[2])


def _car(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    canvas.draw(canvas.box(0, 0.15, 0.8, 0.22), colours[0])
    canvas.draw(canvas.oval(0.1 - 0.3 * shape[0], -0.1, 0.4 + 0.1 * shape[1], 0.3), colours[0])
    canvas.draw(canvas.oval(0.1 - 0.3 * shape[0], -0.12, 0.27, 0.18), 0.6 + 0.4 * colours[4])
    for u in (-0.5, 0.5):
        _wheel(canvas, u, 0.42, 0.2 + 0.08 * shape[2], 4 * pose, colours)
    for puff in range(3):  # exhaust
        age = (pose + puff / 3) % 1
        canvas.draw(canvas.disc(-0.8 - 0.1 * age, 0.3 - 0.5 * age, 0.05 + 0.14 * age), np.full(3, 0.6), 0.6 * (1 - age))


def _mower(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    paint = _tinted(colours[0], (0.85, 0.2, 0.1) if shape[4] < 0.6 else (0.15, 0.5, 0.2))
    canvas.draw(canvas.rod((0.3, 0.2), (0.9, -0.6 - 0.25 * shape[0]), 0.05), colours[1])
    canvas.draw(canvas.box(-0.15, 0.22, 0.5 + 0.12 * shape[1], 0.2), paint)
    canvas.draw(canvas.box(-0.15, -0.02, 0.22 + 0.1 * shape[2], 0.12), colours[4])
    for u in (-0.5, 0.22):
        _wheel(canvas, u, 0.45, 0.17 + 0.07 * shape[3], 4 * pose, colours)
    for bit in range(5):  # cut grass
        age = (pose * 2 + bit * 0.21) % 1
        canvas.draw(
            canvas.disc(-0.6 - 0.35 * age, 0.3 - age * (1 - age) * (1 + bit * 0.3), 0.05), np.array([0.3, 0.6, 0.2])
        )


def _head(canvas: Canvas, pose: float, colours: np.ndarray, shape: np.ndarray) -> None:
    """A head; the pose is the opening of the mouth."""
    skin = np.array([0.9, 0.68, 0.52]) * (0.45 + 0.6 * shape[0])
    canvas.draw(canvas.oval(0, 1.0, 0.75, 0.4), colours[0])
    canvas.draw(canvas.oval(0, -0.12, 0.62, 0.72), 0.6 * colours[1])
    canvas.draw(canvas.oval(0, 0.02 + 0.05 * pose, 0.48 + 0.08 * shape[1], 0.62 + 0.05 * pose), skin)
    for u in (-0.2, 0.2):
        canvas.draw(canvas.oval(u, -0.1, 0.1, 0.06), np.ones(3))
        canvas.draw(canvas.disc(u, -0.1, 0.045), 0.3 * colours[3])
    canvas.draw(canvas.oval(0, 0.36 + 0.03 * pose, 0.2 - 0.05 * pose, 0.03 + 0.17 * pose), np.array([0.4, 0.08, 0.1]))


@dataclass(frozen=True)
class Motion:
    """Pose and offset in pixels of an actor at each frame."""

    pose: Float[np.ndarray, " t"]
    x_px: Float[np.ndarray, " t"]
    y_px: Float[np.ndarray, " t"]


def actor_motion(actor: Actor, happening: Happening, times_s: Float[np.ndarray, " t"]) -> Motion:
    """Motion during an instance, at times from its start, synchronous with its sound."""
    rng = np.random.default_rng([happening.seed, 51])
    still, reach = np.zeros(len(times_s)), actor.size_px / 60
    settle = np.clip((happening.end_s - happening.start_s - times_s) / 0.4, 0, 1)
    if happening.label in ("drumming", "hammering", "bell ringing"):
        return Motion(_between_strikes(happening, times_s), still, still)
    if happening.label == "talking":
        nod = np.sin(6.28 * rng.uniform(0.3, 0.9) * times_s) * rng.uniform(1, 4) * settle
        return Motion(_mouth(happening, times_s), 0.6 * nod * reach, np.abs(nod) * reach)
    speed_hz = rev_hz(happening, times_s)
    turns = np.cumsum(speed_hz) / speed_hz.mean() * rng.uniform(0.13, 0.3)
    if happening.label == "engine revving":
        shake = rng.normal(0, 1, (2, len(times_s))) * (speed_hz / speed_hz.max()) * rng.uniform(0.8, 1.8)
        return Motion(turns % 1, shake[0] * reach, shake[1] * reach)
    path = np.sin(6.28 * rng.uniform(0.1, 0.3) * times_s) * rng.uniform(18, 50) * settle
    return Motion(turns % 1, path, rng.normal(0, 0.5, len(times_s)))


def _between_strikes(happening: Happening, times_s: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Pose 0 at each strike; a bell needs two strikes per cycle, one at each end of its swing."""
    strikes_s = strike_times_s(happening)
    bell = happening.label == "bell ringing"
    edges_s = np.concatenate([[min(-0.3, strikes_s[0] - 0.6)], strikes_s, [strikes_s[-1] + 0.7]])
    position = np.interp(times_s, edges_s, np.arange(len(edges_s)))
    return (position / 2 + 0.25) % 1 if bell else position % 1


def _mouth(happening: Happening, times_s: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    pose = np.zeros(len(times_s))
    for part in syllables(happening.seed, happening.end_s - happening.start_s):
        along = (times_s - part.start_s) / (part.end_s - part.start_s)
        pose += np.where((along > 0) & (along < 1), part.stress * np.sin(np.pi * np.clip(along, 0, 1)), 0)
    return np.clip(pose, 0, 0.99)


_DRAWERS: dict[str, Drawer] = {
    "bell ringing": _bell,
    "drumming": _drum,
    "engine revving": _car,
    "hammering": _anvil,
    "lawn mowing": _mower,
    "talking": _head,
}
