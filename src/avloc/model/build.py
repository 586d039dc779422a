"""From a configuration to a model."""

from __future__ import annotations

from avloc.config import ModelConfig
from avloc.model.base import Model
from avloc.model.network import AudioVisualLocalizer
from avloc.model.tian import TianLocalizer
from avloc.model.wtalc import WTALC


def build(config: ModelConfig, audio_size: int, visual_size: int, num_classes: int) -> Model:
    """A freshly initialised model of `config.method`.

    Args:
        audio_size, visual_size: d_u and d_v of the features; 0 if the data set lacks the modality.
        num_classes: C.

    Raises:
        ValueError: a modality that the model needs has no features.
    """
    if config.method == "w-talc":
        return WTALC(visual_size, num_classes, config)
    if config.method == "tian":
        return TianLocalizer(audio_size, visual_size, num_classes, config)
    return AudioVisualLocalizer(audio_size, visual_size, num_classes, config)
