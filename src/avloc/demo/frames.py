"""Frames of one video: background, distractors, actors, title cards and camera noise.

Conventions
    Frame k shows the time k / FRAME_RATE. Frames can be rendered in any order and are deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.demo.actors import Motion, Sprites, actor_motion, actor_sprites
from avloc.demo.distractors import Distractor, to_screen
from avloc.demo.plans import FRAME_RATE, HEIGHT, WIDTH, Actor, VideoPlan
from avloc.demo.scenes import paint_card, paint_scene


@dataclass(frozen=True)
class _ActorTrack:
    """An actor with its sprites and, per frame, its presence, pose and offset."""

    actor: Actor
    sprites: Sprites
    there: np.ndarray
    motion: Motion


class FrameRenderer:
    """Prepares everything that frames share; `frame` then takes about a millisecond."""

    def __init__(self, video: VideoPlan) -> None:
        self.video = video
        self.times_s = np.arange(video.frame_count) / float(FRAME_RATE)
        self.shots = [(shot.start_s, paint_scene(shot)) for shot in video.shots]
        self.cards = [(card, *paint_card(card)) for card in video.cards]
        self.distractors = [Distractor(extra, self.times_s) for extra in video.movers]
        self.actors = [_actor_track(video, actor, self.times_s) for actor in video.actors]
        rng = np.random.default_rng([video.seed, 70])
        self.noise = rng.normal(0, rng.uniform(1.0, 5.0), (HEIGHT + 48, WIDTH + 48, 3)).astype(np.float32)
        self.noise_at = rng.integers(0, 48, (video.frame_count, 2))

    def frame(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Render frame `index` as RGB."""
        time_s = float(self.times_s[index])
        background = next(scene for start_s, scene in reversed(self.shots) if start_s <= time_s)
        card = next((c for c in self.cards if c[0].start_s <= time_s < c[0].end_s), None)
        frame = background.view(time_s)
        camera, light = background.camera.at(time_s), background.lit(time_s)
        for distractor in self.distractors:
            distractor.draw(frame, index, time_s, camera, light)
        if card is None:
            self._draw_actors(frame, index, camera, light)
        else:  # no actors behind a card, because they could show at the edges of a logo
            frame[card[2]] = card[1]
        y, x = self.noise_at[index]
        frame += self.noise[y : y + HEIGHT, x : x + WIDTH]
        return np.clip(frame, 0, 255).astype(np.uint8)

    def _draw_actors(
        self, frame: Float32[np.ndarray, "h w 3"], index: int, camera: tuple[float, float, float], light: np.ndarray
    ) -> None:
        for track in self.actors:
            if track.there[index]:
                motion = track.motion
                x_px, y_px = to_screen(
                    track.actor.x_px + float(motion.x_px[index]), track.actor.y_px + float(motion.y_px[index]), camera
                )
                track.sprites.paste(frame, float(motion.pose[index]), x_px, y_px, light)


def _actor_track(video: VideoPlan, actor: Actor, times_s: np.ndarray) -> _ActorTrack:
    """Pose and offset of an actor over the whole video: still (pose 0, no offset) outside its instances."""
    there = np.full(len(times_s), actor.always_there)
    pose, x_px, y_px = np.zeros((3, len(times_s)))
    for happening in video.happenings:
        if happening.label != actor.label:
            continue
        lead_s, lag_s = np.random.default_rng([happening.seed, 71]).uniform(0, 1.5, 2)
        if happening.condition != "hidden":  # visible slightly before and after the instance
            there |= (times_s >= happening.start_s - lead_s) & (times_s < happening.end_s + lag_s)
        on = (times_s >= happening.start_s) & (times_s < happening.end_s)
        motion = actor_motion(actor, happening, times_s[on] - happening.start_s)
        pose[on], x_px[on], y_px[on] = motion.pose, motion.x_px, motion.y_px
    return _ActorTrack(actor, actor_sprites(actor), there, Motion(pose, x_px, y_px))
