"""Run a decoder by name, then the filters common to all decoders."""

from __future__ import annotations

from avloc.config import LocalizeConfig
from avloc.localize.actions import detect, events
from avloc.localize.contrast import contrast
from avloc.types import ActivationSequence, Detection


def localize(activations: ActivationSequence, options: LocalizeConfig) -> tuple[Detection, ...]:
    """Detections by descending score: the decoder `options.decode`, then the common filters."""
    if options.decode == "events":
        found = events(activations)
    else:
        found = (detect if options.decode == "actions" else contrast)(activations, options)
    merged = _merge(found, options.merge_gap_s) if options.merge_gap_s else found
    kept = [d for d in merged if d.score >= options.min_score and d.end_s - d.start_s >= options.min_duration_s]
    return tuple(sorted(kept, key=lambda d: (-d.score, d.start_s, d.label)))


def _merge(found: list[Detection], gap_s: float) -> list[Detection]:
    """Join same-class detections less than `gap_s` apart; the higher score is kept."""
    merged: list[Detection] = []
    for detection in sorted(found, key=lambda d: (d.label, d.start_s)):
        last = merged[-1] if merged else None
        if last and last.label == detection.label and detection.start_s - last.end_s < gap_s:
            end = max(last.end_s, detection.end_s)
            merged[-1] = Detection(last.start_s, end, last.label, max(last.score, detection.score))
        else:
            merged.append(detection)
    return merged
