"""Λ of every stage (Eq. 1), for one video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from avloc.errors import InputError
from avloc.types import FeatureSequence

if TYPE_CHECKING:
    from avloc.pipeline.localizer import Localizer

__all__ = ["correlations"]


def correlations(localizer: Localizer, features: FeatureSequence) -> list[Float[np.ndarray, "l_u l_v"]]:
    """Λ = X_uᵀ W X_v of every stage (Eq. 1), rows audio snippets, columns visual snippets.

    Raises:
        InputError: the video has one modality only, or the model has no cross-attention.
    """
    import torch

    from avloc.model.fusion import correlation
    from avloc.pipeline.localizer import with_options

    fusion = localizer.model.fusion
    if fusion is None or features.audio is None or features.visual is None:
        raise InputError(f"{features.video_id}: cross-attention needs sound and picture, and a model that takes both")
    seen: list[Any] = []
    hook = fusion.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    try:
        with_options(localizer, {"localize.window_snippets": None}).activations(features)
    finally:
        hook.remove()
    audio, visual, mask, both = seen[0]
    found = []
    with torch.no_grad():
        for stage in range(1, fusion.num_stages + 1):
            # what enters this stage is what a fusion of one stage less ends in
            a, v = _before(fusion, stage, audio, visual, mask, both)
            found.append(correlation(a, v, fusion.weight(stage), fusion.scale)[0].double().cpu().numpy())
    return found


def _before(fusion: Any, stage: int, *inputs: Any) -> Any:
    whole = fusion.num_stages
    try:
        fusion.num_stages = stage - 1
        return fusion(*inputs)
    finally:
        fusion.num_stages = whole
