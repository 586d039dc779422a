"""Λ of every stage (Eq. 1), for one video."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from avloc.errors import InputError
from avloc.types import FeatureSequence

if TYPE_CHECKING:
    from avloc.pipeline.localizer import Localizer


def correlations(localizer: Localizer, features: FeatureSequence) -> list[Float[np.ndarray, "l_u l_v"]]:
    """Λ = X_uᵀ W X_v of every stage (Eq. 1), rows audio snippets, columns visual snippets.

    A long video is not cut into windows.

    Raises:
        InputError: the video lacks a modality, or the model has no cross-attention.
    """
    import torch

    from avloc.model.fusion import correlation
    from avloc.model.network import AudioVisualLocalizer

    model, fusion = localizer.model, localizer.model.fusion
    if not isinstance(model, AudioVisualLocalizer) or fusion is None or len(features.modalities) < 2:
        raise InputError(f"{features.video_id}: cross-attention needs audio and video, and a model that uses both")
    found = []
    with torch.no_grad():
        batch = localizer.batch(features, 0, features.grid.count)
        both = batch.present.all(dim=1)
        stages = fusion.stages(*model.embed_both(batch, batch.present), batch.mask, both)
        for stage, (audio, visual) in enumerate(islice(stages, fusion.num_stages), start=1):
            similar = correlation(audio, visual, fusion.weight(stage), fusion.scale)
            found.append(similar[0].double().cpu().numpy())
    return found
