"""Scores of concepts per snippet, from audio and frames, and their fusion to one calibrated probability.

Conventions
    All scores are log odds. Audio: of a concept with AudioSet classes K, 1 - prod_K (1 - p_k), p from the classifier
    applied to the mean feature of `AUDIO_S` seconds: it was trained on 10 s, and on single seconds it claims too much.
    Frames: of the sum of the ImageNet classes' probabilities, averaged over `VISUAL_S` seconds, minus the log odds of
    the share that these classes have in the list: 118 breeds of dog collect more by chance than one lion.

Fusion: a weighted sum plus a constant, per snippet; a video's score is its best snippet's. The constants are a logistic
regression on the training videos of two benchmark sets (docs/benchmarks.md, "Start without labels"): a concept left out
of the fit is found as well as one in it, so they are taken to hold for other words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from avloc.localize.contrast import logistic
from avloc.tagging.classes import SENSES, Sense, class_list
from avloc.tagging.heads import Tagger
from avloc.tagging.vocabulary import Concept
from avloc.types import FeatureSequence, SnippetGrid

AUDIO_S = 5.0
VISUAL_S = 3.0

LEAST_AUDIO = -6.0
"""Log odds below which audio counts as silent on a concept: it says no more than -6."""

LOUDEST = 1.4
"""Length of an audio feature, of the median in its video, that the classifier still gets: a mean over 10 s is never
longer, and of longer ones it claims a hundred classes at once."""

BOTH = (0.72, 0.97, -1.12)
"""Weight of audio, weight of frames, constant."""

ALONE: Mapping[Sense, tuple[float, float]] = {"audio": (0.74, -0.33), "visual": (1.16, -3.68)}
"""Weight and constant where a concept, or a video, has one sense only."""

LIKELY = 0.5
"""Default threshold of a draft label: calibrated, so more often right than wrong."""

_TINY = 1e-7


@dataclass(frozen=True)
class Evidence:
    """Scores of concepts in one video, as log odds (see the top of the file).

    Args:
        audio, visual: (L, W); NaN in the columns of concepts without classes of that sense; None without that tagger.
    """

    video_id: str
    duration_s: float
    grid: SnippetGrid
    concepts: tuple[Concept, ...]
    audio: Float[np.ndarray, "l w"] | None
    visual: Float[np.ndarray, "l w"] | None

    def logits(self) -> Float[np.ndarray, "l w"]:
        """Fused log odds per snippet; -inf where a concept can neither be heard nor seen."""
        heard, seen = self._sense("audio"), self._sense("visual")
        both = BOTH[0] * heard + BOTH[1] * seen + BOTH[2]
        alone = [weight * x + constant for x, (weight, constant) in zip((heard, seen), ALONE.values(), strict=True)]
        result = np.where(np.isnan(both), np.where(np.isnan(heard), alone[1], alone[0]), both)
        return np.where(np.isnan(result), -np.inf, result)

    def probabilities(self) -> Float[np.ndarray, "l w"]:
        """Fused probability per snippet."""
        return logistic(self.logits())

    def alone(self, sense: Sense) -> Float[np.ndarray, "l w"]:
        """Probability from one sense; 0 where a concept has no classes of it."""
        weight, constant = ALONE[sense]
        return np.nan_to_num(logistic(weight * self._sense(sense) + constant), nan=0.0)

    def raw(self) -> Float[np.ndarray, "l w"]:
        """The classifiers' own probability per snippet, the larger one of both senses; for words nobody asked for."""
        heard = np.nan_to_num(logistic(self._sense("audio")), nan=0.0)
        return np.fmax(heard, logistic(self._sense("visual") + chance(self.concepts)))

    def _sense(self, sense: Sense) -> Float[np.ndarray, "l w"]:
        values = self.audio if sense == "audio" else self.visual
        if values is None:
            return np.full((self.grid.count, len(self.concepts)), np.nan)
        return np.maximum(values, LEAST_AUDIO) if sense == "audio" else values


def find_evidence(
    features: FeatureSequence,
    concepts: Sequence[Concept],
    taggers: Mapping[Sense, Tagger],
    over_s: Mapping[Sense, float] | None = None,
) -> Evidence:
    """Scores of concepts in a video's stored features.

    Args:
        taggers: from `heads.load_taggers`, for backbones of these features.
        over_s: as in `class_probabilities`, for each sense; 0 scores every snippet by itself.
    """
    wanted = tuple(concepts)
    scores = {
        sense: _group(
            class_probabilities(features, sense, taggers[sense], over_s[sense] if over_s else None), wanted, sense
        )
        if sense in taggers
        else None
        for sense in SENSES
    }
    return Evidence(features.video_id, features.duration_s, features.grid, wanted, scores["audio"], scores["visual"])


def snippet_odds(
    features: FeatureSequence, concepts: Sequence[Concept | None], taggers: Mapping[Sense, Tagger]
) -> dict[str, Float[np.ndarray, "l w"]]:
    """Log odds of concepts by the tagger of each sense; NaN for None, and for a concept without classes of that sense.

    Every snippet by itself: averaging over seconds, as for tags of a whole video, blurs the boundaries.
    """
    there = [concept is not None for concept in concepts]
    named = [concept for concept in concepts if concept is not None]
    found = find_evidence(features, named, taggers, dict.fromkeys(SENSES, 0.0))
    odds: dict[str, Float[np.ndarray, "l w"]] = {
        sense: np.full((features.grid.count, len(concepts)), np.nan) for sense in taggers
    }
    for sense, rows in odds.items():
        rows[:, there] = getattr(found, sense)
    return odds


def class_probabilities(
    features: FeatureSequence, sense: Sense, tagger: Tagger, over_s: float | None = None
) -> Float[np.ndarray, "l classes"]:
    """Probabilities of all classes of a tagger per snippet, over `over_s` seconds around it; None: as for tags."""
    width_s = {"audio": AUDIO_S, "visual": VISUAL_S}[sense] if over_s is None else over_s
    rows, step_s = getattr(features, sense).astype(np.float32), float(features.grid.step_s)
    if sense == "audio":
        return logistic(tagger.class_logits(_bounded(moving_mean(rows, width_s / step_s))).astype(np.float64))
    logits = tagger.class_logits(rows).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return moving_mean(shares / shares.sum(axis=1, keepdims=True), width_s / step_s)


def _bounded(rows: Float32[np.ndarray, "l d"]) -> Float32[np.ndarray, "l d"]:
    """Rows scaled to at most `LOUDEST` of the median length."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, LOUDEST * np.median(lengths) / np.maximum(lengths, _TINY)).astype(np.float32)


def moving_mean(rows: Float[np.ndarray, "l d"], width: float) -> Float[np.ndarray, "l d"]:
    """Mean over the odd number of rows nearest to `width`, fewer at the ends."""
    reach = max(0, round((width - 1) / 2))
    if not reach:
        return rows
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
    index = np.arange(len(rows))
    first, stop = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(rows))
    return ((sums[stop] - sums[first]) / (stop - first)[:, None]).astype(rows.dtype)


def _group(
    probabilities: Float[np.ndarray, "l classes"], concepts: tuple[Concept, ...], sense: Sense
) -> Float[np.ndarray, "l w"]:
    members = _members(concepts, sense)
    if sense == "audio":
        columns = logit(-np.expm1(np.log1p(-np.minimum(probabilities, 1 - _TINY)) @ members))
    else:
        columns = logit(probabilities @ members) - chance(concepts)
    return np.where(members.any(axis=0), columns, np.nan)


@lru_cache(maxsize=4)
def _members(concepts: tuple[Concept, ...], sense: Sense) -> Float[np.ndarray, "classes w"]:
    """1 where a class belongs to a concept."""
    members = np.zeros((len(class_list(sense).names), len(concepts)))
    for k, concept in enumerate(concepts):
        members[list(concept.classes(sense)), k] = 1
    return members


def chance(concepts: tuple[Concept, ...]) -> Float[np.ndarray, " w"]:
    """Log odds of the share that each concept's classes have in ImageNet's list."""
    return logit(_members(concepts, "visual").mean(axis=0))


def logit(p: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Log odds, of probabilities at least `_TINY` from 0 and 1."""
    inside = np.clip(p, _TINY, 1 - _TINY)
    return np.log(inside / (1 - inside))
