"""A result as HTML for notebooks: a timeline and a table of detections. Names and labels are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from avloc.system.text import pluralize
from avloc.types import ActivationSequence, Detection

_ROWS = 30
_WIDTH = 720
_TICKS = 4


def result_html(activations: ActivationSequence, every: Sequence[Detection], lowest: float = 0.0) -> str:
    """HTML of one video's detections: an SVG with one row per class, and a table of the first detections.

    Args:
        lowest: minimum score shown; weaker detections are counted.
    """
    detections = [d for d in every if d.score >= lowest]
    weaker = f" from score {lowest:g} and {len(every) - len(detections)} weaker" if len(detections) < len(every) else ""
    labels = list(dict.fromkeys(d.label for d in detections))
    bars = "".join(
        f'<rect x="{_x(d.start_s, activations):.1f}" y="{18 * labels.index(d.label) + 2}" height="14" '
        f'width="{max(1.0, _x(d.end_s - d.start_s, activations)):.1f}" fill="#1f5fa8" fill-opacity="0.55">'
        f"<title>{escape(d.label)} {d.start_s:.3f}-{d.end_s:.3f} s, score {d.score:.3f}</title></rect>"
        for d in detections
    )
    names = "".join(
        f'<text x="{_WIDTH + 8}" y="{18 * k + 13}" font-size="12" fill="currentColor">{escape(label)}</text>'
        for k, label in enumerate(labels)
    )
    height = max(18 * len(labels), 4)
    ticks = "".join(
        f'<text x="{_WIDTH * k / _TICKS:.1f}" y="{height + 13}" font-size="11" fill="currentColor" '
        f'text-anchor="{"start" if k == 0 else "middle"}">{activations.duration_s * k / _TICKS:.1f} s</text>'
        for k in range(_TICKS + 1)
    )
    used = " and ".join(activations.modalities)
    rest = f"<p>and {len(detections) - _ROWS} more</p>" if len(detections) > _ROWS else ""
    return (
        f"<div><p><b>{escape(activations.video_id)}</b>: "
        f"{pluralize(len(detections), 'detection')}{weaker} in {activations.duration_s:.1f} s, by {escape(used)}</p>"
        f'<svg width="{_WIDTH + 200}" height="{height + 18}" role="img" aria-label="detections over time">'
        f'<rect width="{_WIDTH}" height="{height}" fill="currentColor" fill-opacity="0.07"/>{bars}{names}{ticks}</svg>'
        f"<table><thead><tr><th>start_s</th><th>end_s</th><th>label</th><th>score</th></tr></thead><tbody>"
        f"{''.join(_row(d) for d in detections[:_ROWS])}</tbody></table>{rest}</div>"
    )


def _x(time_s: float, activations: ActivationSequence) -> float:
    return time_s / activations.duration_s * _WIDTH


def _row(d: Detection) -> str:
    return f"<tr><td>{d.start_s:.3f}</td><td>{d.end_s:.3f}</td><td>{escape(d.label)}</td><td>{d.score:.3f}</td></tr>"
