"""Settings derived from the size of the training set: the preset `auto`.

docs/decisions.md, "Settings for small sets", has the measurements behind the rules.
"""

from __future__ import annotations

from typing import Any

from avloc.config.build import with_overrides
from avloc.config.options import RunConfig

LARGE = 300
"""Sets with more labelled videos get the settings of the preset `default`."""

FEW = 4
"""A class with fewer labelled videos is rarely learned: docs/clips.md."""


def settings_for(videos: int, steps: int | None = None) -> dict[str, Any]:
    """Settings of the preset `auto`, {"section.key": value}; {} for a large set.

    The length of the videos needs no rule: `train.snippets` bounds what a step costs.

    Args:
        videos: number of labelled videos, with those for validation.
        steps: number of steps if it is given, from which `train.eval_every` follows.
    """
    if videos > LARGE:
        return {}
    steps = steps or 400
    return {
        "model.embed_dim": 256,
        "train.steps": steps,
        "train.batch_size": 16,
        "train.learning_rate": 1e-3,
        "train.weight_decay": 0.01,
        "train.eval_every": max(1, steps // 4),
        "loss.prior_weight": 1.0,
        "localize.words_weight": 0.4,
    }


def resolve(config: RunConfig, videos: int) -> RunConfig:
    """The configuration with the settings named in `train.auto` derived from the data, and `train.auto` empty."""
    given = None if "train.steps" in config.train.auto else config.train.steps
    derived = settings_for(videos, given)
    chosen = {key: derived[key] for key in config.train.auto if key in derived}
    return with_overrides(config, {**chosen, "train.auto": []})
