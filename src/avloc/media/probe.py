"""Properties of a video file: `probe`.

Duration: many headers are wrong or state none (an mp4 whose duration is that of the audio, a streamed webm, a cut
recording). So probe seeks close to the end, reads (without decoding) the last packets, and takes the end of the last
frame. The header's duration is used only if the file ends before it (a truncated file: the decoder then finds out how
much is there), or if the end cannot be read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error

from avloc.errors import MediaError
from avloc.media.clock import stamp
from avloc.media.container import choose_streams, first_frame, nominal_rate, open_container, packets, seek
from avloc.media.frames import rotation_ccw_deg
from avloc.types import Media

LONG_S = 3600
MIN_BYTES_PER_S = 20
"""Minimum for videos longer than an hour; a repeated frame takes about as much, including its index entry. Files with
less have damaged time stamps, and would take days to fill with copies of one frame."""

MAX_DURATION_S = 30 * 86_400
MAX_ASPECT = Fraction(50)

_STATES_DURATION = ("mov", "matroska", "avi", "flv", "asf")
"""Formats whose header states a duration; for others ffmpeg estimates it from the bit rate."""


def probe(path: str | Path, video_id: str | None = None) -> Media:
    """Read the properties of a video file: its header, one decoded frame, and its last packets.

    Args:
        path: a file that ffmpeg decodes, in one of `container.CONTAINERS`.
        video_id: name of the video in every table; by default the file name without extension.
    Returns:
        Media. duration_s is from the first frame to the end of the last one; width and height are as shown: rotated,
        and stretched in width if pixels are not square.
    Raises:
        MediaError: missing, empty, a folder, not a video, no video stream, no index, no decodable frame, or an
            implausible duration or size.
    """
    path = Path(path)
    with open_container(path) as container:
        video, audio = choose_streams(container, path)
        frame = first_frame(container, video)
        if frame is None:
            raise MediaError(f"{path}: expected a video, no frame of it can be decoded ({_codec(video)})")
        rate = nominal_rate(video)
        duration = _duration_s(container, video, path, stamp(frame) or Fraction(0), rate)
        _check_duration(path, duration)
        turn = -rotation_ccw_deg(frame) % 360
        width, height = _shown_size(video, frame, turn)
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise MediaError(f"{path}: expected frames of a plausible size, its header says {width} x {height} pixels")
        return Media(
            path=path,
            video_id=path.stem if video_id is None else video_id,
            duration_s=float(duration),
            frame_rate=rate,
            has_audio=audio is not None,
            width=width,
            height=height,
            rotation_deg=turn,
            audio_rate_hz=audio.codec_context.sample_rate if audio is not None else 0,
            audio_channels=audio.codec_context.channels if audio is not None else 0,
            codec=_codec(video) + (f"+{_codec(audio)}" if audio is not None else ""),
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


@dataclass
class _Ends:
    """End times of the streams on the file's clock, from the packets read so far."""

    video_s: Fraction | None = None
    any_s: Fraction | None = None
    video_packets_s: Fraction = Fraction(0)  # summed durations, for streams without time stamps

    def add(self, packet: av.Packet, is_video: bool, frame_s: Fraction) -> None:
        if packet.is_discard:  # hidden by an edit list: decoded, never shown
            return
        length = packet.duration * Fraction(packet.time_base) if packet.duration and packet.time_base else Fraction(0)
        if is_video:
            length = length or frame_s
            self.video_packets_s += length
        start = stamp(packet)
        if start is None:
            return
        self.any_s = max(self.any_s or start, start + length)
        if is_video:
            self.video_s = max(self.video_s or start, start + length)


def _duration_s(
    container: av.container.InputContainer, video: av.VideoStream, path: Path, first_s: Fraction, rate: Fraction
) -> Fraction:
    """Duration of the video stream; see the top of this file."""
    stream_s = video.duration * Fraction(video.time_base) if video.duration and video.time_base else None
    header_end_s = None
    if container.duration:
        header_end_s = Fraction(container.duration + (container.start_time or 0), av.time_base)
    stated_s = stream_s or (header_end_s - first_s if header_end_s is not None else None)

    ends = _Ends()
    if stated_s:
        # well before the end: in a transport stream a seek does not land on a key frame, and the frame shown last may
        # come before others in the file
        near_end_s = max(Fraction(0), stated_s - max(Fraction(2), 20 / rate))
        ends = _read_ends(container, video, 1 / rate, seek_s=first_s + near_end_s)
    if ends.video_s is None:  # no duration stated, no seeking, only audio at the end, or a truncated file
        with open_container(path) as again:
            ends = _read_ends(again, choose_streams(again, path)[0], 1 / rate, seek_s=None)
    if ends.video_s is None:  # no time stamps at all
        return max(ends.video_packets_s, 1 / rate)

    length_s = max(ends.video_s - first_s, 1 / rate)
    if header_end_s is not None and stated_s and ends.any_s is not None and _trusted(container):
        slack_s = max(Fraction(1), (header_end_s - first_s) / 20)
        if ends.any_s < header_end_s - slack_s:
            return max(length_s, stated_s)
    return length_s


def _trusted(container: av.container.InputContainer) -> bool:
    return container.format.name.startswith(_STATES_DURATION)


def _read_ends(
    container: av.container.InputContainer, video: av.VideoStream, frame_s: Fraction, seek_s: Fraction | None
) -> _Ends:
    """Read packets from about `seek_s` on the file's clock (None: the start) to the end of the file."""
    ends = _Ends()
    if seek_s is not None and not seek(container, video, seek_s):
        return ends
    streams = [*container.streams.video, *container.streams.audio]
    with contextlib.suppress(av.error.FFmpegError):
        for packet in packets(container, streams):
            ends.add(packet, packet.stream_index == video.index, frame_s)
    return ends
