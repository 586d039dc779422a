"""The class names of a run as prompts for the taggers whose features it takes, mixed into the network's answer."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avloc.errors import ConfigError, InputError
from avloc.features.choose import require_here
from avloc.localize.prompts import mix_words
from avloc.model.checkpoint import ModelCard
from avloc.tagging.words import WordScores
from avloc.types import FeatureSequence

_WITHOUT = "; or leave out the words: --set localize.words_weight=0"


@dataclass(frozen=True)
class WordMix:
    """Scores of words, and their weight beside the network."""

    scores: WordScores
    weight: float

    def __call__(self, probs: Float[np.ndarray, "l c1"], features: FeatureSequence) -> Float[np.ndarray, "l c1"]:
        """p of a video's snippets, mixed with the words (`localize.prompts.mix_words`).

        Raises:
            InputError: a tagger is not on this machine, or the features are of another backbone.
        """
        try:
            scores, known = self.scores.weighed(features)
        except InputError as error:
            raise InputError(f"{features.video_id}: {error}{_WITHOUT}") from error
        return mix_words(probs, scores, known, self.weight)


def word_mix(card: ModelCard, weight: float, used: Container[str], download: bool) -> WordMix | None:
    """The words of a run; None if their weight is 0.

    Args:
        weight: `localize.words_weight`. used: modalities that the model uses.
        download: fetch the taggers' weights if they are not on this machine.

    Raises:
        ConfigError: the run has no features of a tagger, or no class name that maps to its classes. InputError: a
            tagger is not on this machine.
    """
    if not weight:
        return None
    made = {name: backbone for name, backbone in card.backbones.items() if name in used}
    try:
        scores = WordScores(card.classes, made, card.config.extract.weights)
    except InputError as error:
        raise ConfigError(f"localize.words_weight={weight:g}: {error}; set it to 0") from error
    taggers = {name: made[name] if name in scores.senses else None for name in ("visual", "audio")}
    try:
        require_here(card.config.extract.model_copy(update=taggers), download)
    except InputError as error:
        raise InputError(f"{error}{_WITHOUT}") from error
    return WordMix(scores, weight)
