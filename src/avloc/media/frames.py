"""Frames of a video file: when they are presented, and their pixels as shown."""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8

from avloc.errors import MediaError
from avloc.media.clock import stamp
from avloc.media.container import RAW, choose_streams, open_container, packets
from avloc.mediafile import Media


def frame_times(media: Media) -> Float[np.ndarray, " n"]:
    """Presentation times of all frames in seconds, ascending; reads the file's packets without decoding.

    The first is 0 unless the video starts later than the audio. Files without time stamps (bare streams) get a clock
    of their average rate.
    """
    stamps = []
    count = 0
    with open_container(media.path) as container:
        stream, _ = choose_streams(container, media.path, media.streams)
        for packet in packets(container, [stream], steps=media.clock.steps):
            if packet.is_discard or packet.stream_index != stream.index:
                continue
            count += 1
            time_s = stamp(packet)
            if time_s is not None:
                stamps.append(time_s)
    if len(stamps) < count or len(set(stamps)) < len(stamps) or not stamps:
        return np.arange(max(count, 1)) / float(media.frame_rate)
    return np.array([float(t - media.clock.origin_s) for t in sorted(stamps)])


def is_raw_stream(path: Path) -> bool:
    """Whether a file is a raw stream, whose frames have no times."""
    with open_container(path) as container:
        return container.format.name in RAW


def rotation_ccw_deg(frame: av.VideoFrame) -> int:
    """Counter-clockwise rotation of the display matrix, to the nearest quarter turn; mirroring is ignored."""
    return round(frame.rotation / 90) * 90 % 360


def upright_rgb(
    path: Path,
    frame: av.VideoFrame,
    size: tuple[int, int],
    pixel_format: str = "rgb24",
    reformatter: VideoReformatter | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of a frame as shown: scaled, and rotated as the file asks.

    Args:
        path: the frame's file, for the message.
        size: (h, w) as shown.
        pixel_format: for ffmpeg's conversion: "rgb24" or planar "gbrp". The two round differently.
        reformatter: reused between frames, it saves the setup of ffmpeg's scaler.

    Raises:
        MediaError: ffmpeg cannot convert frames of this pixel format.
    """
    turn_deg = rotation_ccw_deg(frame)
    height, width = size if turn_deg % 180 == 0 else size[::-1]
    try:
        # BILINEAR averages over the source pixels when downscaling; AREA is slower and looks the same
        scaled = (reformatter or VideoReformatter()).reformat(
            frame, width, height, pixel_format, interpolation="BILINEAR"
        )
        pixels = scaled.to_ndarray()
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        raise MediaError(
            f"{path}: its frames ({frame.width} x {frame.height} {frame.format.name}) cannot be converted ({error}); "
            "convert it to mp4"
        ) from error
    return np.ascontiguousarray(np.rot90(pixels, turn_deg // 90))
