"""What the page is made of: a video with its truth, its runs, its previews. `reporting` fills it, `page` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from avloc.types import ActivationSequence, Detection, Instance

__all__ = ["ListEntry", "PageInfo", "RunView", "Sprite", "VideoView"]


@dataclass(frozen=True)
class Sprite:
    """Thumbnails in one picture, row by row.

    Args:
        jpeg: the picture.
        count, columns: how many there are, and how many in a row.
        width, height: of one, in pixels.
        step_s: seconds between two; thumbnail k shows the video at (k + 1/2) step_s.
    """

    jpeg: bytes
    count: int
    columns: int
    width: int
    height: int
    step_s: float


@dataclass(frozen=True)
class RunView:
    """What one run says about a video.

    Args:
        activations: None where only detections are known.
        audio_only, visual_only: activations of the same video from one modality.
    """

    name: str
    detections: tuple[Detection, ...]
    activations: ActivationSequence | None = None
    audio_only: ActivationSequence | None = None
    visual_only: ActivationSequence | None = None


@dataclass(frozen=True)
class VideoView:
    """One video of the page.

    Args:
        media_url: where the page finds the file, relative and escaped; empty when there is none.
        truth: None when there is no ground truth for it.
        corrections: what a person saved of it earlier; None when nobody did.
        waveform: (n,) loudest sample of each of n equal stretches, 255 is full scale; None without sound.
        note: what a person should know about the file ("no video file", "proxy of dog.avi").
    """

    video_id: str
    duration_s: float
    media_url: str
    truth: tuple[Instance, ...] | None
    runs: tuple[RunView, ...]
    corrections: tuple[Instance, ...] | None = None
    subset: str = ""
    waveform: UInt8[np.ndarray, " n"] | None = None
    sprite: Sprite | None = None
    note: str = ""


@dataclass(frozen=True)
class ListEntry:
    """A row of the page's list, and where the rest of the video's data lies.

    Args:
        file: stem of the data file.
        labels: of detections that count as found (`PageInfo.likely_from`), and true ones.
        count: detections that count as found.
        score: of the best detection; None without any.
        errors: missed instances + false detections at t-IoU 0.5, of those that count; None without ground truth.
        mean_t_iou: mean over true instances of the best t-IoU with a detection of their class; None likewise.
        picture: whether there are thumbnails.
    """

    file: str
    video_id: str
    duration_s: float
    labels: tuple[str, ...]
    count: int
    score: float | None
    errors: int | None
    mean_t_iou: float | None
    picture: bool = False


@dataclass(frozen=True)
class PageInfo:
    """What holds for the whole page.

    Args:
        title: headline.
        runs: their names; the first is the one that is examined, others are compared with it.
        likely_from: score from which a detection of the first run counts as found; the page shows these at first.
        mean_ap: per run {t-IoU: mAP} of all detections, where there is ground truth.
        options: per run the `localize` settings its detections were made with, for re-thresholding.
        notes: lines for the foot of the page.
    """

    title: str
    runs: tuple[str, ...]
    classes: tuple[str, ...]
    likely_from: float = 0.0
    mean_ap: tuple[Mapping[str, float], ...] = ()
    options: tuple[Mapping[str, object], ...] = ()
    notes: tuple[str, ...] = field(default=())
