"""From class activations to timed detections (§4.2): the paper's decoders and ours. numpy only.

decode    localize(): the decoder of the settings, and filters common to all
actions   the paper's thresholds (decode=actions) and the best class per snippet (decode=events)
contrast  ours: many thresholds, inner against outer mean, calibrated scores (decode=contrast)
"""

from __future__ import annotations

from avloc.localize.actions import detect, events, kept_classes, snippet_labels, video_scores
from avloc.localize.contrast import contrast
from avloc.localize.decode import localize
from avloc.metrics.snippets import runs

__all__ = [
    "contrast",
    "detect",
    "events",
    "kept_classes",
    "localize",
    "runs",
    "snippet_labels",
    "video_scores",
]
