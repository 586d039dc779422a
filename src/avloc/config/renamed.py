"""Names of settings in earlier versions, which are still read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

_GROUPS = {
    "actions": "class_gate threshold_factor score_weight smooth_snippets",
    "contrast": (
        "class_share min_classes levels smooth_passes outer_margin video_weight contrast_slope contrast_middle "
        "nms_sigma max_per_class calibration_slope calibration_offset"
    ),
}
RENAMED = {
    **{f"localize.{name}": f"localize.{group}.{name}" for group, names in _GROUPS.items() for name in names.split()},
    "localize.beyond": "localize.contrast.outside_margin",
    "localize.whole": "localize.contrast.full_video_margin",
    "localize.brief": "localize.contrast.short_video_bonus",
    "localize.weakest": "localize.contrast.min_probability",
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


@cache
def _note(text: str, level: int) -> None:
    logging.getLogger("avloc.config").log(level, text)
