"""A probed media file: its properties, the streams used, and the clock of its time stamps.

Made by `avloc.media.probe`; every reader of the file takes its streams and clock from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Step:
    """From the `packet`-th packet of a stream on, in file order, `shift_s` is added to its time stamps.

    A shift of None: the stamps are damaged and ignored.
    """

    stream: int
    packet: int
    shift_s: Fraction | None


@dataclass(frozen=True)
class FileClock:
    """How the time stamps of a file become seconds of its video, for all its streams.

    Args:
        origin_s: the shifted stamp of time 0.
        end_s: exact duration; None: the duration of the Media.
        video_end_s: end of the last frame, in seconds of the video; None: the end of the video.
        steps: where the stamps start anew (joined recordings) or are damaged, in file order; empty for most files.
        joins: number of recordings joined to the first.
    """

    origin_s: Fraction = Fraction(0)
    end_s: Fraction | None = None
    video_end_s: Fraction | None = None
    steps: tuple[Step, ...] = ()
    joins: int = 0


@dataclass(frozen=True)
class StreamChoice:
    """The streams of a media file that are used.

    Args:
        video: number among the file's video streams, from 1; None: chosen by the file's flags.
        audio: number among its audio streams, from 1; "mix": the mean of all; None: chosen by the file's flags.
    """

    video: int | None = None
    audio: int | Literal["mix"] | None = None


BY_FLAGS = StreamChoice()


@dataclass(frozen=True)
class Media:
    """A probed video file.

    Args:
        path: of the file.
        video_id: its name in every table; by default the file name without extension.
        duration_s: from time 0 to the end of the last frame or audio sample, whichever is later.
        frame_rate: average fps, exact.
        has_audio: whether there is an audio stream that can be decoded (it may be silent).
        width, height: of a displayed frame, after rotation, in pixels.
        rotation_deg: clockwise display rotation: 0, 90, 180 or 270.
        audio_rate_hz, audio_channels: of the first used audio stream; 0 without one.
        codec: names for display: "h264+aac", "hevc".
        clock: from the file's time stamps to seconds.
        rate_varies: whether the frame rate is variable.
        rate_assumed: whether frame_rate is ffmpeg's default, because the file states neither a rate nor time stamps.
        note: what is wrong in the header or doubtful about the streams, without harm; else empty.
        streams: the streams used; every reader of the file takes these.
        requested: what was asked for; `streams` says what it came to.
        video_streams, audio_streams: how many the file has to choose from (flagged covers do not count).
    """

    path: Path
    video_id: str
    duration_s: float
    frame_rate: Fraction
    has_audio: bool
    width: int = 0
    height: int = 0
    rotation_deg: int = 0
    audio_rate_hz: int = 0
    audio_channels: int = 0
    codec: str = ""
    clock: FileClock = FileClock()
    rate_varies: bool = False
    rate_assumed: bool = False
    note: str = ""
    streams: StreamChoice = BY_FLAGS
    requested: StreamChoice = BY_FLAGS
    video_streams: int = 1
    audio_streams: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ValueError(f"{self.video_id}: duration must be positive, got {self.duration_s} s")
