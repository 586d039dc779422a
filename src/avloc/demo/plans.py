"""Plans of the demo videos: what is drawn and synthesised, and when. Pure data; nothing is rendered here.

Conventions
    Each element has its own `seed`, the only source of randomness when it is rendered. Removing an element therefore
    changes no other, and a plan gives the same files with any number of workers.
    Positions are in pixels of the unzoomed frame, times in seconds from the start of the video.
    Class and field names are part of details.json and of the fingerprint in each mp4 file (studio.py): renaming one
    re-renders existing sets.

Conditions of an instance
    normal   visible and audible
    silent   visible, not audible (the only condition in a video without audio)
    hidden   audible, but occluded by a title card or a large logo (the cases of the paper's Fig. 4)
    faint    visible, and audible below the background sound
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

FRAME_RATE = Fraction(12)
WIDTH, HEIGHT = 192, 144
AUDIO_RATE_HZ = 16_000

CLASSES = ("bell ringing", "drumming", "engine revving", "hammering", "lawn mowing", "talking")
"""Drumming and hammering look alike; hammering and bell ringing sound alike, and so do the two engines."""

CONDITIONS = ("normal", "silent", "hidden", "faint")
CONDITION_MIX = ("normal",) * 9 + ("silent",) * 3 + ("hidden",) * 3 + ("faint",) * 2

SCENES = ("meadow", "street", "room", "workshop", "seaside", "stage")
BEDS = ("quiet", "music", "pad", "wind", "traffic", "crowd")
MOVERS = ("ball", "bird", "balloon", "walker", "pinwheel", "specks")
NOISES = ("pluck", "beeps", "chirps", "knock", "splash", "whoosh")

# open set: these occur in test videos only
TEST_SCENES = ("forest", "night")
TEST_BEDS = ("rain", "hum")
TEST_MOVERS = ("kite",)
TEST_NOISES = ("siren",)


@dataclass(frozen=True)
class Happening:
    """One ground-truth instance of a class, with its condition."""

    start_s: float
    end_s: float
    label: str
    condition: str
    level_db: float  # of the sound, relative to USUAL_LEVEL in soundtrack.py
    seed: int


@dataclass(frozen=True)
class Actor:
    """Object that performs the action of a class; still outside instances, or absent unless `always_there`."""

    label: str
    x_px: float
    y_px: float
    size_px: int
    always_there: bool
    seed: int


@dataclass(frozen=True)
class Shot:
    """A scene, shown from `start_s` until the next shot."""

    start_s: float
    kind: str
    seed: int


@dataclass(frozen=True)
class Bed:
    """The background sound; `level_db` is relative to the usual level of an action."""

    kind: str
    level_db: float
    seed: int


@dataclass(frozen=True)
class Card:
    """A title card (full frame) or a large logo (most of the frame) in front of everything."""

    start_s: float
    end_s: float
    full: bool
    seed: int


@dataclass(frozen=True)
class Extra:
    """A distractor: a moving object or a sound that belongs to no class."""

    kind: str
    start_s: float
    end_s: float
    level_db: float
    seed: int


@dataclass(frozen=True)
class VideoPlan:
    """One video. `subset` is train or test."""

    video_id: str
    subset: str
    frame_count: int
    has_audio: bool
    happenings: tuple[Happening, ...]
    actors: tuple[Actor, ...]
    shots: tuple[Shot, ...]
    bed: Bed
    cards: tuple[Card, ...]
    movers: tuple[Extra, ...]
    noises: tuple[Extra, ...]
    seed: int

    @property
    def duration_s(self) -> Fraction:
        """Exact duration of the video stream."""
        return self.frame_count / FRAME_RATE

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes with an instance, sorted; empty for a background video."""
        return tuple(sorted({happening.label for happening in self.happenings}))


@dataclass(frozen=True)
class DemoPlan:
    """All videos, training videos first."""

    seed: int
    classes: tuple[str, ...]
    videos: tuple[VideoPlan, ...]

    def of(self, subset: str) -> tuple[VideoPlan, ...]:
        """Videos of the subset "train" or "test"."""
        return tuple(video for video in self.videos if video.subset == subset)


def plan(seed: int = 0, train: int = 52, background: int = 5, test: int = 24) -> DemoPlan:
    """Plan the whole set, in a few milliseconds.

    Args:
        seed: the same seed and counts give the same plan.
        train: labelled training videos.
        background: training videos without instances.
        test: test videos, each with at least one instance.

    Raises:
        ValueError: a negative count.
    """
    if min(train, background, test) < 0:
        raise ValueError(f"counts cannot be negative, got train={train}, background={background}, test={test}")
    videos = _subset(np.random.default_rng([seed, 1]), "train", train, background)
    videos += _subset(np.random.default_rng([seed, 2]), "test", test, 0)
    return DemoPlan(seed, CLASSES, tuple(videos))


def _subset(rng: np.random.Generator, subset: str, labelled: int, background: int) -> list[VideoPlan]:
    """Videos with balanced classes, a third of them with two; one per subset of 4 or more has no audio."""
    class_sets = _class_sets(rng, labelled) + [()] * background
    mute = int(rng.integers(labelled)) if labelled >= 4 else -1
    conditions = _shuffled_draws(rng, CONDITION_MIX)
    return [
        _video(rng, f"{subset}_{index:03d}", subset, class_sets[k], has_audio=bool(k != mute), conditions=conditions)
        for index, k in enumerate(rng.permutation(len(class_sets)))
    ]


def _shuffled_draws(rng: np.random.Generator, values: Sequence[str]) -> Iterator[str]:
    """Endless draws without replacement, reshuffled after each round, so that no value is rare."""
    while True:
        yield from (str(value) for value in rng.permutation(np.array(values)))


def _class_sets(rng: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    """Classes of each labelled video."""
    draws = _shuffled_draws(rng, CLASSES)
    class_sets: list[tuple[str, ...]] = [(next(draws),) for _ in range(count)]
    seconds = [next(draws) for _ in range(round(count / 3))]
    for index in range(len(seconds)):
        first = class_sets[index][0]
        second = next((label for label in seconds if label != first), None)
        if second is not None:
            seconds.remove(second)
            class_sets[index] = (first, second)
    return class_sets


def _video(
    rng: np.random.Generator,
    video_id: str,
    subset: str,
    classes: tuple[str, ...],
    has_audio: bool,
    conditions: Iterator[str],
) -> VideoPlan:
    frame_count = int(rng.integers(20 * int(FRAME_RATE), 40 * int(FRAME_RATE) + 1))
    duration_s = float(frame_count / FRAME_RATE)
    open_set = subset == "test"
    spans = _spans(rng, duration_s, len(classes)) if classes else []
    bed = _bed(rng, open_set)
    happenings = _happenings(rng, spans, classes, bed, has_audio, conditions)
    return VideoPlan(
        video_id=video_id,
        subset=subset,
        frame_count=frame_count,
        has_audio=has_audio,
        happenings=happenings,
        actors=_actors(rng, classes),
        shots=_shots(rng, duration_s, open_set),
        bed=bed,
        cards=_cards(rng, happenings, duration_s),
        movers=_extras(rng, duration_s, MOVERS, TEST_MOVERS if open_set else (), most=3, shortest_s=6, longest_s=20),
        noises=_extras(rng, duration_s, NOISES, TEST_NOISES if open_set else (), most=4, shortest_s=0.8, longest_s=4),
        seed=_seed(rng),
    )


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _spans(rng: np.random.Generator, duration_s: float, at_least: int) -> list[tuple[float, float]]:
    """One to three intervals of 3 to 12 s, at least 1.5 s apart, that cover 25 to 50 % of the video."""
    while True:
        share = rng.uniform(0.25, 0.5)
        count = max(at_least, int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])))
        lengths = share * duration_s * rng.dirichlet(np.full(count, 6.0))
        if lengths.min() >= 3 and lengths.max() <= 12:
            break
    gaps = rng.dirichlet(np.full(count + 1, 1.5)) * (duration_s - lengths.sum() - 1.5 * (count - 1))
    starts = np.cumsum(gaps[:-1]) + np.concatenate([[0.0], np.cumsum(lengths[:-1] + 1.5)])
    return [(round(float(s), 3), round(float(s + n), 3)) for s, n in zip(starts, lengths, strict=True)]


def _happenings(
    rng: np.random.Generator,
    spans: list[tuple[float, float]],
    classes: tuple[str, ...],
    bed: Bed,
    has_audio: bool,
    conditions: Iterator[str],
) -> tuple[Happening, ...]:
    """Assign a class (each one at least once) and a condition to each interval."""
    labels = [*classes, *(str(rng.choice(classes)) for _ in range(len(spans) - len(classes)))]
    found = []
    for label, (start_s, end_s) in zip(rng.permutation(labels), spans, strict=True):
        condition = next(conditions) if has_audio else "silent"
        level_db = rng.uniform(-4, 4)
        if condition == "faint":  # below the background, at any level of it
            level_db = min(bed.level_db, -4.0) - rng.uniform(2, 7)
        found.append(Happening(start_s, end_s, str(label), condition, round(float(level_db), 2), _seed(rng)))
    return tuple(found)


def _actors(rng: np.random.Generator, classes: tuple[str, ...]) -> tuple[Actor, ...]:
    """One object per class, side by side; in some videos also an object of another class that stays still."""
    names = list(classes)
    if rng.random() < (0.12 if classes else 0.4):
        names.append(str(rng.choice([label for label in CLASSES if label not in classes])))
    names = [str(name) for name in rng.permutation(names)] if names else []
    column_px = WIDTH / max(1, len(names))
    actors = []
    for index, label in enumerate(names):
        size_px = int(rng.integers(48, 97) if len(names) == 1 else rng.integers(44, 73))
        x_px = (index + 0.5) * column_px + rng.uniform(-0.2, 0.2) * column_px
        y_px = rng.uniform(0.5, 0.72) * HEIGHT
        there = label not in classes or bool(rng.random() < 0.45)
        actors.append(Actor(label, round(x_px, 1), round(float(y_px), 1), size_px, there, _seed(rng)))
    return tuple(actors)


def _pick(rng: np.random.Generator, usual: tuple[str, ...], only_test: tuple[str, ...]) -> str:
    """A random kind; test videos use the test-only kinds in 35 % of the cases."""
    return str(rng.choice(only_test if only_test and rng.random() < 0.35 else usual))


def _shots(rng: np.random.Generator, duration_s: float, open_set: bool) -> tuple[Shot, ...]:
    only_test = TEST_SCENES if open_set else ()
    shots = [Shot(0.0, _pick(rng, SCENES, only_test), _seed(rng))]
    if rng.random() < 0.3:  # an edited video with one cut
        cut_s = round(rng.uniform(0.25, 0.75) * duration_s, 3)
        shots.append(Shot(cut_s, _pick(rng, SCENES, only_test), _seed(rng)))
    return tuple(shots)


def _bed(rng: np.random.Generator, open_set: bool) -> Bed:
    kind = _pick(rng, BEDS, TEST_BEDS if open_set else ())
    level_db = -38.0 if kind == "quiet" else rng.uniform(-20, -2)
    return Bed(kind, round(float(level_db), 2), _seed(rng))


def _cards(rng: np.random.Generator, happenings: tuple[Happening, ...], duration_s: float) -> tuple[Card, ...]:
    """A card over each hidden instance, slightly longer, and some elsewhere, so that cards do not reveal instances."""
    cards = []
    for happening in happenings:
        if happening.condition == "hidden":
            start_s = max(0.0, happening.start_s - rng.uniform(0.05, 0.6))
            end_s = min(duration_s, happening.end_s + rng.uniform(0.05, 0.6))
            cards.append(Card(round(start_s, 3), round(end_s, 3), bool(rng.random() < 0.6), _seed(rng)))
    edges = [0.0, *(t for h in happenings for t in (h.start_s, h.end_s)), duration_s]
    for free_from_s, free_to_s in zip(edges[::2], edges[1::2], strict=True):
        if free_to_s - free_from_s > 4 and rng.random() < 0.12:
            start_s = rng.uniform(free_from_s + 0.7, free_to_s - 2.7)
            end_s = min(free_to_s - 0.7, start_s + rng.uniform(2, 8))
            cards.append(Card(round(start_s, 3), round(end_s, 3), bool(rng.random() < 0.6), _seed(rng)))
    return tuple(sorted(cards, key=lambda card: card.start_s))


def _extras(
    rng: np.random.Generator,
    duration_s: float,
    usual: tuple[str, ...],
    only_test: tuple[str, ...],
    most: int,
    shortest_s: float,
    longest_s: float,
) -> tuple[Extra, ...]:
    extras = []
    for _ in range(int(rng.integers(0, most + 1))):
        length_s = min(duration_s, rng.uniform(shortest_s, longest_s))
        start_s = rng.uniform(0, duration_s - length_s)
        kind, level_db = _pick(rng, usual, only_test), rng.uniform(-10, 2)
        extras.append(Extra(kind, round(start_s, 3), round(start_s + length_s, 3), round(level_db, 2), _seed(rng)))
    return tuple(sorted(extras, key=lambda extra: extra.start_s))
