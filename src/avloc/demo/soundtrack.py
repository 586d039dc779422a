"""Background sounds, and the mix of all sounds of a video.

Conventions
    As in sounds.py: (n,) at `rate_hz`, with RMS 1 before its level is applied. 0 dB is an RMS of USUAL_LEVEL.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32

from avloc.demo.plans import AUDIO_RATE_HZ, Bed, VideoPlan
from avloc.demo.sounds import action_sound, add_at, distractor_sound, filtered, normalized, pluck, speech

Sound = Float[np.ndarray, " n"]
USUAL_LEVEL = 0.1
SCALE = (0, 2, 3, 5, 7, 8, 10)


def sound_track(video: VideoPlan, rate_hz: int = AUDIO_RATE_HZ) -> Float32[np.ndarray, " n"]:
    """Mix the audio of a video, with the video's duration, softly limited to (-1, 1).

    Silent instances add nothing. Removing a sound from the plan does not change the others.
    """
    count = round(video.duration_s * rate_hz)
    rng = np.random.default_rng([video.seed, 30])
    total = _gain(video.bed.level_db) * background_sound(video.bed, count, rate_hz)
    for happening in video.happenings:
        if happening.condition != "silent":
            add_at(total, happening.start_s, _gain(happening.level_db) * action_sound(happening, rate_hz), rate_hz)
    for extra in video.noises:
        add_at(total, extra.start_s, _gain(extra.level_db) * distractor_sound(extra, rate_hz), rate_hz)
    hiss = _gain(rng.uniform(-48, -34)) * rng.normal(0, 1, count)  # microphone noise
    return np.tanh(_gain(rng.uniform(-5, 4)) * USUAL_LEVEL * (total + hiss)).astype(np.float32)


def _gain(level_db: float) -> float:
    return float(10 ** (level_db / 20))


def background_sound(bed: Bed, count: int, rate_hz: int) -> Sound:
    """`count` samples of a background sound."""
    rng = np.random.default_rng([bed.seed, 31])
    return normalized(_BACKGROUNDS[bed.kind](rng, count, rate_hz))


def _random_level(rng: np.random.Generator, count: int, rate_hz: int, every_s: float, low: float, high: float) -> Sound:
    """A slowly varying level between `low` and `high`: random values every `every_s`, interpolated."""
    knots = int(count / rate_hz / every_s) + 2
    return np.interp(np.arange(count) / rate_hz, np.arange(knots) * every_s, rng.uniform(low, high, knots))


def _coloured_noise(rng: np.random.Generator, count: int, rate_hz: int, slope: float, low_hz: float) -> Sound:
    """Noise whose spectrum falls as f^-slope above `low_hz`."""
    return filtered(rng.normal(0, 1, count), rate_hz, lambda f: 1 / (1 + (f / low_hz) ** 2) ** (slope / 2))


def _quiet(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    return _coloured_noise(rng, count, rate_hz, 0.5, 500)


def _music(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    """A random plucked melody of twelve notes over a plucked bass."""
    sound, beat_s = np.zeros(count), 60 / rng.uniform(80, 170)
    root_hz = rng.uniform(90, 150)
    tune = [pluck(rng, rate_hz, 2 * root_hz * 2 ** (s / 12), 1.2) for s in (*SCALE, *(12 + s for s in SCALE[:5]))]
    bass = [pluck(rng, rate_hz, root_hz * 2 ** (s / 12), 1.5) for s in (0, 5, 7)]
    place = int(rng.integers(len(tune)))
    for beat in range(int(count / rate_hz / beat_s) + 1):
        if beat % 4 == 0:
            add_at(sound, beat * beat_s, bass[rng.integers(3)], rate_hz)
        for half in (0.0, 0.5):
            if rng.random() < (0.8 if not half else 0.4):
                place = int(np.clip(place + rng.integers(-2, 3), 0, len(tune) - 1))
                add_at(sound, (beat + half) * beat_s, rng.uniform(0.4, 0.9) * tune[place], rate_hz)
    return sound


def _pad(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    """Slow chords of three detuned voices."""
    times_s, sound = np.arange(count) / rate_hz, np.zeros(count)
    root_hz, span_s = rng.uniform(110, 220), rng.uniform(3, 6)
    for start_s in np.arange(0, count / rate_hz, span_s):
        part = slice(int(start_s * rate_hz), int(min(count, (start_s + span_s) * rate_hz)))
        local_s = times_s[part]
        chord = int(rng.integers(len(SCALE)))
        envelope = np.sin(np.pi * np.clip((local_s - start_s) / span_s, 0, 1)) ** 0.5
        for step in (0, 2, 4):
            semitones = SCALE[(chord + step) % 7] + 12 * ((chord + step) // 7)
            pitch_hz = root_hz * 2 ** (semitones / 12) * rng.uniform(0.997, 1.003)
            wave = np.sin(2 * np.pi * pitch_hz * local_s) + 0.4 * np.sin(4 * np.pi * pitch_hz * local_s + 1)
            sound[part] += envelope * wave
    return sound


def _wind(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    low, high = _coloured_noise(rng, count, rate_hz, 2, 150), _coloured_noise(rng, count, rate_hz, 2, 700)
    gusts, hisses = _random_level(rng, count, rate_hz, 1.5, 0.3, 1), _random_level(rng, count, rate_hz, 0.8, 0, 0.7)
    return gusts * normalized(low) + hisses * normalized(high)


def _traffic(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    """A low rumble, with vehicles that pass."""
    sound = normalized(_coloured_noise(rng, count, rate_hz, 2.5, 120))
    near = normalized(_coloured_noise(rng, count, rate_hz, 1.5, 900))
    times_s = np.arange(count) / rate_hz
    for _ in range(int(rng.integers(2, 6))):
        middle_s, width_s = rng.uniform(0, count / rate_hz), rng.uniform(0.6, 1.8)
        sound += rng.uniform(0.5, 1.5) * near * np.exp(-(((times_s - middle_s) / width_s) ** 2))
    return sound


def _crowd(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    """Babble: a few voices, looped at random offsets and speeds until they are unintelligible."""
    voices = [normalized(speech(int(rng.integers(2**31)), 5.0, rate_hz)) for _ in range(3)]
    sound = np.zeros(count)
    for layer in range(9):
        voice = np.roll(voices[layer % 3], int(rng.integers(len(voices[0]))))
        stretched = voice[(np.arange(count) * rng.uniform(0.85, 1.15)).astype(int) % len(voice)]
        sound += rng.uniform(0.3, 1) * stretched
    return filtered(sound, rate_hz, lambda f: 1 / (1 + (f / 1500) ** 2))


def _rain(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    sound = normalized(filtered(rng.normal(0, 1, count), rate_hz, lambda f: np.minimum(1, f / 2500)))
    drops = rng.integers(0, count, count // rate_hz * 25)
    clicks = np.zeros(count)
    clicks[drops] = rng.uniform(2, 12, len(drops))
    return sound + filtered(clicks, rate_hz, lambda f: np.exp(-(((f - 2500) / 1500) ** 2))) * 4


def _hum(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    """A fan or a refrigerator: harmonics of the mains frequency and some noise."""
    times_s, mains_hz = np.arange(count) / rate_hz, rng.choice([50.0, 60.0])
    sound = 0.3 * normalized(_coloured_noise(rng, count, rate_hz, 1.5, 300))
    for order in (1, 2, 3, 4, 6, 8, 12):
        sound += rng.uniform(0.2, 1) / order**0.7 * np.sin(2 * np.pi * order * mains_hz * times_s + order)
    return sound * _random_level(rng, count, rate_hz, 3, 0.7, 1)


_BACKGROUNDS: dict[str, Callable[[np.random.Generator, int, int], Sound]] = {
    "quiet": _quiet,
    "music": _music,
    "pad": _pad,
    "wind": _wind,
    "traffic": _traffic,
    "crowd": _crowd,
    "rain": _rain,
    "hum": _hum,
}
