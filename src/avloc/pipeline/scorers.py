"""Networks that score prompts in stored features: taggers by classes, models with a text tower by similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from avloc.config import AUTO, ExtractConfig, PromptConfig
from avloc.errors import InputError
from avloc.features.backbones import card
from avloc.features.backbones.hub_text import TOWERS, TextTower, has_text
from avloc.features.weights import resolve
from avloc.localize.prompts import background_odds
from avloc.tagging.classes import SHOWN
from avloc.tagging.evidence import snippet_odds
from avloc.tagging.heads import TAGGERS, load_taggers
from avloc.tagging.vocabulary import Concept
from avloc.types import FeatureSequence


@runtime_checkable
class Scorer(Protocol):
    """Scores of all prompts in the features of one modality."""

    def __call__(self, features: FeatureSequence) -> Float[np.ndarray, "l c"]:
        """Log odds; NaN for a prompt that the network has no class for."""
        ...


class TaggerScores:
    """Scores of the classes that each prompt maps to. `concepts` holds None for a prompt that maps to nothing."""

    def __init__(self, concepts: Sequence[Concept | None], modality: str, weights: Mapping[str, str]) -> None:
        self._concepts, self._modality, self._weights = concepts, modality, weights

    def __call__(self, features: FeatureSequence) -> Float[np.ndarray, "l c"]:
        taggers = load_taggers(features, self._weights)
        own = {sense: tagger for sense, tagger in taggers.items() if sense == self._modality}
        unknown = np.full((features.grid.count, len(self._concepts)), np.nan)
        return snippet_odds(features, self._concepts, own).get(self._modality, unknown)


class TextScores:
    """Similarity to each prompt, the mean over its templates, against background prompts."""

    def __init__(self, tower: TextTower, prompts: Sequence[str], modality: str, config: PromptConfig) -> None:
        options = config.zero_shot
        audio = modality == "audio"
        templates = options.audio_templates if audio else options.visual_templates
        backgrounds = options.audio_backgrounds if audio else options.visual_backgrounds
        filled = tower.embed([template.replace("{}", prompt) for prompt in prompts for template in templates])
        self._texts = filled.reshape(len(prompts), len(templates), -1).mean(axis=1)
        self._backgrounds = tower.embed(backgrounds)
        self._tower, self._modality, self._temperature = tower, modality, options.temperature

    def __call__(self, features: FeatureSequence) -> Float[np.ndarray, "l c"]:
        rows = getattr(features, self._modality)
        prompts, backgrounds = (
            self._tower.similarities(rows, texts, self._temperature) for texts in (self._texts, self._backgrounds)
        )
        return background_odds(prompts, backgrounds)


def choose_networks(extract: ExtractConfig) -> tuple[ExtractConfig, list[str]]:
    """The options with a network in place of `auto`: the tagger of each modality, none where its weights are missing.

    Unlike in training, features without a classifier or a text tower are no substitute.

    Raises:
        InputError: neither modality has a network, or one that is named cannot score prompts.
    """
    notes: list[str] = []
    chosen: dict[str, str | None] = {}
    for modality in ("audio", "visual"):
        name = getattr(extract, modality)
        if name == AUTO:
            chosen[modality] = _default(modality, extract.weights, notes)
        elif name is not None:
            _require_scores(modality, name)
    extract = extract.model_copy(update=chosen)
    if extract.audio is None and extract.visual is None:
        why = "; ".join(notes) or "extract.visual and extract.audio are both none"
        raise InputError(f"no network can score the prompts: {why}")
    return extract, notes


def _default(modality: str, weights: Mapping[str, str], notes: list[str]) -> str | None:
    name = taggers_of(modality)[0]
    try:
        for file in card(name).weights:
            resolve(file, weights)
    except InputError as error:
        notes.append(f"prompts are not scored in {SHOWN[modality]}: {error}")
        return None
    return name


def _require_scores(modality: str, name: str) -> None:
    if card(name).modality != modality:
        raise InputError(f"expected a backbone for {modality}, {name!r} is for {card(name).modality}")
    if not has_scores(modality, name):
        able = [*taggers_of(modality), *(family for family in TOWERS if card(family).modality == modality)]
        raise InputError(
            f"{modality} features of {name!r} cannot be compared with prompts: it has neither classes nor a text "
            f"tower; those that have: {', '.join(able)}"
        )


def has_scores(modality: str, name: str) -> bool:
    return name in taggers_of(modality) or has_text(name)


def taggers_of(modality: str) -> tuple[str, ...]:
    return TAGGERS["audio" if modality == "audio" else "visual"]
