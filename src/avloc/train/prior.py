"""Words as a prior of the pseudo-labels: the taggers' scores of a video's own labels, in every snippet.

The idea of VALOR (Lai et al., NeurIPS 2023) and UWAV (Lai et al., CVPR 2025): segment labels from pretrained networks,
under the video's labels. Here they are a soft prior whose weight falls to 0 during training (docs/method.md, Prompts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from avloc.config import ZeroShotConfig
from avloc.errors import InputError
from avloc.localize.prompts import label_prior, prompt_scores
from avloc.system.text import pluralize
from avloc.tagging.classes import SENSES
from avloc.tagging.evidence import find_evidence
from avloc.tagging.heads import TAGGERS, load_taggers
from avloc.tagging.vocabulary import Concept, map_words
from avloc.train.dataset import WeakDataset
from avloc.types import FeatureSequence


class WordPrior:
    """Makes r of a video, see `localize.prompts.label_prior`.

    Args:
        classes: C names. concepts: {name: its classes of the taggers}, of those that map to some.
    """

    def __init__(self, classes: Sequence[str], concepts: Mapping[str, Concept]) -> None:
        self._classes, self._concepts, self._options = tuple(classes), concepts, ZeroShotConfig()

    def __call__(self, features: FeatureSequence, labels: Float[np.ndarray, " c"]) -> Float[np.ndarray, "l c1"]:
        """r; background throughout without labels; 0 if a label maps to nothing, or no tagger has such features."""
        prior = np.zeros((features.grid.count, 1 + len(self._classes)), np.float32)
        own = np.flatnonzero(labels)
        concepts = [self._concepts.get(self._classes[c]) for c in own]
        known = [concept for concept in concepts if concept is not None]
        if len(known) < len(own):
            return prior
        if not len(own):
            prior[:, 0] = 1
            return prior
        try:
            found = find_evidence(features, known, load_taggers(features), dict.fromkeys(SENSES, 0.0))
        except InputError:  # it lacks the modality that has a tagger
            return prior
        scores: dict[str, Float[np.ndarray, "l c"]] = {
            sense: rows for sense in SENSES if (rows := getattr(found, sense)) is not None
        }
        heard_and_seen = [~np.isnan(rows).all(axis=0) for rows in scores.values()]
        if not np.any(heard_and_seen, axis=0).all():  # a label of the other modality only
            return prior
        fused = prompt_scores(scores, self._options.tagger_middles, self._options)
        prior[:, [0, *(1 + own)]] = label_prior(fused, self._options.topk_divisor)
        return prior

    def describe(self) -> str:
        """For the sentence that introduces a run."""
        every = len(self._concepts) == len(self._classes)
        which = "" if every else f"{len(self._concepts)} of "
        return f"taggers score the words of {which}{pluralize(len(self._classes), 'class')}, as a prior"

    def __repr__(self) -> str:
        """The words and their classes."""
        return "; ".join(f"{name}: {c.audio} {c.visual}" for name, c in sorted(self._concepts.items()))


def word_prior(train: WeakDataset, backbones: Mapping[str, str]) -> tuple[WordPrior | None, str]:
    """The prior for a training set, and a note; (None, "") if its features are not those of a tagger.

    Without the taggers' weights, or if no class maps to theirs, there is no prior, and the note says why.
    """
    able = {sense for sense in SENSES if backbones.get(sense) in TAGGERS[sense]}
    if not able:
        return None, ""
    try:
        concepts = {concept.word: concept for concept in map_words(train.classes).concepts}
        for index in range(len(train)):
            if able & set(train.features(index).modalities):
                load_taggers(train.features(index))
                break
    except InputError as error:
        return None, f"no prior from words (loss.prior_weight): {error}"
    return WordPrior(train.classes, concepts), ""
