"""Open a file, choose its streams, read its packets past damage.

Whatever ffmpeg finds wrong becomes one MediaError that names the file; no other module sees an error of the decoder
unless it has to count it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import av.stream

from avloc.errors import MediaError
from avloc.media.clock import stamp

__all__ = [
    "choose_streams",
    "decoded",
    "decoded_frames",
    "first_frame",
    "nominal_rate",
    "open_container",
    "packets",
    "seek",
]

MAX_READ_ERRORS = 20
"""The reader gives up after so many errors with no packet between them."""

MAX_RATE = Fraction(10_000)

MAX_PIXELS = 8192 * 4352
"""Of a picture: 8K and a little. Headers that claim more are damaged or meant to fill the memory."""

CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "flv", "live_flv", "asf", "asf_o", "ogg"),
    *("mpegts", "mpeg", "mpegvideo", "mxf", "gxf", "rm", "dv", "wtv", "nut", "nsv", "gif", "ivf", "yuv4mpegpipe"),
    *("h261", "h263", "h264", "hevc", "vvc", "m4v", "vc1", "av1", "obu", "dirac", "mjpeg", "mpjpeg"),
    *(
        "wav",
        "w64",
        "mp3",
        "flac",
        "aac",
        "ac3",
        "eac3",
        "aiff",
        "caf",
        "amr",
    ),  # sound: to say that there is no picture
)
"""Of ffmpeg's 371 readers, those of videos: no playlist, script, device, text or still picture gets to a reader. Such
can make ffmpeg open other files."""


_LIMITS = {"max_pixels": str(MAX_PIXELS)}
_SAFE = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS), **_LIMITS}


def open_container(path: Path) -> av.container.InputContainer:
    """Open for reading; the caller closes it. MediaError for whatever is not a media file."""
    if path.is_dir():
        raise MediaError(f"{path}: expected a video file, this is a folder; give the files in it")
    if not path.exists():
        raise MediaError(f"{path}: expected a video file, there is none; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: expected a video file, this one is empty (0 bytes); copy or download it again")
    try:
        # "file:" keeps a colon in a name from being read as a protocol; old tags are often not UTF-8
        return av.open(f"file:{path}", options=_SAFE, metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise MediaError(f"{path}: {_why_unreadable(path, error)}") from error


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions"
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(8)[4:] in (b"ftyp", b"mdat", b"wide", b"free"):
            return (
                "expected a complete mp4/mov, its index (the moov atom) is missing: an interrupted recording or"
                " download; get it again"
            )
    if isinstance(error, av.error.ArgumentError | av.error.PatchWelcomeError):
        return "expected a video, this is a text or a still picture, a playlist or a rare container; convert it to mp4"
    reason = getattr(error, "strerror", None) or str(error)
    return f"expected a video, ffmpeg cannot read this ({reason}); check that it plays, or convert it to mp4"


def choose_streams(container: av.container.InputContainer, path: Path) -> tuple[av.VideoStream, av.AudioStream | None]:
    """The first picture stream (cover art does not count) and the first sound stream that has a decoder."""
    art = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    videos = [stream for stream in container.streams.video if not stream.disposition & art]
    sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not videos:
        kinds = ", ".join(sorted({_codec_name(stream) for stream in container.streams.audio})) or "no stream at all"
        raise MediaError(f"{path}: expected a video, there is no picture stream in it (only {kinds})")
    for video in videos:
        if video.codec_context is not None:
            video.codec_context.options = _LIMITS
            return video, sounds[0] if sounds else None
    raise MediaError(f"{path}: expected a video that ffmpeg decodes, its picture codec is unknown; convert it to mp4")


def _codec_name(stream: av.AudioStream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown sound"


def nominal_rate(stream: av.VideoStream) -> Fraction:
    """Average frames per second as the file states it, at most `MAX_RATE`; 25 when it states nothing."""
    # a bare stream without time stamps says 25 for want of knowledge; its own headers know better
    bare = stream.start_time is None and stream.duration is None
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    for rate in [rates[1], *rates] if bare else rates:
        if rate and rate > 0:
            return min(Fraction(rate), MAX_RATE)
    return Fraction(25)


def _ignore(error: Exception) -> None:
    pass


def packets(
    container: av.container.InputContainer,
    streams: Sequence[av.stream.Stream],
    on_error: Callable[[Exception], None] = _ignore,
) -> Iterator[av.Packet]:
    """Packets of `streams` in file order. Read errors are handed to `on_error`; reading goes on while it can."""
    chosen = {stream.index for stream in streams}
    for stream in container.streams:
        if hasattr(stream, "discard"):  # PyAV 14 has none; it only saves reading
            keep = stream.index in chosen
            stream.discard = av.stream.Discard.default if keep else av.stream.Discard.all
    failures = 0
    while failures < MAX_READ_ERRORS:
        try:
            for packet in container.demux(*streams):
                if packet.size:  # empty ones ask for a flush, which decoded(None) does once for all
                    failures = 0
                    yield packet
            return
        except EOFError:
            return
        except (av.error.FFmpegError, MemoryError, IndexError) as error:  # the last: a stream that begins in mid-file
            failures += 1
            on_error(error)


def decoded(
    stream: av.VideoStream | av.AudioStream, packet: av.Packet | None, on_error: Callable[[Exception], None] = _ignore
) -> list[av.VideoFrame] | list[av.AudioFrame]:
    """Frames that `packet` completes; with None, those that the decoder still holds. Errors go to `on_error`."""
    try:
        frames = stream.codec_context.decode(packet)
        for frame in frames:
            if not frame.time_base:  # PyAV leaves it out of those that come after the last packet
                frame.time_base = stream.time_base
        return frames
    except EOFError:
        return []
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        on_error(error)
        return []


def decoded_frames(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, stop_s: Fraction | None = None
) -> Iterator[Any]:
    """Frames of one stream from the current position; packets that cannot be read or decoded are skipped.

    Args:
        stop_s: time on the file's clock after which no frame is needed. Packets up to a second later are decoded,
            because frames that are shown before it may come after it in the file. None: to the end of the file.
    """
    for packet in packets(container, [stream]):
        at_s = stamp(packet)
        if stop_s is not None and at_s is not None and at_s > stop_s + 1:
            break
        yield from decoded(stream, packet)
    yield from decoded(stream, None)


def first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    """The first frame that can be decoded from where the container stands, or None."""
    return next(decoded_frames(container, stream), None)


def seek(container: av.container.InputContainer, stream: av.VideoStream, time_s: Fraction) -> bool:
    """Go to the last key frame at or before a time on the file's clock; False where the file cannot seek."""
    try:
        container.seek(int(time_s / Fraction(stream.time_base or 1)), stream=stream, backward=True)
    except (av.error.FFmpegError, OSError, OverflowError):
        return False
    return True
