"""Tags of a video: which concepts are in it, where, and by which sense. Also the most telling tags of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from avloc.tagging.classes import SENSES, class_list, folded
from avloc.tagging.evidence import LIKELY, Evidence
from avloc.tagging.vocabulary import Concept, our_vocabulary

MAYBE = 0.2
"""Less likely tags down to this score are offered to a person, not used."""

HEARD = 0.3
"""Probability from one sense alone from which a tag counts as heard, or as seen."""

_PEAK = 0.5
"""The stretch of a tag is where its probability stays above this share of its highest."""

_SAME = 0.6
"""Two tags of overlapping classes are one if they share this part of their videos (intersection over union)."""


@dataclass(frozen=True)
class Tag:
    """A concept found in a video.

    Args:
        score: calibrated probability that the video holds it: that of its best snippet.
        start_s, end_s: the stretch around that snippet.
        sense: "audio", "frames" or "both".
    """

    label: str
    score: float
    start_s: float
    end_s: float
    sense: str


def find_tags(
    evidence: Evidence, least: float = MAYBE, inside: Bool[np.ndarray, " l"] | None = None, asked: bool = True
) -> tuple[Tag, ...]:
    """Tags of a video, the most likely first.

    Args:
        least: lowest score.
        inside: the snippets to look at; all if absent.
        asked: False for words that nobody asked for: scores are the classifiers' own probabilities, since those of
            `evidence` hold for words that are in one video of eight.
    """
    probabilities = evidence.probabilities() if asked else evidence.raw()
    if inside is not None:
        probabilities = np.where(inside[:, None], probabilities, 0.0)
    heard, seen = (evidence.alone(sense) for sense in SENSES)
    best = probabilities.argmax(axis=0)
    scores = probabilities[best, np.arange(len(best))]
    tags = []
    for w in np.argsort(-scores, kind="stable"):
        if scores[w] < least:
            break
        segment = evidence.grid.segment(*_stretch(probabilities[:, w], int(best[w])), evidence.duration_s)
        sense = _sense(float(heard[best[w], w]), float(seen[best[w], w]))
        tags.append(Tag(evidence.concepts[w].word, float(scores[w]), segment.start_s, segment.end_s, sense))
    return tuple(tags)


def _stretch(probabilities: Float[np.ndarray, " l"], best: int) -> tuple[int, int]:
    """(first, stop) of the snippets around the best one that stay above `_PEAK` of it."""
    low = np.flatnonzero(probabilities < _PEAK * probabilities[best])
    before, after = low[low < best], low[low > best]
    return (int(before[-1]) + 1 if len(before) else 0), (int(after[0]) if len(after) else len(probabilities))


def _sense(heard: float, seen: float) -> str:
    if min(heard, seen) >= HEARD:
        return "both"
    return "audio" if heard > seen else "frames"


@lru_cache(maxsize=1)
def every_concept() -> tuple[Concept, ...]:
    """Our words, one per group of classes, and each further class of both lists by its first name.

    A name of both lists is one concept. A class whose name is a word of ours for other classes is told apart by its
    sense: "mouse (frames)" is the computer's.
    """
    ours = our_vocabulary()
    groups = {word: concept for word in ours.groups if (concept := ours.find(word)) is not None}
    first = {(concept.audio, concept.visual): concept for concept in reversed(groups.values())}
    known = {folded(concept.word): concept for concept in reversed(first.values())}
    for sense in SENSES:
        for index in range(len(class_list(sense).names)):
            name = class_list(sense).short(index)
            word = groups.get(folded(name))
            if word is not None and index in word.classes(sense):
                continue
            if word is not None:
                name = f"{name} ({'audio' if sense == 'audio' else 'frames'})"
            before = known.get(folded(name), Concept(name))
            classes = (*before.classes(sense), index)
            audio, visual = (classes, before.visual) if sense == "audio" else (before.audio, classes)
            known[folded(name)] = Concept(before.word, audio, visual)
    return tuple(known.values())


def telling_words(
    videos: Sequence[Mapping[str, float]], concepts: Sequence[Concept], most: int, likely: float = LIKELY
) -> tuple[str, ...]:
    """The words that tell most about a folder: likely in many of its videos, but not in all, and no two for the same.

    Args:
        videos: {word: score} of each video.
        most: number of words.
    """
    sets: dict[str, dict[int, float]] = {}
    for k, scores in enumerate(videos):
        for word, score in scores.items():
            if score >= likely:
                sets.setdefault(word, {})[k] = score
    value = {word: sum(found.values()) * np.log(1 + len(videos) / len(found)) for word, found in sets.items()}
    by_word = {concept.word: concept for concept in concepts}
    chosen: list[str] = []
    for word in sorted(sets, key=lambda word: (-value[word], word)):
        if len(chosen) == most:
            break
        if not any(_same(by_word[word], by_word[other], set(sets[word]), set(sets[other])) for other in chosen):
            chosen.append(word)
    return tuple(chosen)


def _same(one: Concept, other: Concept, videos: set[int], others: set[int]) -> bool:
    """Whether two tags share classes, and most of their videos."""
    related = any({*one.classes(sense)} & {*other.classes(sense)} for sense in SENSES)
    return related and len(videos & others) >= _SAME * len(videos | others)
