"""Properties of a video file: `probe`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float

from avloc.errors import MediaError
from avloc.media.clock import stamp
from avloc.media.container import (
    choose_streams,
    first_frame,
    is_cover,
    is_special,
    nominal_rate,
    open_container,
    packets,
    rate_is_assumed,
)
from avloc.media.extent import measure
from avloc.media.frames import rotation_ccw_deg
from avloc.mediafile import BY_FLAGS, Media, StreamChoice
from avloc.system.text import nfc

LONG_S = 3600
MIN_BYTES_PER_S = 20
"""Minimum for videos longer than an hour; a repeated frame takes about as much, including its index entry. Files with
less have damaged time stamps, and would take days to fill with copies of one frame."""

_UNUSUAL_RATE = 200
"""fps above which the stated rate is checked: it may be that of the time stamps' unit."""

_USUAL_RATE = Fraction(25)  # of the last frame of a variable frame rate

MAX_DURATION_S = 30 * 86_400
MAX_ASPECT = Fraction(50)


def probe(path: str | Path, video_id: str | None = None, streams: StreamChoice = BY_FLAGS) -> Media:
    """Read the properties of a video file: its header, one decoded frame, and its last packets.

    Args:
        path: a file that ffmpeg decodes, in one of `container.CONTAINERS`.
        video_id: name of the video in every table; by default the file name without extension.
        streams: the streams to use; by default as `choose_streams` finds by the file's flags.
    Returns:
        Media. duration_s is from time 0 to the end of the last frame or audio sample, see `extent`; width and height
        are as shown: rotated, and stretched in width if pixels are not square.
    Raises:
        MediaError: missing, empty, a folder, not a video, no video stream, no such stream, no index, no frame that can
            be decoded, or an implausible duration or size.
    """
    path = Path(path)
    with open_container(path) as container:
        video, sounds = choose_streams(container, path, streams)
        audio = sounds[0] if sounds else None
        frame = first_frame(container, video)
        if frame is None:
            raise MediaError(f"{path}: expected a video, no frame of it can be decoded ({_codec(video)})")
        rate = nominal_rate(video)
        if rate > _UNUSUAL_RATE:
            rate = min(rate, _packet_rate(path, streams) or rate)
        varies = _varies(video, rate)
        extent = measure(
            container,
            path,
            video,
            sounds,
            stamp(frame),
            1 / (min(Fraction(video.base_rate or 1), _USUAL_RATE) if varies else rate),
        )
        _check_duration(path, extent.duration_s)
        turn = -rotation_ccw_deg(frame) % 360
        width, height = _shown_size(video, frame, turn)
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise MediaError(f"{path}: expected frames of a plausible size, its header says {width} x {height} pixels")
        return Media(
            path=path,
            video_id=nfc(path.stem) if video_id is None else video_id,
            duration_s=float(extent.duration_s),
            frame_rate=rate,
            has_audio=audio is not None,
            width=width,
            height=height,
            rotation_deg=turn,
            audio_rate_hz=audio.codec_context.sample_rate if audio is not None else 0,
            audio_channels=audio.codec_context.channels if audio is not None else 0,
            codec=_codec(video) + (f"+{_codec(audio)}" if audio is not None else ""),
            clock=extent.clock,
            rate_varies=varies,
            rate_assumed=rate_is_assumed(container, path, streams),
            note="; ".join(filter(None, (extent.note, _doubt(container, sounds, streams)))),
            streams=_used(container, video, sounds),
            requested=streams,
            video_streams=sum(not is_cover(stream) for stream in container.streams.video),
            audio_streams=len(container.streams.audio),
        )


def _packet_rate(path: Path, streams: StreamChoice) -> Fraction | None:
    """fps by the stamps of the first packets; None without stamps."""
    with open_container(path) as container:
        video, _ = choose_streams(container, path, streams)
        stamps = sorted(
            {at for packet in islice(packets(container, [video]), 100) if (at := stamp(packet)) is not None}
        )
    return (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else None


def _varies(video: av.VideoStream, rate: Fraction) -> bool:
    """Whether ffmpeg's base rate, a multiple of all frames' rates, is not that of frames or fields."""
    base = video.base_rate
    if not base or video.start_time is None:
        return False
    return not any(abs(base / (n * rate) - 1) < 0.01 for n in (1, 2))


def _used(
    container: av.container.InputContainer, video: av.VideoStream, sounds: Sequence[av.AudioStream]
) -> StreamChoice:
    """The numbers of the chosen streams."""
    numbers = [k for k, stream in enumerate(container.streams.audio, start=1) if stream in sounds]
    return StreamChoice(
        container.streams.video.index(video) + 1, "mix" if len(numbers) > 1 else numbers[0] if numbers else None
    )


def _doubt(container: av.container.InputContainer, sounds: Sequence[av.AudioStream], requested: StreamChoice) -> str:
    """A line if the file's flags chose a commentary although there is other audio."""
    others = [k for k, stream in enumerate(container.streams.audio, start=1) if not is_special(stream)]
    if requested.audio is not None or not others or not any(map(is_special, sounds)):
        return ""
    return (
        "its default audio is flagged as a commentary or for the impaired; for other audio, "
        f"use --audio-stream {others[0]}"
    )


def _check_duration(path: Path, duration_s: Fraction) -> None:
    size = path.stat().st_size
    if duration_s > LONG_S and (duration_s > MAX_DURATION_S or size < MIN_BYTES_PER_S * duration_s):
        raise MediaError(
            f"{path}: expected a duration that fits the file, got {float(duration_s):.0f} s in {size} bytes: its time "
            "stamps are damaged; repair them with `ffmpeg -i IN -c copy OUT`"
        )


def _codec(stream: av.VideoStream | av.AudioStream) -> str:
    return stream.codec_context.codec.canonical_name


def _shown_size(video: av.VideoStream, frame: av.VideoFrame, turn_deg: int) -> tuple[int, int]:
    """(width, height) in pixels as a player shows them."""
    aspect = video.sample_aspect_ratio
    aspect = aspect if aspect and 1 / MAX_ASPECT <= aspect <= MAX_ASPECT else None  # as players do
    width = round(frame.width * aspect) if aspect else frame.width
    return (frame.height, width) if turn_deg in (90, 270) else (width, frame.height)


def plausible_rate(stated: Fraction, times_s: Float[np.ndarray, " n"]) -> Fraction:
    """The stated fps, unless it differs by more than half from that of the frame times."""
    if len(times_s) < 2 or times_s[-1] <= 0:
        return stated
    measured = Fraction((len(times_s) - 1) / float(times_s[-1])).limit_denominator(1001)
    return stated if measured <= 0 or Fraction(2, 3) < stated / measured < Fraction(3, 2) else measured
