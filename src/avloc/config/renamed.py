"""Names of settings in earlier versions, which are still read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["RENAMED", "old_names", "present_names"]

_ACTIONS = ("class_gate", "threshold_factor", "score_weight", "smooth_snippets")
_CONTRAST = {
    "class_share": "class_share",
    "min_classes": "min_classes",
    "levels": "levels",
    "smooth_passes": "smooth_passes",
    "outer_margin": "outer_margin",
    "beyond": "outside_margin",
    "whole": "full_video_margin",
    "brief": "short_video_bonus",
    "video_weight": "video_weight",
    "contrast_slope": "contrast_slope",
    "contrast_middle": "contrast_middle",
    "nms_sigma": "nms_sigma",
    "max_per_class": "max_per_class",
    "calibration_slope": "calibration_slope",
    "calibration_offset": "calibration_offset",
    "weakest": "min_probability",
}
RENAMED = {
    **{f"localize.{name}": f"localize.actions.{name}" for name in _ACTIONS},
    **{f"localize.{old}": f"localize.contrast.{new}" for old, new in _CONTRAST.items()},
}
"""{old key: new key}. The value `multi` of localize.decode is `contrast` now."""


def present_names(settings: Mapping[str, Any], level: int = logging.WARNING) -> dict[str, Any]:
    """{"section.key": value} under present names. Old ones are noted in the log, once."""
    notes = [f"{key} is now {RENAMED[key]}" for key in settings if key in RENAMED]
    renamed = {RENAMED.get(key, key): value for key, value in settings.items()}
    if renamed.get("localize.decode") == "multi":
        notes.append("localize.decode=multi is now localize.decode=contrast")
        renamed["localize.decode"] = "contrast"
    if notes:
        _note("; ".join(notes), level)
    return renamed


def old_names(localize: dict[str, Any]) -> dict[str, Any]:
    """Settings of `localize` under their old names: fingerprints of results are made from these and stay the same."""
    tails = {old.split(".")[1]: new.split(".")[1:] for old, new in RENAMED.items()}
    groups = {group for group, _ in tails.values()}
    decode = "multi" if localize["decode"] == "contrast" else localize["decode"]
    shared = {name: value for name, value in localize.items() if name not in groups} | {"decode": decode}
    return shared | {old: localize[group][new] for old, (group, new) in tails.items()}


@cache
def _note(text: str, level: int) -> None:
    logging.getLogger("avloc.config").log(level, text)
