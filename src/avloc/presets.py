"""Named configurations, as differences from the defaults in `avloc.config`."""

from __future__ import annotations

from typing import Any

RIVALS: dict[str, dict[str, Any]] = {
    "w-talc": {
        "model.method": "w-talc",
        "model.modality": "visual",
        "model.dropout": 0.7,  # theirs
        "model.visual_normalize": "l2",  # this and the next method's: measured, docs/decisions.md
        "loss.mil_background": "known",  # theirs has no background class
        "loss.mil_scores": "logits",  # Paul et al. 2018, MILL
        "loss.coactivity_weight": 1.0,  # theirs: ½ MIL + ½ CASL, of which this is the double
        "loss.continuity_weight": 0.0,
        "loss.pseudo_weight": 0.0,
        "train.batch_size": 10,
        "train.weight_decay": 1e-3,  # theirs 5e-4 for half the loss
    },
    "tian": {
        "model.method": "tian",
        "model.audio_normalize": "standard",
        "model.visual_normalize": "standard",
        "loss.topk_divisor": 1_000_000,  # k = 1: Tian et al. 2018 take the maximum over time
        "loss.mil_background": "known",  # theirs: only videos without any class count as background
        "loss.coactivity_weight": 0.0,
        "loss.continuity_weight": 0.0,
        "loss.pseudo_weight": 0.0,
        "train.learning_rate": 1e-3,
    },
}
"""Losses and training settings of the baselines in Tables 5 and 6."""

_PAPER: dict[str, Any] = {
    "model.direct": False,
    "model.dropout": 0.7,
    "model.correlation_scale": 1.0,
    "model.audio_normalize": "standard",  # paper silent; measured with the next two, docs/decisions.md
    "model.visual_normalize": "l2",
    "model.modality_dropout": 0.0,
    "loss.mil_background": "always",
    "loss.pseudo_labels": "hard",
    "loss.pseudo_from_labels": False,
    "loss.threshold": 0.7,
    "localize.decode": "actions",
    "train.teacher_decay": 0.0,
}
"""What the paper states; where it is silent, the choice that is best by its own decoder on held-out training videos."""

_LITERAL: dict[str, Any] = {
    "model.audio_normalize": "none",
    "model.visual_normalize": "none",
    "loss.mil_background": "known",
}
"""The same silences filled with nothing that the paper does not mention."""

AUTOMATIC = (
    "model.embed_dim",
    "train.steps",
    "train.batch_size",
    "train.learning_rate",
    "train.weight_decay",
    "train.eval_every",
    "loss.prior_weight",
    "localize.words_weight",
)
"""Settings that the preset `auto` derives from the training set: `avloc.config.automatic`."""

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "auto": {"train.auto": list(AUTOMATIC)},
    "paper": _PAPER,
    "paper-literal": {**_PAPER, **_LITERAL},
    "ave": {
        "train.snippets": 10,
        "train.steps": 33000,
        "train.eval_every": 550,
        "localize.decode": "events",
    },
    "activitynet": {
        "extract.step_s": 0.64,
        "train.steps": 25000,
        "train.eval_every": 1000,
    },
    "thumos14": {
        "extract.step_s": 0.64,  # W-TALC, BaS-Net: 16 frames at 25 fps
        "train.snippets": 750,  # W-TALC's max-seqlen, BaS-Net's num_segments
        "train.steps": 10000,  # UM (BaS-Net's authors) 10,000 of batch 16; W-TALC up to 100,000 of batch 10
        "train.eval_every": 250,
        "train.weight_decay": 5e-4,  # W-TALC, BaS-Net
    },
    "llp": {
        "train.snippets": 10,
        "train.steps": 13300,  # Tian et al. 2020: 40 epochs over 10,000 videos
        "train.eval_every": 665,
    },
    "unav100": {
        "extract.step_s": 0.32,
        "train.steps": 25000,  # ours: as for ActivityNet, which is as large
        "train.eval_every": 1000,
    },
    "demo": {
        "extract.visual": "appearance",
        "extract.audio": "logmel",
        "extract.step_s": 0.5,
        "model.embed_dim": 128,
        "train.steps": 300,
        "train.weight_decay": 1e-2,
        "train.learning_rate": 1e-3,
        "train.eval_every": 50,
    },
    **{name: {**_PAPER, **changes} for name, changes in RIVALS.items()},
}
"""{name: {"section.key": value}}. The baselines use the paper's decoder, which is W-TALC's."""

RECIPES = ("paper", "default")
"""Presets from which the paper's tables can be computed."""

_OF_THE_DATA = (
    "extract.",
    "model.embed_dim",
    "train.snippets",
    "train.steps",
    "train.eval_every",
    "train.learning_rate",
)


def recipe_on(recipe: str, data: str) -> dict[str, Any]:
    """Settings of a recipe on a data set, in the form of PRESETS.

    Args:
        recipe: "default": the data set's preset as it is. Another: that preset, with the schedule, size and decoder of
            the data set's preset (AVE's task is to classify snippets, §4.2: decode "events").
        data: a preset of a data set.
    """
    if recipe == "default":
        return PRESETS[data]
    kept = (*_OF_THE_DATA, "localize.decode")
    return {**PRESETS[recipe], **{key: value for key, value in PRESETS[data].items() if key.startswith(kept)}}
