"""Decode once, as a stream: pictures and sound on the picture's clock.

Clock: t = 0 is the presentation time of the first frame that can be decoded; sound is placed relative to it. All times
are exact (Fractions of a second). Memory does not grow with the length of the video.

Sampling: for the wanted times k / frame_rate, k = 0, 1, ..., the frame that a player shows then, i.e. the last one with
time <= k / frame_rate. This holds for any frame rate, constant or not. Frames that nobody wants are decoded (others
depend on them) but neither resized nor converted.

Damage: packets that cannot be read or decoded are counted, and decoding goes on; the picture before stays, the sound
is filled with zeros. If the picture ends before `MIN_DECODED` of the promised duration, that is a MediaError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.stream
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8

from avloc.errors import MediaError
from avloc.media.clock import Clock, PictureStamps, stamp
from avloc.media.container import choose_streams, decoded, open_container, packets
from avloc.media.frames import first_frame_s, upright_rgb
from avloc.media.sound import Sound, SoundTrack
from avloc.system.isolate_child import heartbeat
from avloc.types import Media

__all__ = ["MIN_DECODED", "DecodeReport", "Picture", "Sound", "decode", "frames", "sound_blocks"]

MIN_DECODED = Fraction(1, 2)
"""Of the promised duration, this much must be there; below it a file counts as broken, not as damaged."""

_SLACK_S = Fraction(1, 2)  # headers and last frames may disagree by this much without being worth a word


@dataclass(frozen=True)
class Picture:
    """A frame as shown at a wanted time.

    Args:
        time_s: the wanted time k / frame_rate, exact.
        rgb: (h, w, 3), turned upright. The same array may come again for the next time: do not write into it.
    """

    time_s: Fraction
    rgb: UInt8[np.ndarray, "h w 3"]


@dataclass
class DecodeReport:
    """What a decoding pass met; filled while it runs, complete when it is exhausted.

    Args:
        promised_s: duration that probe found.
        video_end_s: end of the last frame (of the last packet, if no pictures were asked for).
        audio_samples: decoded samples at the stream's own rate.
        damaged: packets that could not be read or decoded.
        misplaced: frames whose time stamp was not after that of the frame before; they were not shown.
        jumps: places where the clock fell back and was joined up.
        reason: the first error, in the decoder's words.
    """

    promised_s: Fraction = Fraction(0)
    video_end_s: Fraction = Fraction(0)
    audio_samples: int = 0
    damaged: dict[str, int] = field(default_factory=lambda: {"file": 0, "picture": 0, "sound": 0})
    misplaced: int = 0
    jumps: int = 0
    reason: str = ""

    def count(self, where: str, error: Exception) -> None:
        """Count one failure of "file" (reading), "picture" or "sound" (decoding)."""
        self.damaged[where] += 1
        self.reason = self.reason or getattr(error, "strerror", None) or str(error)

    @property
    def truncated(self) -> bool:
        """Whether the picture ends noticeably before the promised duration."""
        return self.promised_s - self.video_end_s > _SLACK_S

    def describe(self) -> str:
        """One line for people; "none" if all was well."""
        words = [f"damaged {where} packets: {n}" for where, n in self.damaged.items() if n and where != "file"]
        if self.damaged["file"]:
            words.append("parts of the file could not be read")
        if self.misplaced:
            words.append(f"frames out of order: {self.misplaced}")
        if self.jumps:
            words.append(f"jumps of the clock: {self.jumps}")
        if self.truncated:
            words.append(f"picture ends at {float(self.video_end_s):.3f} s of {float(self.promised_s):.3f} s")
        return ("; ".join(words) + (f" ({self.reason})" if self.reason else "")) if words else "none"


def decode(
    media: Media,
    *,
    frame_rate: Fraction | int | None = None,
    frame_size: tuple[int, int] | int | None = None,
    audio_rate_hz: int | None = None,
    report: DecodeReport | None = None,
    threads: int = 0,
) -> Iterator[Picture | Sound]:
    """Pictures and sound of a video in one pass, in the order in which they lie in the file.

    Each kind is in order of time; between the two there is no order.

    Args:
        media: from probe.
        frame_rate: pictures per second wanted; None for no pictures.
        frame_size: (h, w) of the pictures, or their short side in pixels, or None for the size as shown.
        audio_rate_hz: samples per second wanted; None for no sound. A video without sound yields none.
        report: filled while decoding.
        threads: of the picture decoder; 0 lets ffmpeg choose.
    Yields:
        Picture at k / frame_rate for all k with a frame to show, and Sound blocks without gaps from t = 0 to the end
        of the sound or of media.duration_s, whichever comes first.
    Raises:
        MediaError: the file cannot be opened, or (at the end) too little of it could be decoded.
    """
    report = report if report is not None else DecodeReport()
    report.promised_s = Fraction(media.duration_s)
    origin_s = first_frame_s(media)  # before the pass: audio may come before it in the file
    with open_container(media.path) as container:
        video, audio = choose_streams(container, media.path)
        video.thread_type = "AUTO"
        video.codec_context.thread_count = threads
        pictures = _Pictures(media, origin_s, frame_rate, frame_size, report)
        track = SoundTrack(audio_rate_hz, origin_s, report.promised_s) if audio is not None and audio_rate_hz else None
        wanted: list[av.stream.Stream] = [video, audio] if audio is not None and track is not None else [video]
        for packet in packets(container, wanted, lambda error: report.count("file", error)):
            if packet.stream_index == video.index:
                yield from _lively(pictures.take(video, packet))
            elif track is not None and audio is not None:
                yield from _lively(_take_sound(track, audio, packet, report))
        yield from _lively(pictures.finish(video))
        if track is not None and audio is not None:
            yield from _take_sound(track, audio, None, report)
            yield from track.finish()
            report.jumps += track.clock.jumps
    _check_length(media, report)


def _lively(items: Iterator[Any]) -> Iterator[Any]:
    """The same items; whoever guards this process is told that they come."""
    for item in items:
        heartbeat()
        yield item


def frames(
    media: Media, rate: Fraction | int, size: tuple[int, int] | int | None = None, report: DecodeReport | None = None
) -> Iterator[tuple[Fraction, UInt8[np.ndarray, "h w 3"]]]:
    """Only the pictures: (time in seconds, RGB array) at k / rate. See `decode`."""
    for item in decode(media, frame_rate=rate, frame_size=size, report=report):
        if isinstance(item, Picture):
            yield item.time_s, item.rgb


def sound_blocks(media: Media, rate_hz: int, report: DecodeReport | None = None) -> Iterator[Float[np.ndarray, " n"]]:
    """Only the sound: consecutive mono blocks, sample n of their concatenation at n / rate_hz. See `decode`."""
    for item in decode(media, audio_rate_hz=rate_hz, report=report):
        if isinstance(item, Sound):
            yield item.samples


def _take_sound(
    track: SoundTrack, stream: av.AudioStream, packet: av.Packet | None, report: DecodeReport
) -> Iterator[Sound]:
    for frame in decoded(stream, packet, lambda error: report.count("sound", error)):
        if isinstance(frame, av.AudioFrame):
            try:
                yield from track.push(frame)
            except ValueError as error:
                report.count("sound", error)
    report.audio_samples = track.decoded_samples


def _check_length(media: Media, report: DecodeReport) -> None:
    if report.video_end_s < MIN_DECODED * report.promised_s:
        raise MediaError(
            f"{media.path}: only {float(report.video_end_s):.1f} s of the promised {media.duration_s:.1f} s could be"
            " decoded, at least half is needed; get the file again, or keep what is there with"
            " `ffmpeg -i IN -c copy OUT`"
        )


class _Pictures:
    """Chooses which frames are shown at the wanted times, and converts only those."""

    def __init__(
        self,
        media: Media,
        origin_s: Fraction,
        rate: Fraction | int | None,
        size: tuple[int, int] | int | None,
        report: DecodeReport,
    ) -> None:
        self._clock = Clock(origin_s, Fraction(media.duration_s) + Fraction(1, 1000))
        self._rate = None if rate is None else Fraction(rate)
        self._size = _picture_size(media, size)
        self._path, self._frame_s = media.path, 1 / media.frame_rate
        self._report = report
        self._stamps = PictureStamps()
        self._reformatter = VideoReformatter()
        self._next = 0
        self._shown: av.VideoFrame | None = None
        self._shown_s = Fraction(-1)

    def take(self, stream: av.VideoStream, packet: av.Packet | None) -> Iterator[Picture]:
        """Take one packet (None: the end of the stream)."""
        if self._rate is None:
            if packet is not None and not packet.is_discard:
                self._place(packet, stamp(packet))
            return
        for frame in decoded(stream, packet, lambda error: self._report.count("picture", error)):
            if isinstance(frame, av.VideoFrame):
                yield from self._show(frame)

    def finish(self, stream: av.VideoStream) -> Iterator[Picture]:
        """The frames still inside the decoder, and the last frame up to its end."""
        yield from self.take(stream, None)
        yield from self._emit_until(min(self._report.video_end_s, self._clock.limit_s))
        self._report.jumps += self._clock.jumps

    def _place(self, item: av.Packet | av.VideoFrame, stamp_s: Fraction | None) -> Fraction:
        """Time of a packet or frame; moves the known end of the picture."""
        end_s = self._report.video_end_s
        time_s = self._clock.place(stamp_s, end_s)
        length_s = item.duration * Fraction(item.time_base) if item.duration and item.time_base else self._frame_s
        if time_s < self._clock.limit_s:
            self._report.video_end_s = max(end_s, time_s + length_s)
        return time_s

    def _show(self, frame: av.VideoFrame) -> Iterator[Picture]:
        time_s = self._place(frame, self._stamps.of(frame))
        if time_s <= self._shown_s or time_s >= self._clock.limit_s:
            self._report.misplaced += 1
            return
        yield from self._emit_until(time_s)
        self._shown, self._shown_s = frame, time_s

    def _emit_until(self, stop_s: Fraction) -> Iterator[Picture]:
        """The current frame at all wanted times before `stop_s`."""
        if self._shown is None or self._rate is None or self._next / self._rate >= stop_s:
            return
        rgb = self._convert(self._shown)
        while self._next / self._rate < stop_s:
            yield Picture(self._next / self._rate, rgb)
            self._next += 1

    def _convert(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        # planar RGB: ffmpeg's packed one is several times slower for odd widths, and rounds more coarsely for even ones
        rgb = upright_rgb(self._path, frame, self._size, "gbrp", self._reformatter)
        rgb.flags.writeable = False
        return rgb


def _picture_size(media: Media, size: tuple[int, int] | int | None) -> tuple[int, int]:
    """(h, w) to which each frame is resized."""
    if size is None:
        return media.height, media.width
    if isinstance(size, tuple):
        return size
    scale = Fraction(size, min(media.height, media.width))
    return max(1, round(media.height * scale)), max(1, round(media.width * scale))
