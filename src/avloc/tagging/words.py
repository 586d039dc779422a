"""Scores of class names in stored features, snippet by snippet: beside a network that is trained, or in its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from avloc.config import ZeroShotConfig
from avloc.errors import InputError
from avloc.localize.prompts import prompt_scores, weigh_by_video
from avloc.system.text import pluralize
from avloc.tagging.classes import SHOWN, Sense
from avloc.tagging.evidence import snippet_odds
from avloc.tagging.heads import Tagger, load_taggers, tagged_senses
from avloc.tagging.vocabulary import Concept, map_words
from avloc.types import FeatureSequence


class WordScores:
    """Scores the names of classes as prompts (docs/method.md, Prompts).

    Args:
        classes: C names.
        backbones: {"audio": name, "visual": name} of the features; those of taggers count.
        weights: {NAME: path} of weight files, as for extraction.

    Attributes:
        senses: modalities that have a tagger. options: how log odds become scores.

    Raises:
        InputError: no backbone is a tagger, or no name maps to its classes.
    """

    def __init__(
        self, classes: Sequence[str], backbones: Mapping[str, str], weights: Mapping[str, str] | None = None
    ) -> None:
        self.senses = tagged_senses(backbones)
        if not self.senses:
            made = " and ".join(filter(None, backbones.values())) or "unknown backbones"
            raise InputError(f"features of {made} have no classes that words map to")
        self.classes, self.options, self._weights = tuple(classes), ZeroShotConfig(), weights
        self._concepts: dict[str, Concept] = {concept.word: concept for concept in map_words(classes).concepts}

    def __call__(
        self, features: FeatureSequence, wanted: Int[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "l k"], Bool[np.ndarray, " k"]]:
        """s(l, c) of the classes `wanted`, and of which of them the taggers say something; s of the others is 0.

        They say nothing of a class without a word of theirs, nor of a video without a modality of theirs.

        Raises:
            InputError: a tagger of these features is not on this machine, or they are of another backbone.
        """
        concepts = [self._concepts.get(self.classes[c]) for c in wanted]
        if not any(concepts) or set(self.senses).isdisjoint(features.modalities):
            return np.zeros((features.grid.count, len(wanted))), np.zeros(len(wanted), dtype=bool)
        odds = snippet_odds(features, concepts, self.taggers(features))
        known = np.any([~np.isnan(rows).all(axis=0) for rows in odds.values()], axis=0)
        return prompt_scores(odds, self.options.tagger_middles, self.options), known

    def weighed(self, features: FeatureSequence) -> tuple[Float[np.ndarray, "l c"], Bool[np.ndarray, " c"]]:
        """As a call for all classes, with s(l, c) weighed by the video scores as without training.

        Raises:
            InputError: as a call.
        """
        scores, known = self(features, np.arange(len(self.classes)))
        return weigh_by_video(scores, self.options.video_power, self.options.topk_divisor)[0], known

    def taggers(self, features: FeatureSequence) -> Mapping[Sense, Tagger]:
        """The classifiers for a video that has a modality of theirs. Raises InputError: one cannot be used."""
        reasons: dict[str, str] = {}
        found = load_taggers(features, self._weights, reasons)
        lost = [sense for sense in self.senses if sense in features.modalities and sense not in found]
        if lost:
            raise InputError("; ".join(f"{SHOWN[sense]}: {reasons[sense]}" for sense in lost))
        return found

    def describe(self) -> str:
        """For the sentence that introduces a run."""
        every = len(self._concepts) == len(self.classes)
        which = "" if every else f"{len(self._concepts)} of "
        return f"taggers score the words of {which}{pluralize(len(self.classes), 'class')}"

    def __repr__(self) -> str:
        """The words and their classes."""
        return "; ".join(f"{name}: {c.audio} {c.visual}" for name, c in sorted(self._concepts.items()))
