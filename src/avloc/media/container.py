"""Open a media file, choose its streams, read and decode packets beyond damage, and seek.

Errors of ffmpeg become a MediaError that names the file, or are passed to a callback that counts them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TypeVar

import av
import av.container
import av.error
import av.stream

from avloc.errors import MediaError
from avloc.media.clock import Shifts, StartsAnew, stamp
from avloc.media.complete import check_edits
from avloc.media.pyav import is_refused, late_streams, open_input, tag
from avloc.mediafile import BY_FLAGS, FileClock, Media, Step, StreamChoice

MAX_READ_ERRORS = 20
"""Consecutive read errors after which reading stops."""

MAX_RATE = Fraction(10_000)

MAX_PIXELS = 8192 * 4352
"""Largest frame, slightly above 8K. Headers that state more are damaged or meant to exhaust memory."""

CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "flv", "live_flv", "asf", "asf_o", "ogg"),
    *("mpegts", "mpeg", "mpegvideo", "mxf", "gxf", "rm", "dv", "wtv", "nut", "nsv", "gif", "ivf", "yuv4mpegpipe"),
    *("h261", "h263", "h264", "hevc", "vvc", "m4v", "vc1", "av1", "obu", "dirac", "mjpeg", "mpjpeg"),
    # audio files: read in order to report that they have no video stream
    *("wav", "w64", "mp3", "flac", "aac", "ac3", "eac3", "aiff", "caf", "amr"),
)
"""Allowed formats: those of videos, out of ffmpeg's 371. Excluded are playlists, scripts, devices, text and images,
which can make ffmpeg open other files."""

_LIMITS = {"max_pixels": str(MAX_PIXELS)}
_ONE_PROGRAM = {"merge_pmt_versions": "1"}
"""MPEG-TS: a recording with other PIDs, joined to the first, continues its streams instead of beginning others."""

_SAFE = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS), **_LIMITS, **_ONE_PROGRAM}


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file for reading; the caller closes it. MediaError if it is not a media file."""
    if path.is_dir():
        raise MediaError(f"{path}: expected a video file, got a folder; give the files in it")
    if not path.exists():
        raise MediaError(f"{path}: expected a video file, no such file; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: expected a video file, it is empty (0 bytes); copy or download it again")
    try:
        check_edits(path)
        return open_input(path, _SAFE)
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise MediaError(f"{path}: {_why_unreadable(path, error)}") from error


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no read permission; check its permissions"
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(8)[4:] in (b"ftyp", b"mdat", b"wide", b"free"):
            return "expected a complete mp4/mov, its index (moov atom) is missing; record or download it again"
    if is_refused(error):
        return "expected a video, got text, an image, a playlist or an unsupported container; convert it to mp4"
    reason = getattr(error, "strerror", None) or str(error)
    return f"expected a video, ffmpeg cannot read this ({reason}); check that it plays, or convert it to mp4"


def choose_streams(
    container: av.container.InputContainer, path: Path, choice: StreamChoice = BY_FLAGS
) -> tuple[av.VideoStream, tuple[av.AudioStream, ...]]:
    """The video stream and the audio streams (several: their mean is meant) that are used.

    By flags: the first one flagged `default`, else the first. Commentaries and tracks for the visually or hearing
    impaired come after the others, unless they alone are flagged `default`. Streams without a decoder are passed over,
    and so are covers: flagged ones, and streams of one picture beside another video stream or beside audio.

    Raises:
        MediaError: no video stream that can be decoded, or a requested stream that is not there.
    """
    video = _choose_video(container, path, choice.video)
    video.codec_context.options = _LIMITS
    decodable = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if choice.audio == "mix":
        return video, tuple(decodable)
    if choice.audio is not None:
        return video, (_numbered(container.streams.audio, choice.audio, "audio", path),)
    return video, tuple(sorted(decodable, key=_precedence)[:1])


def is_cover(stream: av.stream.Stream) -> bool:
    """Whether a video stream is flagged as a cover image or as thumbnails."""
    flags = av.stream.Disposition
    return bool(stream.disposition & (flags.attached_pic | flags.timed_thumbnails | flags.still_image))


def _precedence(stream: av.stream.Stream) -> tuple[bool, bool]:
    """Sorting key: flagged default first (as ffmpeg does), then those meant for everybody."""
    return not stream.disposition & av.stream.Disposition.default, is_special(stream)


def is_special(stream: av.stream.Stream) -> bool:
    """Whether a stream is flagged as a commentary, or as made for the visually or hearing impaired."""
    flags = av.stream.Disposition
    special = flags.comment | flags.hearing_impaired | flags.visual_impaired | flags.descriptions | flags.dependent
    return bool(stream.disposition & special)


def _choose_video(container: av.container.InputContainer, path: Path, number: int | None) -> av.VideoStream:
    if number is not None:
        return _numbered(container.streams.video, number, "video", path)
    videos = [stream for stream in container.streams.video if not is_cover(stream)]
    decodable = sorted((stream for stream in videos if stream.codec_context is not None), key=_precedence)
    beside_audio = len(container.streams.audio) > 0
    # a lone stream of one picture is a cover only where it could be one: a video of one frame is a video
    doubtful = len(decodable) > 1 or (beside_audio and any(map(_is_image, decodable)))
    for stream in decodable:
        if not (doubtful and _is_one_picture(stream, path)):
            return stream
    for stream in decodable:
        if not (beside_audio and _is_image(stream)):
            return stream
    if len(videos) > len(decodable):
        raise MediaError(f"{path}: expected a video that ffmpeg decodes, its video codec is unknown; convert it to mp4")
    found = ["a cover image"] if len(container.streams.video) else []
    found += [", ".join(sorted({_codec_name(stream) for stream in container.streams.audio}))] if beside_audio else []
    raise MediaError(f"{path}: expected a video, it has no video stream (only {' and '.join(found) or 'no streams'})")


def _is_image(stream: av.VideoStream) -> bool:
    return _codec_name(stream) in ("mjpeg", "png", "bmp", "gif", "webp", "tiff")


def _is_one_picture(stream: av.VideoStream, path: Path) -> bool:
    """Whether a stream has no second picture; reads the file up to it, to the end if there is none."""
    if stream.frames > 1:
        return False
    with open_container(path) as container:
        return len(list(islice(packets(container, [container.streams[stream.index]]), 2))) < 2


_S = TypeVar("_S", av.VideoStream, av.AudioStream)


def _numbered(streams: Sequence[_S], number: int, kind: str, path: Path) -> _S:
    """Stream `number`, from 1, of the streams of one kind."""
    if 1 <= number <= len(streams):
        stream = streams[number - 1]
        if stream.codec_context is not None and not is_cover(stream):
            return stream
    known = ", ".join(f"{k} ({_describe(stream)})" for k, stream in enumerate(streams, start=1))
    raise MediaError(
        f"{path}: expected {kind} stream {number} that can be decoded, its {kind} streams are: {known or 'none'}; "
        f"choose with --{kind}-stream"
    )


def _describe(stream: av.stream.Stream) -> str:
    """Codec, language, title and flags of a stream."""
    flags = [name for name in ("default", "comment", "hearing_impaired", "visual_impaired") if _has(stream, name)]
    title = (tag(stream.metadata, "title") or tag(stream.metadata, "name"))[:40]  # mp4 says name
    facts = [_codec_name(stream), tag(stream.metadata, "language").replace("und", ""), title and repr(title)]
    return ", ".join(fact for fact in (*facts, *flags, "cover image" if is_cover(stream) else "") if fact)


def _has(stream: av.stream.Stream, flag: str) -> bool:
    return bool(stream.disposition & av.stream.Disposition[flag])


def _codec_name(stream: av.stream.Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown codec"


def nominal_rate(stream: av.VideoStream) -> Fraction:
    """Average fps stated by the file, at most `MAX_RATE`; 25 if none is stated."""
    # average_rate of a bare stream without time stamps is a default of 25; guessed_rate uses its headers
    bare = stream.start_time is None and stream.duration is None
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    for rate in [rates[1], *rates] if bare else rates:
        if rate and rate > 0:
            return min(Fraction(rate), MAX_RATE)
    return Fraction(25)


RAW = frozenset(
    {
        *("avs2", "avs3", "cavsvideo", "dirac", "evc", "h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mjpeg_2000"),
        *("mpegvideo", "obu", "rawvideo", "vc1", "vvc"),
    }
)
"""ffmpeg's demuxers of raw video (libavformat/rawdec.c): no time stamps, frames are counted at an assumed rate."""


def rate_is_assumed(container: av.container.InputContainer, path: Path, choice: StreamChoice = BY_FLAGS) -> bool:
    """Whether the frame rate is only ffmpeg's default for bare streams, which state neither a rate nor time stamps."""
    if container.format.name not in RAW:
        return False
    # the default is an option of the demuxer: a rate that follows it is not the file's
    options = {"framerate": str(_OTHER_RATE), **_SAFE}
    with open_input(path, options) as again:
        return bool(nominal_rate(choose_streams(again, path, choice)[0]) == _OTHER_RATE)


_OTHER_RATE = 17


def _ignore(error: Exception) -> None:
    pass


def packets(
    container: av.container.InputContainer,
    streams: Sequence[av.stream.Stream],
    on_error: Callable[[Exception], None] = _ignore,
    steps: Sequence[Step] = (),
) -> Iterator[av.Packet]:
    """Packets of `streams` in file order, with `steps` applied to their time stamps (from the start of the file only).

    Read errors are passed to `on_error`, and reading continues if possible.
    """
    shifts, anew = Shifts(steps), StartsAnew()
    chosen = {stream.index for stream in streams}
    for stream in container.streams:
        if hasattr(stream, "discard"):  # missing in PyAV 14; it only saves reading
            keep = stream.index in chosen
            stream.discard = av.stream.Discard.default if keep else av.stream.Discard.all
    failures = 0
    while failures < MAX_READ_ERRORS:
        try:
            for packet in container.demux(*streams):
                if packet.size:  # empty packets request a flush, which decoded(None) does at the end
                    failures = 0
                    shown = anew.shown(packet)
                    shifts.apply(shown)
                    yield shown
            break
        except (EOFError, IndexError):  # the latter from PyAV before 19, where a stream began late
            break
        except (av.error.FFmpegError, MemoryError) as error:
            failures += 1
            on_error(error)
    if late_streams(container) > 0:
        on_error(MediaError("streams that begin in mid-file are left out; if recordings were joined, split them"))


def decoded(
    stream: av.VideoStream | av.AudioStream, packet: av.Packet | None, on_error: Callable[[Exception], None] = _ignore
) -> list[av.VideoFrame] | list[av.AudioFrame]:
    """Frames completed by `packet`; for None, the frames left in the decoder. Errors are passed to `on_error`."""
    try:
        frames = stream.codec_context.decode(packet)
        for frame in frames:
            if not frame.time_base:  # PyAV does not set it for frames after the last packet
                frame.time_base = stream.time_base
        return frames
    except EOFError:
        return []
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        on_error(error)
        return []


def first_frame(
    container: av.container.InputContainer, stream: av.VideoStream, key_s: Fraction | None = None
) -> av.VideoFrame | None:
    """The first frame that can be decoded from the current position, or from the key frame stamped `key_s`, or None."""
    for packet in packets(container, [stream]):
        if key_s is not None:
            if not packet.is_keyframe or stamp(packet) != key_s:
                continue
            key_s = None
        for frame in decoded(stream, packet):
            if isinstance(frame, av.VideoFrame):
                return frame
    return next((frame for frame in decoded(stream, None) if isinstance(frame, av.VideoFrame)), None)


def seek(container: av.container.InputContainer, stream: av.VideoStream, time_s: Fraction) -> bool:
    """Go to a time on the file's clock, or to the key frame before it; False where the file cannot seek."""
    try:
        container.seek(int(time_s / Fraction(stream.time_base or 1)), stream=stream, backward=True)
    except (av.error.FFmpegError, OSError, OverflowError):
        return False
    return True


_BACK_S = (0, 1, 4, 16, 64)


def seek_key_frame(container: av.container.InputContainer, stream: av.VideoStream, time_s: Fraction) -> Fraction | None:
    """Go to a key frame at or before a time on the file's clock, or somewhat further back.

    In a transport stream a seek ends anywhere between key frames, so the packets from there to the time are looked at,
    and if they hold no key frame, the seek is repeated further back.

    Returns:
        Time stamp of the last such key frame; None if none was found, the position is then undefined.
    """
    for back_s in _BACK_S:
        if not seek(container, stream, time_s - back_s):
            return None
        key_s = _last_key_frame(packets(container, [stream]), time_s)
        if key_s is not None:
            return key_s if seek(container, stream, time_s - back_s) else None
    return None


def _last_key_frame(read: Iterable[av.Packet], time_s: Fraction) -> Fraction | None:
    found = None
    for packet in read:
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is not None and packet.time_base and ticks * Fraction(packet.time_base) > time_s:
            break
        at_s = stamp(packet)
        if packet.is_keyframe and at_s is not None and at_s <= time_s:
            found = at_s
    return found


def can_seek(clock: FileClock) -> bool:
    """Whether time stamps are unique and undamaged, so that a seek finds the right one."""
    return not clock.steps


@contextlib.contextmanager
def opened_before(
    media: Media, time_s: Fraction
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream, tuple[av.AudioStream, ...], bool]]:
    """Open a video such that decoding starts at a key frame at or before a time, or at the start of the file.

    Returns:
        The container, its streams, and whether it is at the start of the file.
    """
    with open_container(media.path) as container:
        video, sounds = choose_streams(container, media.path, media.streams)
        file_s = time_s + media.clock.origin_s
        if time_s > 1 and can_seek(media.clock) and seek_key_frame(container, video, file_s) is not None:
            yield container, video, sounds, False
            return
    with open_container(media.path) as container:  # a failed seek may have read on
        yield container, *choose_streams(container, media.path, media.streams), True
