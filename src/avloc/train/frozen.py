"""Copy stages of a finished run and freeze them (Table 7)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from avloc.errors import ConfigError
from avloc.model.checkpoint import ModelCard, load_model
from avloc.model.network import AudioVisualLocalizer
from avloc.system.text import pluralize


def take_stages(model: nn.Module, card: ModelCard, run: Path, count: int) -> None:
    """Copy a run's input norms, embeddings and first `count` stages into `model`, and freeze them (Table 7).

    Later stages and the classifier keep their initial weights and are trained.

    Args:
        model: made by `card.build`. run: a finished run on the same features and classes.

    Raises:
        ConfigError: features or fusion settings of the run differ, or it has fewer than `count` stages.
        InputError, FormatError: as `load_model`.
    """
    given, theirs = load_model(run)
    if not isinstance(model, AudioVisualLocalizer) or not isinstance(given, AudioVisualLocalizer):
        raise ConfigError(
            "train.frozen_stages is for model.method=avloc: other methods have no stages of cross-attention"
        )
    if given.fusion is None or model.fusion is None or min(given.fusion.num_stages, model.fusion.num_stages) < count:
        raise ConfigError(f"{run}: expected {pluralize(count, 'stage')} or more, there and in the model")
    same = "embed_dim audio_embed_dim visual_embed_dim skip share_weight leaky_slope correlation_scale "
    same += "audio_normalize visual_normalize"
    a, b = theirs.config.model, card.config.model
    other = [
        f"model.{k} is {getattr(b, k)!r}, there {getattr(a, k)!r}"
        for k in same.split()
        if getattr(a, k) != getattr(b, k)
    ]
    if (theirs.audio_size, theirs.visual_size) != (card.audio_size, card.visual_size):
        other.append("feature sizes differ")
    if b.share_weight and model.fusion.num_stages > count:
        other.append("model.share_weight leaves nothing to train in later stages")
    if other:
        raise ConfigError(f"{run}: its stages do not fit the model: {'; '.join(other)}")
    model.norms.load_state_dict(given.norms.state_dict())
    model.embeds.load_state_dict(given.embeds.state_dict())
    model.embeds.requires_grad_(False)
    for stage in range(1, count + 1):
        model.fusion.weight(stage).data.copy_(given.fusion.weight(stage).data)
        model.fusion.weight(stage).requires_grad_(False)
