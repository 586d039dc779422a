"""Class scores of stored features: the classifiers of backbones whose features are what these classifiers take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32

from avloc.errors import InputError
from avloc.features.backbones import Setup, load_backbone
from avloc.tagging.classes import SENSES, SHOWN, Sense
from avloc.types import FeatureSequence

TAGGERS: Mapping[Sense, tuple[str, ...]] = {
    "audio": ("efficientat-mn04", "efficientat-mn10"),
    "visual": ("efficientnet-lite0",),
}
"""Backbones with a classifier; the first of each is in `auto`."""


@runtime_checkable
class Tagger(Protocol):
    """A backbone with a classifier over `classes.class_list(sense)`."""

    def class_logits(self, rows: Float32[np.ndarray, "n size"]) -> Float32[np.ndarray, "n classes"]:
        """Logits of stored rows: of independent classes for audio, of a softmax for frames."""
        ...


def tagged_senses(backbones: Mapping[str, str]) -> tuple[Sense, ...]:
    """The senses whose backbone has a classifier, of {"audio": name, "visual": name}."""
    return tuple(sense for sense in SENSES if backbones.get(sense) in TAGGERS[sense])


def load_taggers(
    features: FeatureSequence, weights: Mapping[str, str] | None = None, notes: dict[str, str] | None = None
) -> dict[Sense, Tagger]:
    """The classifiers for a video's features.

    Args:
        weights: {NAME: path} of weight files, as for extraction.
        notes: takes {sense: why it has no tagger}.

    Raises:
        InputError: neither audio nor frames can be tagged; the message says why, and what to do.
    """
    found: dict[Sense, Tagger] = {}
    reasons: dict[str, str] = {}
    for sense in SENSES:
        name = features.source.backbones.get(sense, "")
        if getattr(features, sense) is None:
            reasons[sense] = f"no {SHOWN[sense]}"
        elif name not in TAGGERS[sense]:
            reasons[sense] = f"{name or 'unknown'} features, {' or '.join(TAGGERS[sense])} needed"
        else:
            try:
                found[sense] = _tagger(name, tuple(sorted((weights or {}).items())))
            except InputError as error:
                reasons[sense] = str(error)
    if notes is not None:
        notes |= reasons
    if not found:
        why = "; ".join(f"{SHOWN[sense]}: {why}" for sense, why in reasons.items())
        raise InputError(
            f"{features.video_id}: cannot be tagged ({why}); extract with the default backbones: {remedy()}"
        )
    return found


def remedy() -> str:
    """How to get the default taggers, in words."""
    return "pip install 'avloc[pretrained]' and avloc backbones --get " + TAGGERS["audio"][0]


@lru_cache(maxsize=4)
def _tagger(name: str, weights: tuple[tuple[str, str], ...]) -> Tagger:
    return cast(Tagger, load_backbone(name, Setup(dict(weights), device="cpu")))
