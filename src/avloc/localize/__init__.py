"""From class activations to timed detections (§4.2): the paper's decoders and ours. numpy only."""

from __future__ import annotations

from avloc.localize.actions import detect, events, kept_classes, runs, snippet_labels, video_scores
from avloc.localize.choose import LIKELY, likely_from, localize
from avloc.localize.multi import contrasted

__all__ = [
    "LIKELY",
    "contrasted",
    "detect",
    "events",
    "kept_classes",
    "likely_from",
    "localize",
    "runs",
    "snippet_labels",
    "video_scores",
]
