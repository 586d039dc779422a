"""Whether features suit a trained run, and streams a file."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Literal

from avloc.config.arguments import Count, check
from avloc.errors import InputError
from avloc.mediafile import StreamChoice
from avloc.model.checkpoint import ModelCard
from avloc.types import FIRST_VERSION, FeatureSequence


def check_features(features: FeatureSequence, card: ModelCard, used: Container[str]) -> None:
    """Refuse features of another backbone, size or step: the model would give confident nonsense.

    Args:
        used: modalities that the model uses.

    Raises:
        InputError: what differs, and how to extract the features alike.
    """
    for name, size in (("audio", card.audio_size), ("visual", card.visual_size)):
        rows, expected = getattr(features, name), card.backbones.get(name)
        if rows is None or name not in used:
            continue
        made = features.source.backbones.get(name)
        if expected and made and made != expected:
            raise InputError(
                f"{features.video_id}: {name} features are of backbone {made!r}, the run was trained on "
                f"{expected!r}; extract them with --{name} {expected}"
            )
        old, new = features.source.version(name), card.versions.get(name, FIRST_VERSION)
        if expected and made and old != new:
            raise InputError(
                f"{features.video_id}: {name} features are of version {old} of {made}, the run was trained on "
                f"version {new}; extract features and train with one version of avloc"
            )
        if rows.shape[1] != size:
            raise InputError(
                f"{features.video_id}: {name} features have {rows.shape[1]} channels, the run expects {size}; "
                "use the features that the run was trained on"
            )
    step, trained = float(features.grid.step_s), float(card.config.extract.step)
    if not math.isclose(step, trained, rel_tol=1e-6):
        raise InputError(
            f"{features.video_id}: features of {step:g} s per snippet, the run was trained on {trained:g} s; "
            f"extract them with --step-s {trained:g}"
        )


def check_streams(streams: StreamChoice) -> None:
    """InputError for streams that are neither None, nor a number from 1, nor, of audio, "mix"."""
    check("streams.video", streams.video, Count | None)
    check("streams.audio", streams.audio, Count | Literal["mix"] | None)
