"""Time course of an action, shared by video and audio so that they are synchronous (a stick hits when the drum sounds).

Conventions
    Times are seconds from the start of the instance. Everything is determined by the seed of the instance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avloc.demo.plans import Happening

STRIKE_HZ = {"drumming": (2.0, 4.2), "hammering": (1.2, 2.6), "bell ringing": (0.8, 1.7)}
REV_HZ = {"engine revving": (38.0, 75.0), "lawn mowing": (55.0, 105.0)}


@dataclass(frozen=True)
class Syllable:
    """A syllable of speech; `vowels` are indices into VOWELS_HZ (sounds.py), at its start and its end."""

    start_s: float
    end_s: float
    vowels: tuple[int, int]
    pitch: float  # relative to the speaker's pitch
    stress: float


def strike_times_s(happening: Happening) -> Float[np.ndarray, " n"]:
    """Strikes of stick, hammer or clapper: regular, with swing and jitter; drums also skip or double beats."""
    rng = np.random.default_rng([happening.seed, 10])
    length_s = happening.end_s - happening.start_s
    period_s = 1 / rng.uniform(*STRIKE_HZ[happening.label])
    jitter, swing = rng.uniform(0.01, 0.07), rng.uniform(0, 0.18)
    time_s, times_s, beat = rng.uniform(0.02, 0.25) * period_s, [], 0
    while time_s < length_s - 0.05:
        times_s.append(time_s)
        step = 1 + (swing if beat % 2 else -swing) + rng.normal(0, jitter)
        if happening.label == "drumming" and rng.random() < 0.15:
            step *= rng.choice([0.5, 2.0])
        time_s += period_s * max(0.3, step)
        beat += 1
    return np.array(times_s)


def rev_hz(happening: Happening, times_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Firing rate of the engine: throttle blips (engine revving), or a slowly varying load (lawn mowing)."""
    rng = np.random.default_rng([happening.seed, 11])
    length_s = happening.end_s - happening.start_s
    base = rng.uniform(*REV_HZ[happening.label])
    knots_s = np.arange(0, length_s + 1, 0.25)
    if happening.label == "lawn mowing":
        walk = np.cumsum(rng.normal(0, 0.025, len(knots_s)))
        curve = 1 + np.clip(walk - walk.mean(), -0.2, 0.2)
    else:
        curve = 1 + rng.normal(0, 0.03, len(knots_s))
        start_s = rng.uniform(0, 0.5)
        while start_s < length_s:  # a throttle blip: fast rise, slow decay
            since_s = np.maximum(0, knots_s - start_s)
            curve += rng.uniform(0.3, 1.4) * np.minimum(1, since_s / 0.35) * np.exp(-since_s / rng.uniform(0.4, 0.9))
            start_s += rng.uniform(0.9, 2.8)
    return base * np.interp(times_s, knots_s, np.clip(curve, 0.6, 2.6))


def syllables(seed: int, length_s: float) -> list[Syllable]:
    """Syllables in phrases, with short pauses between phrases."""
    rng = np.random.default_rng([seed, 12])
    rate_hz, time_s, found = rng.uniform(3.2, 5.5), 0.02, []
    while time_s < length_s - 0.12:
        phrase = int(rng.integers(4, 12))
        for index in range(phrase):
            period_s = rng.uniform(0.7, 1.35) / rate_hz
            end_s = min(length_s, time_s + period_s * rng.uniform(0.65, 0.95))
            if end_s - time_s < 0.06:
                break
            vowels = (int(rng.integers(6)), int(rng.integers(6)))
            pitch = 1.15 - 0.3 * index / phrase + rng.normal(0, 0.05)
            found.append(Syllable(time_s, end_s, vowels, pitch, rng.uniform(0.5, 1)))
            time_s += period_s
        time_s += rng.uniform(0.12, 0.5)
    return found
