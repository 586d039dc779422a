"""The data of a page: videos with ground truth, predictions and previews. `build` fills them, `write` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from avloc.formats.corrections import VideoCorrections
from avloc.types import ActivationSequence, Detection, Instance, Segment


@dataclass(frozen=True)
class Sprite:
    """Thumbnails in one image, row by row.

    Args:
        jpeg: the image.
        count, columns: number of thumbnails, in total and per row.
        width, height: size of a thumbnail in pixels.
        step_s: interval between thumbnails; thumbnail k is the frame at (k + 1/2) step_s.
    """

    jpeg: bytes
    count: int
    columns: int
    width: int
    height: int
    step_s: float


@dataclass(frozen=True)
class RunView:
    """Predictions of one run for a video.

    Args:
        activations: None if only detections are known.
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
        media_url: relative, escaped URL of the video file; empty if there is none.
        truth: None if the video has no ground truth.
        corrections: corrections saved earlier; None if there are none.
        subset: of the ground truth, else of labels.csv; "" if unknown.
        look_at: times at which the model is uncertain, of a video suggested for correction.
        frame_s: duration of a frame; None if unknown.
        waveform: (n,) peak amplitude in each of n equal intervals, 255 is full scale; None without audio.
        note: remark on the video file ("no video file", "proxy of dog.avi").
    """

    video_id: str
    duration_s: float
    media_url: str
    truth: tuple[Instance, ...] | None
    runs: tuple[RunView, ...]
    corrections: VideoCorrections | None = None
    subset: str = ""
    look_at: tuple[Segment, ...] = ()
    frame_s: float | None = None
    waveform: UInt8[np.ndarray, " n"] | None = None
    sprite: Sprite | None = None
    note: str = ""


@dataclass(frozen=True)
class ListEntry:
    """A row of the list of videos. Only detections with a score of at least `PageInfo.likely_from` are counted.

    Args:
        file: stem of the video's data file.
        labels: classes of the counted detections and of the ground truth.
        given: labels of the video in labels.csv; None if it is not in there.
        count: number of counted detections.
        score: highest score of all detections; None if there are none.
        errors: missed instances + false detections at t-IoU 0.5; None without ground truth.
        mean_t_iou: mean over instances of the best t-IoU with a detection of the same class; None without instances.
        picture: whether there are thumbnails.
        checked: whether saved corrections say that the video is complete.
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
    given: tuple[str, ...] | None = None
    checked: bool = False


@dataclass(frozen=True)
class PageInfo:
    """The data shared by all videos of a page.

    Args:
        title: headline.
        runs: names of the runs; the first is inspected, the others are compared with it.
        likely_from: score from which a detection of the first run is shown initially.
        mean_ap: {t-IoU: mAP} of all detections of each run; empty without ground truth.
        options: `localize` settings of each run, for changing the threshold.
        notes: lines at the bottom of the page.
        suggested: videos whose correction should teach most, in this order.
    """

    title: str
    runs: tuple[str, ...]
    classes: tuple[str, ...]
    likely_from: float = 0.0
    mean_ap: tuple[Mapping[str, float], ...] = ()
    options: tuple[Mapping[str, object], ...] = ()
    notes: tuple[str, ...] = field(default=())
    suggested: tuple[str, ...] = ()
