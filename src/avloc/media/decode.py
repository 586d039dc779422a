"""Streaming decoder: frames and audio in one pass, on the video's clock.

Clock: t = 0 is the start of the file as players count it (see `extent`), for frames and audio. All times are exact
(Fractions of a second). Memory use does not depend on the length of the video.

Sampling: at times k / frame_rate, k = 0, 1, ..., the frame that a player shows, i.e. the last one with
time <= k / frame_rate, for constant and variable frame rates. Before the first frame, the first is shown; after the
last, while the audio goes on, the last. Frames in between are decoded, because others depend on them, but neither
resized nor converted.

Damage: packets that cannot be read or decoded are counted and skipped; the previous frame is repeated, missing audio
is filled with zeros. It is a MediaError if less than `MIN_DECODED` of the duration can be decoded.
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
from avloc.media.clock import Clock, FrameStamps, stamp
from avloc.media.container import decoded, opened_before, packets
from avloc.media.frames import upright_rgb
from avloc.media.mix import SoundMix
from avloc.media.sound import Sound, SoundTrack
from avloc.mediafile import Media
from avloc.system.isolate_child import heartbeat
from avloc.types import Short

MIN_DECODED = Fraction(1, 2)
"""Share of the expected duration that must be decodable."""

HELD_S = 1
"""Seconds for which a frame is held before it is worth a note."""

_INTERLEAVED_S = 10  # streams of a file lie closer together than this
_SLACK_S = Fraction(1, 2)  # tolerated difference between the expected duration and the end of the last frame


@dataclass(frozen=True, repr=False)
class Picture(Short):
    """The frame shown at a sampling time.

    Args:
        time_s: start_s + k / frame_rate, exact.
        rgb: (h, w, 3), upright. Read-only: the same array can be yielded for several times.
    """

    time_s: Fraction
    rgb: UInt8[np.ndarray, "h w 3"]


@dataclass
class DecodeReport:
    """Damage found in a decoding pass; complete when the pass is exhausted.

    Args:
        promised_s: expected end of the last frame, from probe.
        duration_s: expected duration, from probe: later than promised_s if the audio is longer.
        video_start_s: time of the first frame.
        video_end_s: end of the last frame (of the last packet, if no frames were requested).
        audio_samples: number of decoded samples at the stream's sample rate.
        repaired_samples: of these, NaN or infinity, set to 0, or beyond four times full scale, clipped.
        damaged: number of packets that could not be read ("file") or decoded ("picture", "sound").
        misplaced: number of dropped frames, whose time stamp was not after that of the frame before.
        jumps: number of times the time stamps fell back unexpectedly (see `Clock`).
        joins: number of joins of recordings, which are no damage.
        note: of the Media, and whether its frame rate is assumed.
        reason: the decoder's first error message.
    """

    promised_s: Fraction = Fraction(0)
    duration_s: Fraction = Fraction(0)
    video_start_s: Fraction | None = None
    video_end_s: Fraction = Fraction(0)
    audio_samples: int = 0
    repaired_samples: int = 0
    damaged: dict[str, int] = field(default_factory=lambda: {"file": 0, "picture": 0, "sound": 0})
    misplaced: int = 0
    jumps: int = 0
    joins: int = 0
    note: str = ""
    reason: str = ""

    def count(self, where: str, error: Exception) -> None:
        """Count an error: "file" (reading), "picture" or "sound" (decoding)."""
        self.damaged[where] += 1
        self.reason = self.reason or getattr(error, "strerror", None) or str(error)

    @property
    def truncated(self) -> bool:
        """Whether the video ends noticeably before the expected duration."""
        return self.promised_s - self.video_end_s > _SLACK_S

    def describe(self) -> str:
        """The damage in one line; "none" if there is none."""
        words = [f"damaged {where} packets: {n}" for where, n in self.damaged.items() if n and where != "file"]
        if self.damaged["file"]:
            words.append("parts of the file could not be read")
        if self.misplaced:
            words.append(f"frames out of order: {self.misplaced}")
        if self.repaired_samples:
            words.append(f"audio samples that are NaN, infinite or far beyond full scale: {self.repaired_samples}")
        if self.jumps:
            words.append(f"jumps of the clock: {self.jumps}")
        if self.truncated:
            words.append(f"picture ends at {float(self.video_end_s):.3f} s of {float(self.promised_s):.3f} s")
        return ("; ".join(words) + (f" ({self.reason})" if self.reason else "")) if words else "none"

    def notes(self) -> str:
        """What is unusual without being damage, in one line; else empty."""
        words = [self.note] if self.note else []
        if self.joins:
            words.append(f"{self.joins + 1} recordings joined end to end")
        if self.video_start_s is not None and self.video_start_s > HELD_S:
            words.append(f"the video starts {float(self.video_start_s):.3f} s after the audio; its first frame is held")
        if self.duration_s - self.promised_s > HELD_S and not self.truncated:
            words.append(
                f"the audio is {float(self.duration_s - self.promised_s):.3f} s longer; the last frame is held"
            )
        return "; ".join(words)


def decode(
    media: Media,
    *,
    frame_rate: Fraction | int | None = None,
    frame_size: tuple[int, int] | int | None = None,
    audio_rate_hz: int | None = None,
    start_s: Fraction = Fraction(0),
    stop_s: Fraction | None = None,
    report: DecodeReport | None = None,
    threads: int = 0,
) -> Iterator[Picture | Sound]:
    """Decode frames and audio of a video in one pass, in file order.

    Frames are in order of time, and so are audio blocks; their relative order is arbitrary.

    Args:
        media: from probe.
        frame_rate: fps of the sampled frames; None: no frames.
        frame_size: (h, w) of the frames, or their short side in pixels; None: the size as shown.
        audio_rate_hz: sample rate; None: no audio.
        start_s, stop_s: the part to decode; by default the whole video. Times in `Sound` are then from start_s.
        report: filled while decoding; of a part, only the damage is meaningful.
        threads: of the video decoder; 0: ffmpeg's choice.
    Yields:
        Picture at start_s + k / frame_rate for all k with a frame to show, and contiguous Sound blocks from start_s to
        the end of the audio, of the part or of media.duration_s, whichever comes first.
    Raises:
        MediaError: the file cannot be opened, or (at the end, of the whole) too little of it could be decoded.
    """
    report = report if report is not None else DecodeReport()
    clock = media.clock
    report.duration_s = Fraction(media.duration_s) if clock.end_s is None else clock.end_s
    report.promised_s = report.duration_s if clock.video_end_s is None else clock.video_end_s
    report.joins, report.note = clock.joins, media.note
    if media.rate_assumed:
        report.note = f"the file states neither times nor a rate, {float(media.frame_rate):g} fps is assumed"
    length_s = (report.duration_s if stop_s is None else stop_s) - start_s
    with opened_before(media, start_s) as (container, video, sounds, at_start):
        video.thread_type = "AUTO"
        video.codec_context.thread_count = threads
        sampler = _Sampler(media, start_s, length_s, frame_rate, frame_size, report)
        heard = {stream.index: stream for stream in sounds if audio_rate_hz}
        rate_hz, sound_start_s = audio_rate_hz or 1, clock.origin_s + start_s
        mix = SoundMix(rate_hz, {index: SoundTrack(rate_hz, sound_start_s, length_s) for index in heard})
        wanted: list[av.stream.Stream] = [video, *heard.values()]
        steps = clock.steps if at_start else ()
        read = packets(container, wanted, lambda error: report.count("file", error), steps)
        for packet in read if stop_s is None else _until(read, len(wanted), clock.origin_s + stop_s):
            if packet.stream_index == video.index:
                yield from _with_heartbeat(sampler.take(video, packet))
            else:
                yield from _with_heartbeat(_take_sound(mix, heard[packet.stream_index], packet, report))
        yield from _with_heartbeat(sampler.finish(video))
        for stream in heard.values():
            yield from _take_sound(mix, stream, None, report)
        yield from mix.finish()
        report.jumps += mix.jumps
    if not start_s and stop_s is None:
        _check_length(media, report)


def _until(read: Iterator[av.Packet], streams: int, stop_s: Fraction) -> Iterator[av.Packet]:
    """Packets until all streams are a second past a time on the file's clock: frames shown before may come later."""
    done: set[int] = set()
    for packet in read:
        ticks = packet.dts if packet.dts is not None else packet.pts
        late_s = ticks * Fraction(packet.time_base) - stop_s if ticks is not None and packet.time_base else 0
        if late_s > 1:
            done.add(packet.stream_index)
        if len(done) == streams or late_s > _INTERLEAVED_S:
            return
        yield packet


def _with_heartbeat(items: Iterator[Any]) -> Iterator[Any]:
    """The same items, with a heartbeat per item."""
    for item in items:
        heartbeat()
        yield item


def frames(
    media: Media, rate: Fraction | int, size: tuple[int, int] | int | None = None, report: DecodeReport | None = None
) -> Iterator[tuple[Fraction, UInt8[np.ndarray, "h w 3"]]]:
    """Frames only: (time in seconds, RGB array) at k / rate. See `decode`."""
    for item in decode(media, frame_rate=rate, frame_size=size, report=report):
        if isinstance(item, Picture):
            yield item.time_s, item.rgb


def sound_blocks(media: Media, rate_hz: int, report: DecodeReport | None = None) -> Iterator[Float[np.ndarray, " n"]]:
    """Audio only: contiguous mono blocks; sample n of their concatenation is at n / rate_hz. See `decode`."""
    for item in decode(media, audio_rate_hz=rate_hz, report=report):
        if isinstance(item, Sound):
            yield item.samples


def _take_sound(
    mix: SoundMix, stream: av.AudioStream, packet: av.Packet | None, report: DecodeReport
) -> Iterator[Sound]:
    for frame in decoded(stream, packet, lambda error: report.count("sound", error)):
        if isinstance(frame, av.AudioFrame):
            try:
                yield from mix.push(stream.index, frame)
            except ValueError as error:
                report.count("sound", error)
    report.audio_samples, report.repaired_samples = mix.decoded_samples, mix.repaired_samples


def _check_length(media: Media, report: DecodeReport) -> None:
    if report.video_end_s < MIN_DECODED * report.promised_s:
        raise MediaError(
            f"{media.path}: only {float(report.video_end_s):.1f} s of the promised {float(report.promised_s):.1f} s"
            " could be decoded, at least half is needed; get the file again, or keep the intact part with"
            " `ffmpeg -i IN -c copy OUT`"
        )


class _Sampler:
    """Selects the frames shown at the sampling times, and converts only those."""

    def __init__(
        self,
        media: Media,
        start_s: Fraction,
        length_s: Fraction,
        rate: Fraction | int | None,
        size: tuple[int, int] | int | None,
        report: DecodeReport,
    ) -> None:
        self._clock = Clock(media.clock.origin_s, start_s + length_s + Fraction(1, 1000))
        self._start_s, self._stop_s = start_s, start_s + length_s
        self._whole = not start_s and self._stop_s == report.duration_s
        self._rate = None if rate is None else Fraction(rate)
        self._size = _frame_size(media, size)
        self._path, self._frame_s = media.path, 1 / media.frame_rate
        self._report = report
        self._stamps = FrameStamps()
        self._reformatter = VideoReformatter()
        self._next = 0
        self._shown: av.VideoFrame | None = None
        self._shown_s: Fraction | None = None

    def take(self, stream: av.VideoStream, packet: av.Packet | None) -> Iterator[Picture]:
        """Decode one packet (None: the end of the stream)."""
        if self._rate is None:
            if packet is not None and not packet.is_discard:
                self._place(packet, stamp(packet))
            return
        for frame in decoded(stream, packet, lambda error: self._report.count("picture", error)):
            if isinstance(frame, av.VideoFrame):
                yield from self._show(frame)

    def finish(self, stream: av.VideoStream) -> Iterator[Picture]:
        """The frames left in the decoder; the last frame up to its end, or to the end of the audio if that is later."""
        yield from self.take(stream, None)
        cut_off = self._whole and self._report.truncated
        yield from self._emit_until(self._report.video_end_s if cut_off else self._stop_s)
        self._report.jumps += self._clock.jumps

    def _place(self, item: av.Packet | av.VideoFrame, stamp_s: Fraction | None) -> Fraction:
        """Time of a packet or frame; extends the known end of the video."""
        end_s = self._report.video_end_s
        time_s = self._clock.place(stamp_s, end_s)
        if self._report.video_start_s is None:
            self._report.video_start_s = time_s
        length_s = item.duration * Fraction(item.time_base) if item.duration and item.time_base else self._frame_s
        if time_s < self._clock.limit_s:
            self._report.video_end_s = max(end_s, time_s + length_s)
        return time_s

    def _show(self, frame: av.VideoFrame) -> Iterator[Picture]:
        time_s = self._place(frame, self._stamps.of(frame))
        if time_s >= self._clock.limit_s or (self._shown_s is not None and time_s <= self._shown_s):
            self._report.misplaced += 1
            return
        if self._shown is None:  # before the first frame, it is shown too
            self._shown = frame
        yield from self._emit_until(time_s)
        self._shown, self._shown_s = frame, time_s

    def _emit_until(self, stop_s: Fraction) -> Iterator[Picture]:
        """The current frame at all sampling times before `stop_s`."""
        stop_s = min(stop_s, self._stop_s)
        if self._shown is None or self._rate is None or self._start_s + self._next / self._rate >= stop_s:
            return
        rgb = self._convert(self._shown)
        while self._start_s + self._next / self._rate < stop_s:
            yield Picture(self._start_s + self._next / self._rate, rgb)
            self._next += 1

    def _convert(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        # planar RGB: packed RGB is several times slower for odd widths, and rounds more coarsely for even ones
        rgb = upright_rgb(self._path, frame, self._size, "gbrp", self._reformatter)
        rgb.flags.writeable = False
        return rgb


def _frame_size(media: Media, size: tuple[int, int] | int | None) -> tuple[int, int]:
    """(h, w) to which frames are resized."""
    if size is None:
        return media.height, media.width
    if isinstance(size, tuple):
        return size
    scale = Fraction(size, min(media.height, media.width))
    return max(1, round(media.height * scale)), max(1, round(media.width * scale))
