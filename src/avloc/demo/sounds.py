"""Synthesis of the sounds of actions and distractors: strikes, engines, speech, plucked strings, noise. Mono.

Conventions
    A sound is (n,) float64 at `rate_hz`, scaled to RMS 1 over its audible samples. Its pitch, tempo and timbre depend
    only on its seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from avloc.demo.plans import Extra, Happening
from avloc.demo.timing import Syllable, rev_hz, strike_times_s, syllables

Sound = Float[np.ndarray, " n"]
Ratios = tuple[float, ...]

MEMBRANE: Ratios = (1.0, 1.59, 2.14, 2.30, 2.65, 2.92, 3.5)
BAR: Ratios = (1.0, 2.76, 5.40, 8.93)
BELL: Ratios = (0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.17)
WOOD: Ratios = (1.0, 2.3, 3.9)
VOWELS_HZ = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (490, 1350, 1690),
)


def action_sound(happening: Happening, rate_hz: int) -> Sound:
    """Sound of an instance over its whole length, (n,), synchronous with its frames; fades out at the end."""
    length_s = happening.end_s - happening.start_s
    count = round(length_s * rate_hz)
    if happening.label == "talking":
        sound = speech(happening.seed, length_s, rate_hz)
    elif happening.label in ("engine revving", "lawn mowing"):
        sound = _engine(happening, rate_hz)
    else:
        sound = _struck(happening, rate_hz)
    return _fitted(sound, count, rate_hz)


def normalized(sound: Sound) -> Sound:
    """Scale to RMS 1 over the samples that are not silent."""
    loud = np.abs(sound) > 1e-4 * (np.abs(sound).max() + 1e-12)
    return sound / (np.sqrt(np.mean(sound[loud] ** 2)) + 1e-9) if loud.any() else sound


def filtered(sound: Sound, rate_hz: int, gain: Callable[[np.ndarray], np.ndarray]) -> Sound:
    """Scale each frequency f (Hz) by gain(f)."""
    size = _fast_length(len(sound))
    spectrum = np.fft.rfft(sound, size)
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(size, 1 / rate_hz)), size)[: len(sound)]


def _fast_length(count: int) -> int:
    """The next length of the form 2^a or 3 * 2^a, for a fast FFT."""
    power = 1 << max(4, (count - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= count else power


def _fitted(sound: Sound, count: int, rate_hz: int, fade_s: float = 0.06) -> Float[np.ndarray, " count"]:
    """Cut or zero-pad to `count` samples, scale to RMS 1, fade the ends: it stops where the ground truth does."""
    sound = normalized(np.pad(sound[:count], (0, max(0, count - len(sound)))))
    ramp = np.minimum(1, np.arange(1, count + 1) / (fade_s * rate_hz))
    return sound * np.minimum(ramp**0.5, ramp[::-1])


def add_at(into: Float[np.ndarray, " m"], start_s: float, sound: Sound, rate_hz: int) -> None:
    """Add `sound` to `into` from `start_s` on; samples beyond the end are dropped."""
    start = round(start_s * rate_hz)
    part = sound[: max(0, len(into) - start)]
    into[start : start + len(part)] += part


def modal(
    rng: np.random.Generator,
    rate_hz: int,
    pitch_hz: float,
    ratios: Ratios,
    decay_s: float,
    click: float,
    glide: float = 0,
) -> Sound:
    """A struck body by modal synthesis: decaying partials, shorter for higher ones, and the click of the strike."""
    times_s = np.arange(round(min(2.5, 5 * decay_s) * rate_hz)) / rate_hz
    cycles = pitch_hz * (times_s - glide * 0.03 * np.expm1(-times_s / 0.03))
    sound = np.zeros(len(times_s))
    for ratio in ratios:
        if pitch_hz * ratio > 0.45 * rate_hz:
            continue
        decay = decay_s * rng.uniform(0.6, 1.2) / (1 + 0.35 * (ratio - ratios[0]))
        phase, gain = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1) / (1 + 0.25 * ratio)
        sound += gain * np.exp(-times_s / decay) * np.sin(2 * np.pi * ratio * cycles + phase)
    burst = rng.normal(0, 1, len(times_s)) * np.exp(-times_s / 0.006)
    return (sound + click * burst) * np.minimum(1, times_s / 0.001)


def _struck(happening: Happening, rate_hz: int) -> Sound:
    """Drum, hammer or bell: three variants of a strike, at random loudness."""
    rng = np.random.default_rng([happening.seed, 20])
    if happening.label == "drumming":
        body = (rng.uniform(75, 210), MEMBRANE, rng.uniform(0.07, 0.28), rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.5))
    elif happening.label == "hammering":
        body = (rng.uniform(480, 1250), BAR, rng.uniform(0.05, 0.22), rng.uniform(0.6, 1.6), 0.0)
    else:
        body = (rng.uniform(380, 1100), BELL, rng.uniform(0.3, 0.9), rng.uniform(0.1, 0.5), 0.0)
    state = rng.bit_generator.state
    blows = []
    for spread in (1.0, rng.uniform(0.985, 1.0), rng.uniform(1.0, 1.015)):
        rng.bit_generator.state = state  # the same timbre, at slightly different pitch
        blows.append(modal(rng, rate_hz, body[0] * spread, *body[1:]))
    sound = np.zeros(round((happening.end_s - happening.start_s) * rate_hz))
    for time_s in strike_times_s(happening):
        add_at(sound, time_s, rng.uniform(0.5, 1) * blows[rng.integers(3)], rate_hz)
    return sound


def _engine(happening: Happening, rate_hz: int) -> Sound:
    """Half-order harmonics of the firing rate and noise pulsed at it; louder at higher speed."""
    rng = np.random.default_rng([happening.seed, 21])
    count = round((happening.end_s - happening.start_s) * rate_hz)
    speed_hz = rev_hz(happening, np.arange(count) / rate_hz)
    phase = 2 * np.pi * np.cumsum(speed_hz) / rate_hz
    sound = np.zeros(count)
    for order in np.arange(0.5, 9, 0.5):
        gain = rng.uniform(0.2, 1) / (0.6 + order) ** rng.uniform(0.5, 1.1)
        sound += gain * np.sin(order * phase + rng.uniform(0, 2 * np.pi))
    air_hz, rough = rng.uniform(500, 2500), rng.uniform(0.3, 1.2)
    air = filtered(rng.normal(0, 1, count), rate_hz, lambda f: 1 / (1 + (f / air_hz) ** 2))
    sound = np.tanh(sound * rng.uniform(0.4, 1.2)) + rough * air * (0.5 + 0.5 * np.sin(phase)) ** 2
    return sound * (speed_hz / speed_hz.max()) ** 0.8


def speech(seed: int, length_s: float, rate_hz: int) -> Sound:
    """Syllables: a glottal pulse train filtered by moving formants, with noise consonants in between."""
    rng = np.random.default_rng([seed, 22])
    pitch_hz, tract, breath = rng.uniform(85, 240), rng.uniform(0.9, 1.2), rng.uniform(0.02, 0.12)
    sound = np.zeros(round(length_s * rate_hz))
    for syllable in syllables(seed, length_s):
        count = round((syllable.end_s - syllable.start_s) * rate_hz)
        bend = np.linspace(1.04, rng.uniform(0.9, 1.0), count)
        cycles = np.cumsum(pitch_hz * syllable.pitch * bend) / rate_hz
        pulse = 2 * (cycles % 1) - 1 + breath * rng.normal(0, 1, count)
        add_at(sound, syllable.start_s, syllable.stress * _vowel_glide(pulse, syllable, tract, rate_hz), rate_hz)
        if rng.random() < 0.55:
            hiss = _hiss(rng, rate_hz)
            add_at(sound, max(0.0, syllable.start_s - len(hiss) / rate_hz / 2), hiss, rate_hz)
    return sound


def _hiss(rng: np.random.Generator, rate_hz: int) -> Sound:
    """A consonant such as s or f."""
    noise, low_hz = rng.normal(0, 1, round(rng.uniform(0.03, 0.09) * rate_hz)), rng.uniform(1500, 4000)
    return rng.uniform(0.05, 0.3) * filtered(noise, rate_hz, lambda f: (f > low_hz) * 1.0) * np.hanning(len(noise))


def _vowel_glide(pulse: Sound, syllable: Syllable, tract: float, rate_hz: int) -> Sound:
    """The pulse train filtered as one vowel, crossfaded to the next; loudest in the middle."""
    rise = np.linspace(0, 1, len(pulse))
    first, last = (filtered(pulse, rate_hz, _formants(VOWELS_HZ[v], tract)) for v in syllable.vowels)
    return ((1 - rise) * first + rise * last) * np.minimum(1, 6 * np.minimum(rise, 1 - rise)) ** 0.7


def _formants(vowel_hz: tuple[int, int, int], tract: float) -> Callable[[np.ndarray], np.ndarray]:
    def gain(frequency_hz: np.ndarray) -> np.ndarray:
        peaks = zip(vowel_hz, (90.0, 110.0, 160.0), (1.0, 0.6, 0.3), strict=True)
        return sum(g / (1 + ((frequency_hz - f * tract) / width) ** 2) for f, width, g in peaks) + np.zeros(1)

    return gain


def pluck(rng: np.random.Generator, rate_hz: int, pitch_hz: float, length_s: float, damping: float = 0.996) -> Sound:
    """A plucked string (Karplus-Strong): a noise burst that is delayed, smoothed and fed back."""
    period = max(2, round(rate_hz / pitch_hz))
    turns = max(1, round(length_s * rate_hz) // period)
    string = np.empty((turns, period))
    string[0] = np.convolve(rng.uniform(-1, 1, period), np.ones(3) / 3, mode="same")
    for turn in range(1, turns):
        before = string[turn - 1]
        string[turn, 1:] = damping * 0.5 * (before[1:] + before[:-1])
        string[turn, 0] = damping * 0.5 * (before[0] + before[-1])
    return string.ravel()


def distractor_sound(extra: Extra, rate_hz: int) -> Sound:
    """Sound of a distractor over its length, (n,)."""
    rng = np.random.default_rng([extra.seed, 23])
    count = round((extra.end_s - extra.start_s) * rate_hz)
    sound = _DISTRACTORS[extra.kind](rng, count, rate_hz)
    return _fitted(sound, count, rate_hz)


def _repeated(
    rng: np.random.Generator, count: int, rate_hz: int, every_s: tuple[float, float], one: Callable[[], Sound]
) -> Sound:
    sound, time_s = np.zeros(count), 0.0
    while time_s * rate_hz < count:
        add_at(sound, time_s, rng.uniform(0.5, 1) * one(), rate_hz)
        time_s += rng.uniform(*every_s)
    return sound


def _plucks(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    return _repeated(rng, count, rate_hz, (0.15, 0.6), lambda: pluck(rng, rate_hz, rng.uniform(150, 500), 0.8))


def _beeps(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    tone = np.sin(2 * np.pi * rng.uniform(600, 2200) * np.arange(round(0.12 * rate_hz)) / rate_hz)
    return _repeated(rng, count, rate_hz, (0.25, 0.3), lambda: tone * np.hanning(len(tone)))


def _chirps(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    def one() -> Sound:
        times_s = np.arange(round(rng.uniform(0.05, 0.15) * rate_hz)) / rate_hz
        cycles = rng.uniform(2500, 4500) * times_s + rng.uniform(-8000, 8000) * times_s**2
        return np.sin(2 * np.pi * cycles) * np.hanning(len(times_s))

    return _repeated(rng, count, rate_hz, (0.08, 0.5), one)


def _knock(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    pitch_hz = rng.uniform(180, 420)
    return _repeated(rng, count, rate_hz, (0.18, 0.7), lambda: modal(rng, rate_hz, pitch_hz, WOOD, 0.04, 0.6))


def _splash(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    def one() -> Sound:
        burst = rng.normal(0, 1, round(0.5 * rate_hz))
        burst *= np.exp(-np.arange(len(burst)) / rate_hz / rng.uniform(0.05, 0.2))
        centre_hz = rng.uniform(700, 3000)
        return filtered(burst, rate_hz, lambda f: 1 / (1 + ((f - centre_hz) / 600) ** 2))

    return _repeated(rng, count, rate_hz, (0.1, 0.6), one)


def _whoosh(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    low_hz, high_hz = rng.uniform(200, 500), rng.uniform(1000, 3000)
    noise = rng.normal(0, 1, count)
    swell = np.hanning(count)
    low = filtered(noise, rate_hz, lambda f: 1 / (1 + (f / low_hz) ** 2))
    return swell * (low + swell * filtered(noise, rate_hz, lambda f: np.exp(-(((f - high_hz) / 800) ** 2))))


def _siren(rng: np.random.Generator, count: int, rate_hz: int) -> Sound:
    times_s = np.arange(count) / rate_hz
    pitch_hz = rng.uniform(500, 900) * (1 + 0.35 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * times_s))
    return np.tanh(2 * np.sin(2 * np.pi * np.cumsum(pitch_hz) / rate_hz))


_DISTRACTORS: dict[str, Callable[[np.random.Generator, int, int], Sound]] = {
    "pluck": _plucks,
    "beeps": _beeps,
    "chirps": _chirps,
    "knock": _knock,
    "splash": _splash,
    "whoosh": _whoosh,
    "siren": _siren,
}
