"""Words as a prior of the pseudo-labels: the taggers' scores of a video's own labels, in every snippet.

The idea of VALOR (Lai et al., NeurIPS 2023) and UWAV (Lai et al., CVPR 2025): segment labels from pretrained networks,
under the video's labels. Here they are a soft prior whose weight falls to 0 during training (docs/method.md, Prompts).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from avloc.localize.prompts import label_prior
from avloc.tagging.words import WordScores
from avloc.train.dataset import WeakDataset
from avloc.types import FeatureSequence


class WordPrior:
    """Makes r of a video, see `localize.prompts.label_prior`."""

    def __init__(self, words: WordScores) -> None:
        self.words = words

    def __call__(self, features: FeatureSequence, labels: Float[np.ndarray, " c"]) -> Float[np.ndarray, "l c1"]:
        """r; background throughout without labels; 0 if the taggers say nothing of a label."""
        prior = np.zeros((features.grid.count, 1 + len(self.words.classes)), np.float32)
        own = np.flatnonzero(labels)
        if not len(own):
            prior[:, 0] = 1
            return prior
        scores, known = self.words(features, own)
        if known.all():
            prior[:, [0, *(1 + own)]] = label_prior(scores, self.words.options.topk_divisor)
        return prior

    def __repr__(self) -> str:
        return repr(self.words)


def word_scores(train: WeakDataset, backbones: Mapping[str, str]) -> WordScores:
    """The taggers' scores of the words of a training set.

    Raises:
        InputError: its features are not those of a tagger, a tagger is not on this machine, or no word maps to its
            classes.
    """
    words = WordScores(train.classes, backbones)
    for sense in words.senses:
        for index in range(len(train)):
            if sense in train.features(index).modalities:
                words.taggers(train.features(index))
                break
    return words
