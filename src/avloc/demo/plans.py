"""What happens in each video of the demo set, decided before anything is drawn or heard. Pure data.

Conventions
    Everything random in a picture or a sound comes from the `seed` of the thing it belongs to, so taking one thing
    out of a plan changes nothing else, and the same plan gives the same set with any number of workers.
    Places are in pixels of the unzoomed picture; times in seconds from the start of the video.

Conditions of an instance
    normal   seen and heard
    silent   seen, not heard (a video without sound has only these)
    hidden   heard, but behind a title card or a large logo (the cases of the paper's Fig. 4)
    faint    seen, and heard below the background sound
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

__all__ = ["Actor", "Bed", "Card", "DemoPlan", "Extra", "Happening", "Shot", "VideoPlan", "plan"]

FRAME_RATE = Fraction(12)
WIDTH, HEIGHT = 192, 144
AUDIO_RATE_HZ = 16_000

# drumming and hammering look alike; hammering and bell ringing sound alike, and so do the two engines
CLASSES = ("bell ringing", "drumming", "engine revving", "hammering", "lawn mowing", "talking")
CONDITIONS = ("normal", "silent", "hidden", "faint")
CONDITION_MIX = ("normal",) * 9 + ("silent",) * 3 + ("hidden",) * 3 + ("faint",) * 2

SCENES = ("meadow", "street", "room", "workshop", "seaside", "stage")
BEDS = ("quiet", "music", "pad", "wind", "traffic", "crowd")
MOVERS = ("ball", "bird", "balloon", "walker", "pinwheel", "specks")
NOISES = ("pluck", "beeps", "chirps", "knock", "splash", "whoosh")

# the open set: these occur in test videos only
TEST_SCENES = ("forest", "night")
TEST_BEDS = ("rain", "hum")
TEST_MOVERS = ("kite",)
TEST_NOISES = ("siren",)


@dataclass(frozen=True)
class Happening:
    """One instance: when, of which class, under which condition."""

    start_s: float
    end_s: float
    label: str
    condition: str
    level_db: float  # of the sound, relative to the set's usual level
    seed: int


@dataclass(frozen=True)
class Actor:
    """The object that performs a class's action; between its instances it idles, or is away."""

    label: str
    x_px: float
    y_px: float
    size_px: int
    always_there: bool
    seed: int


@dataclass(frozen=True)
class Shot:
    """From `start_s` on, this is the scene."""

    start_s: float
    kind: str
    seed: int


@dataclass(frozen=True)
class Bed:
    """The sound under everything; `level_db` is relative to the usual level of an action."""

    kind: str
    level_db: float
    seed: int


@dataclass(frozen=True)
class Card:
    """A title card (the full screen) or a large logo (most of it) in front of everything."""

    start_s: float
    end_s: float
    full: bool
    seed: int


@dataclass(frozen=True)
class Extra:
    """A moving thing or a sound that belongs to no class."""

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
        """Length of the picture, exact."""
        return self.frame_count / FRAME_RATE

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that happen in it, sorted; none in a background video."""
        return tuple(sorted({happening.label for happening in self.happenings}))


@dataclass(frozen=True)
class DemoPlan:
    """All videos, train first."""

    seed: int
    classes: tuple[str, ...]
    videos: tuple[VideoPlan, ...]

    def of(self, subset: str) -> tuple[VideoPlan, ...]:
        """The videos of "train" or "test"."""
        return tuple(video for video in self.videos if video.subset == subset)


def plan(seed: int = 0, train: int = 52, background: int = 5, test: int = 24) -> DemoPlan:
    """Decides the whole set, in a few milliseconds; nothing is rendered.

    Args:
        seed: same seed and counts, same plan.
        train: labelled training videos.
        background: training videos in which no class happens.
        test: test videos, all with at least one instance.

    Raises:
        ValueError: a negative count.
    """
    if min(train, background, test) < 0:
        raise ValueError(f"counts cannot be negative, got train={train}, background={background}, test={test}")
    videos = _subset(np.random.default_rng([seed, 1]), "train", train, background)
    videos += _subset(np.random.default_rng([seed, 2]), "test", test, 0)
    return DemoPlan(seed, CLASSES, tuple(videos))


def _subset(rng: np.random.Generator, subset: str, labelled: int, background: int) -> list[VideoPlan]:
    """Videos with balanced classes, a third of them with two; one in each subset of 4 or more has no sound."""
    class_sets = _class_sets(rng, labelled) + [()] * background
    mute = int(rng.integers(labelled)) if labelled >= 4 else -1
    conditions = _shuffled_draws(rng, CONDITION_MIX)
    return [
        _video(rng, f"{subset}_{index:03d}", subset, class_sets[k], has_audio=bool(k != mute), conditions=conditions)
        for index, k in enumerate(rng.permutation(len(class_sets)))
    ]


def _shuffled_draws(rng: np.random.Generator, deck: Sequence[str]) -> Iterator[str]:
    """Cards from a deck that is shuffled anew when it is used up, so that none is rare."""
    while True:
        yield from (str(card) for card in rng.permutation(np.array(deck)))


def _class_sets(rng: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    """Classes of each labelled video."""
    dealt = _shuffled_draws(rng, CLASSES)
    class_sets: list[tuple[str, ...]] = [(next(dealt),) for _ in range(count)]
    seconds = [next(dealt) for _ in range(round(count / 3))]
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
    """One to three intervals of 3 to 12 s, at least 1.5 s apart, that fill 25 to 50 % of the video."""
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
    """Gives each interval a class (every class of `classes` at least once) and a condition."""
    labels = [*classes, *(str(rng.choice(classes)) for _ in range(len(spans) - len(classes)))]
    found = []
    for label, (start_s, end_s) in zip(rng.permutation(labels), spans, strict=True):
        condition = next(conditions) if has_audio else "silent"
        level_db = rng.uniform(-4, 4)
        if condition == "faint":  # below the bed, however loud that is
            level_db = min(bed.level_db, -4.0) - rng.uniform(2, 7)
        found.append(Happening(start_s, end_s, str(label), condition, round(float(level_db), 2), _seed(rng)))
    return tuple(found)


def _actors(rng: np.random.Generator, classes: tuple[str, ...]) -> tuple[Actor, ...]:
    """One object a class, side by side; in some videos also one of another class that never does anything."""
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
    """One kind; where kinds are only for test, those in 35 % of the cases."""
    return str(rng.choice(only_test if only_test and rng.random() < 0.35 else usual))


def _shots(rng: np.random.Generator, duration_s: float, open_set: bool) -> tuple[Shot, ...]:
    only_test = TEST_SCENES if open_set else ()
    shots = [Shot(0.0, _pick(rng, SCENES, only_test), _seed(rng))]
    if rng.random() < 0.3:  # an edited video: one cut, anywhere
        cut_s = round(rng.uniform(0.25, 0.75) * duration_s, 3)
        shots.append(Shot(cut_s, _pick(rng, SCENES, only_test), _seed(rng)))
    return tuple(shots)


def _bed(rng: np.random.Generator, open_set: bool) -> Bed:
    kind = _pick(rng, BEDS, TEST_BEDS if open_set else ())
    level_db = -38.0 if kind == "quiet" else rng.uniform(-20, -2)
    return Bed(kind, round(float(level_db), 2), _seed(rng))


def _cards(rng: np.random.Generator, happenings: tuple[Happening, ...], duration_s: float) -> tuple[Card, ...]:
    """One over each hidden instance, a little longer than it; and some over nothing, so a card is no sign."""
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
