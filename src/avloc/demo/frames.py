"""One video's pictures, frame by frame: background, distractors, actors, cards, the camera's noise.

Conventions
    Frame k shows the time k / FRAME_RATE. Any frame can be asked for, in any order, and is always the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.demo.actors import Motion, Sprites, actor_motion, actor_sprites
from avloc.demo.distractors import Distractor, to_screen
from avloc.demo.plans import FRAME_RATE, HEIGHT, WIDTH, Actor, VideoPlan
from avloc.demo.scenes import paint_card, paint_scene

__all__ = ["FrameRenderer"]


@dataclass(frozen=True)
class _ActorTrack:
    """An actor with its pictures and, for each frame, whether it is there and how it stands."""

    actor: Actor
    sprites: Sprites
    there: np.ndarray
    motion: Motion


class FrameRenderer:
    """Everything of a plan that can be prepared once; `frame` then takes about a millisecond."""

    def __init__(self, video: VideoPlan) -> None:
        self.video = video
        self.times_s = np.arange(video.frame_count) / float(FRAME_RATE)
        self.shots = [(shot.start_s, paint_scene(shot)) for shot in video.shots]
        self.cards = [(card, *paint_card(card)) for card in video.cards]
        self.movers = [Distractor(extra, self.times_s) for extra in video.movers]
        self.actors = [_actor_track(video, actor, self.times_s) for actor in video.actors]
        rng = np.random.default_rng([video.seed, 70])
        self.noise = rng.normal(0, rng.uniform(1.0, 5.0), (HEIGHT + 48, WIDTH + 48, 3)).astype(np.float32)
        self.noise_at = rng.integers(0, 48, (video.frame_count, 2))

    def frame(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """RGB picture of frame `index`."""
        time_s = float(self.times_s[index])
        painted = next(scene for start_s, scene in reversed(self.shots) if start_s <= time_s)
        card = next((c for c in self.cards if c[0].start_s <= time_s < c[0].end_s), None)
        picture = painted.view(time_s)
        camera, light = painted.camera.at(time_s), painted.lit(time_s)
        for mover in self.movers:
            mover.draw(picture, index, time_s, camera, light)
        if card is None:
            self._draw_actors(picture, index, camera, light)
        else:  # nobody is behind a card, so that none peeps out at its sides
            picture[card[2]] = card[1]
        y, x = self.noise_at[index]
        picture += self.noise[y : y + HEIGHT, x : x + WIDTH]
        return np.clip(picture, 0, 255).astype(np.uint8)

    def _draw_actors(
        self, picture: Float32[np.ndarray, "h w 3"], index: int, camera: tuple[float, float, float], light: np.ndarray
    ) -> None:
        for track in self.actors:
            if track.there[index]:
                motion = track.motion
                x_px, y_px = to_screen(
                    track.actor.x_px + float(motion.x_px[index]), track.actor.y_px + float(motion.y_px[index]), camera
                )
                track.sprites.paste(picture, float(motion.pose[index]), x_px, y_px, light)


def _actor_track(video: VideoPlan, actor: Actor, times_s: np.ndarray) -> _ActorTrack:
    """Lays out an actor's whole video: idle (pose 0, in its place) unless one of its instances is on."""
    there = np.full(len(times_s), actor.always_there)
    pose, x_px, y_px = np.zeros((3, len(times_s)))
    for happening in video.happenings:
        if happening.label != actor.label:
            continue
        lead_s, lag_s = np.random.default_rng([happening.seed, 71]).uniform(0, 1.5, 2)
        if happening.condition != "hidden":  # it comes a little before and goes a little after
            there |= (times_s >= happening.start_s - lead_s) & (times_s < happening.end_s + lag_s)
        on = (times_s >= happening.start_s) & (times_s < happening.end_s)
        motion = actor_motion(actor, happening, times_s[on] - happening.start_s)
        pose[on], x_px[on], y_px[on] = motion.pose, motion.x_px, motion.y_px
    return _ActorTrack(actor, actor_sprites(actor), there, Motion(pose, x_px, y_px))
