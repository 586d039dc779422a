"""Metrics on request: event F1 with collars, OV-AVEBench's mean, calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avloc.errors import InputError, did_you_mean
from avloc.evaluate.snippets import SnippetPairs, snippet_pairs
from avloc.metrics import (
    COLLAR_S,
    OFFSET_SHARE,
    Calibration,
    EventScores,
    OpenVocabularyScores,
    SegmentTable,
    calibration,
    collar_f1,
    open_vocabulary_scores,
)
from avloc.metrics.diagnosis import detection_calibration
from avloc.metrics.matching import match_detections
from avloc.types import ActivationSequence, VideoAnnotation

FURTHER = {
    "events": "event F1 with onset and offset collars (sed_eval)",
    "ov-ave": "OV-AVEBench's accuracy, segment F1, event F1 and their mean; needs activations",
    "calibration": "expected calibration error of detections, and of snippets if there are activations",
}
"""{name: what it is}."""

CALIBRATED_AT = 0.5
"""t-IoU at which a true positive is a correct detection."""


@dataclass(frozen=True)
class FurtherOptions:
    """What to compute.

    Args:
        names: keys of FURTHER.
        min_score: weaker detections are no events; None takes the decoder's reporting threshold
            (`formats.results.Results.likely_from`) if it has one, else all detections.
        collar_s, offset_share: as in `metrics.collar_f1`.
    """

    names: tuple[str, ...] = ()
    min_score: float | None = None
    collar_s: float = COLLAR_S
    offset_share: float = OFFSET_SHARE

    @classmethod
    def parse(cls, text: str, **options: Any) -> FurtherOptions:
        """From comma-separated names, or "all".

        Raises:
            InputError: an unknown name.
        """
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in FURTHER and name != "all"]
        if unknown:
            known = (*FURTHER, "all")
            raise InputError(f"unknown metric {unknown[0]!r}; use {', '.join(known)}.{did_you_mean(unknown[0], known)}")
        return cls(tuple(FURTHER) if "all" in names else tuple(dict.fromkeys(names)), **options)


@dataclass(frozen=True)
class Further:
    """The requested metrics; None where one was not requested or cannot be computed (see `notes`).

    Args:
        options: with the `min_score` that was used.
        events: event F1 with collars.
        open_vocabulary: OV-AVEBench's metrics.
        detections: calibration of detections; a true positive at t-IoU 0.5 is correct.
        snippets: calibration of the largest probability of each snippet.
    """

    options: FurtherOptions
    events: EventScores | None = None
    open_vocabulary: OpenVocabularyScores | None = None
    detections: Calibration | None = None
    snippets: Calibration | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; only what was computed."""
        facts: dict[str, Any] = {}
        if self.events is not None:
            events, options = self.events, self.options
            totals = {"micro_f1": events.micro_f1, "macro_f1": events.mean_f1}
            totals |= {"precision": events.precision, "recall": events.recall}
            facts["collar_events"] = {
                "collar_s": options.collar_s,
                "offset_share": options.offset_share,
                "min_score": options.min_score,
                **{name: None if np.isnan(value) else value for name, value in totals.items()},
                "f1": {c: None if np.isnan(f) else f for c, f in zip(events.classes, events.f1.tolist(), strict=True)},
            }
        if self.open_vocabulary is not None:
            facts["ov_ave"] = self.open_vocabulary.to_dict()
        for name, found in (("detection_calibration", self.detections), ("snippet_calibration", self.snippets)):
            if found is not None:
                facts[name] = found.to_dict()
        return facts


def evaluate_further(
    options: FurtherOptions,
    found: SegmentTable,
    truth: SegmentTable,
    activations: Iterable[ActivationSequence],
    annotations: Sequence[VideoAnnotation],
) -> Further:
    """Compute the requested metrics of detections and activations.

    Raises:
        InputError: as `metrics.collar_f1` and `metrics.match_detections`.
    """
    results: dict[str, Any] = {}
    notes = []
    seen = {a.video_id: a for a in activations} if {"ov-ave", "calibration"} & set(options.names) else {}
    pairs = snippet_pairs(seen.values(), annotations) if seen else None
    if "events" in options.names:
        strong = found if options.min_score is None else found.take(found.score >= options.min_score)
        results["events"] = collar_f1(strong, truth, options.collar_s, options.offset_share)
    if "ov-ave" in options.names:
        if pairs is None:
            notes.append("ov-ave: there are no activations beside the detections")
        else:
            results["open_vocabulary"] = open_vocabulary_scores(pairs.predicted, pairs.true, pairs.classes)
    if "calibration" in options.names:
        results["detections"] = detection_calibration(match_detections(found, truth, [CALIBRATED_AT]), 0)
        if results["detections"] is None:
            notes.append("calibration: no detection, or scores outside [0, 1]")
        if pairs is not None:
            results["snippets"] = _snippet_calibration(pairs, seen, annotations)
    return Further(options, notes=tuple(notes), **results)


def _snippet_calibration(
    pairs: SnippetPairs, seen: dict[str, ActivationSequence], annotations: Sequence[VideoAnnotation]
) -> Calibration:
    """Of videos with activations: others predict nothing and have no confidence."""
    rows = [
        (seen[a.video_id].probs.max(axis=1), p == t)
        for a, p, t in zip(annotations, pairs.predicted, pairs.true, strict=True)
        if a.video_id in seen
    ]
    confidence = np.concatenate([c for c, _ in rows]).astype(np.float64)
    return calibration(confidence, np.concatenate([right for _, right in rows]))
