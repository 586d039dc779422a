"""Test patterns with flashes and beeps at known times, and the changes that recordings go through.

A maker writes one file and returns its `Truth`. Frames are a moving grey texture, white for `EVENT_S` from each event;
audio is faint noise with a tone of the same length.

Clock of the truth: that of players. Time zero is the earliest start of a stream, after edit lists; where all streams of
an mp4 or matroska file start late (`late`), it is time stamp 0, as in browsers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import odd_media as odd

EVENT_S = Fraction(2, 5)
_WHITE, _CHANNELS = 235, {"mono": 1, "stereo": 2, "5.1": 6}

Seconds = Fraction | float
Span = tuple[Seconds, Seconds]


@dataclass(frozen=True)
class Truth:
    """Times in seconds on the player's clock.

    Args:
        flash_s, beep_s: onsets.
        flash_frames: indices of the first white frames among the frames shown.
        duration_s: end of the last stream; None: not defined (a truncated file).
    """

    flash_s: tuple[Fraction, ...]
    beep_s: tuple[Fraction, ...]
    flash_frames: tuple[int, ...]
    duration_s: Fraction | None

    def delayed(self, by_s: Seconds, frames: int = 0) -> Truth:
        """The same events later by `by_s`, after `frames` more frames; negative where the beginning is cut off."""
        by_s = Fraction(by_s)
        flash_s, beep_s = (tuple(time + by_s for time in times) for times in (self.flash_s, self.beep_s))
        duration_s = None if self.duration_s is None else self.duration_s + by_s
        return Truth(flash_s, beep_s, tuple(k + frames for k in self.flash_frames), duration_s)


Maker = Callable[[Path], Truth]


def record(
    path: Path,
    *,
    length_s: Seconds = 12,
    events_s: Sequence[Seconds] = (3, 9),
    sight_s: Span | None = None,
    hearing_s: Span | None = None,
    clock_s: Seconds = 0,
    shown: Callable[[Fraction], bool] | None = None,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    sound: str | None = "aac",
    sound_hz: int = 48_000,
    layout: str = "stereo",
    **options: Any,
) -> Truth:
    """Write a recording.

    Args:
        sight_s, hearing_s: from when to when each stream lasts; the whole length by default.
        clock_s: added to all time stamps.
        shown: which frame times are kept, for variable frame rates.
        size: (width, height).
        options: of `odd_media.write_video`.
    """
    sight, hearing = (tuple(map(Fraction, span or (0, length_s))) for span in (sight_s, hearing_s))
    regular = takewhile(lambda time: time < sight[1], (sight[0] + k / Fraction(rate) for k in count()))
    times = [time for time in regular if shown is None or shown(time - sight[0])]
    if shown is not None:
        options["times_s"] = [time - sight[0] for time in times]
    audio = None if sound is None else _beeps(hearing, events_s, sound_hz, _CHANNELS[layout])
    odd.write_video(
        path,
        _flashes(times, events_s, size),
        rate=rate,
        codec=codec,
        picture_start_s=sight[0] + Fraction(clock_s),
        sound=audio,
        sound_codec=sound or "",
        sound_rate_hz=sound_hz,
        sound_start_s=hearing[0] + Fraction(clock_s),
        layout=layout,
        **options,
    )
    spans = [sight] if sound is None else [sight, hearing]
    seen = [next(k for k, time in enumerate(times) if time >= event) for event in events_s if event < times[-1]]
    heard = [Fraction(event) for event in events_s if sound and hearing[0] <= event < hearing[1]]
    truth = Truth(tuple(times[k] for k in seen), tuple(heard), tuple(seen), max(end for _, end in spans))
    return truth.delayed(-min(start for start, _ in spans))


def recorded(**options: Any) -> Maker:
    """A maker that calls `record` with these options."""
    return partial(record, **options)


def _flashes(times: Sequence[Fraction], events_s: Sequence[Seconds], size: tuple[int, int]) -> list[np.ndarray]:
    texture = np.random.default_rng(0).integers(50, 71, (size[1], size[0], 1), np.uint8).repeat(3, axis=2)
    white = np.full_like(texture, _WHITE)
    lit = [any(event <= time < event + EVENT_S for event in events_s) for time in times]
    return [white if flash else np.roll(texture, k, axis=1) for k, flash in enumerate(lit)]


def _beeps(span: Span, events_s: Sequence[Seconds], rate_hz: int, channels: int) -> np.ndarray:
    """(channels, n) float32."""
    samples = np.random.default_rng(0).normal(0, 0.003, round((span[1] - span[0]) * rate_hz)).astype(np.float32)
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(int(EVENT_S * rate_hz)) / rate_hz)
    for event in events_s:
        start = round((event - span[0]) * rate_hz)
        if 0 <= start < len(samples):
            part = samples[start : start + len(tone)]
            part += tone[: len(part)].astype(np.float32)
    return np.tile(samples, (channels, 1))


def edited(edit: Callable[[Path, Path], None], source: str | None = None, **options: Any) -> Maker:
    """A recording, edited from one file into another. source: suffix of the first; by default that of the second."""

    def make(path: Path) -> Truth:
        original = path.with_name(f"{path.stem} original.{source or path.suffix[1:]}")
        truth = record(original, **options)
        edit(original, path)
        original.unlink()
        return truth

    return make


def joined(second_clock_s: Seconds, **options: Any) -> Maker:
    """Two recordings of 6 s as one file (`cat a b`); the second one's time stamps start at `second_clock_s`."""

    def make(path: Path) -> Truth:
        parts = [path.with_name(f"{path.stem} {k}{path.suffix}") for k in range(2)]
        first, second = (
            record(part, length_s=6, events_s=(3,), clock_s=clock_s, **options)
            for part, clock_s in zip(parts, (0, second_clock_s), strict=True)
        )
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()
        second = second.delayed(6, frames=6 * 25)
        return Truth(
            first.flash_s + second.flash_s,
            first.beep_s + second.beep_s,
            first.flash_frames + second.flash_frames,
            second.duration_s,
        )

    return make


def cut(zero_s: Seconds, *, key_frame_s: int = 1, shift_s: Seconds = 0, **options: Any) -> Maker:
    """A copy without encoding from a key frame on; the player's time zero is `zero_s` of the recording.

    Args:
        shift_s: added to the time stamps. Negative stamps are hidden by an edit list.
    """
    edit = partial(copy, start_s=key_frame_s, shift_s=Fraction(shift_s))
    make = edited(edit, options={"g": "25", "bf": "0"}, **options)
    hidden = -(-Fraction(zero_s) * 25 // 1)
    return lambda path: make(path).delayed(-Fraction(zero_s), frames=-int(hidden))


def late(make: Maker, by_s: Seconds) -> Maker:
    """A file whose streams all start at `by_s`, which players show."""
    return lambda path: make(path).delayed(by_s)


def truncated(keep: float, **options: Any) -> Maker:
    """The beginning of a file; only events at 3 s are in it."""
    make = edited(partial(odd.cut, keep=keep), **options)

    def shorter(path: Path) -> Truth:
        truth = make(path)
        return Truth(truth.flash_s[:1], truth.beep_s[:1], truth.flash_frames[:1], None)

    return shorter


def copy(source: Path, target: Path, *, start_s: int = 0, shift_s: Fraction = Fraction(0)) -> None:
    """Copy the packets from `start_s` on, without encoding; `shift_s` is added to their time stamps."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None and packet.pts * packet.time_base >= start_s:
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copies[packet.stream_index]
                output.mux(packet)


def with_cover(source: Path, target: Path) -> None:
    """Add cover art: an attachment in mkv, a picture of the file (covr) in mp4."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuvj420p", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), _WHITE, np.uint8), "rgb24")
    cover = [*encoder.encode(picture), *encoder.encode()][0]
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        if target.suffix == ".mkv":
            output.add_attachment("cover.jpg", "image/jpeg", bytes(cover))
        else:
            cover.stream = output.add_stream("mjpeg", rate=25, width=64, height=64, pix_fmt="yuvj420p")
            cover.stream.disposition = av.stream.Disposition.attached_pic
        copies = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
        packets = [packet for packet in given.demux() if packet.dts is not None]
        for packet in packets:
            packet.stream = copies[packet.stream_index]
        output.mux(packets if target.suffix == ".mkv" else [cover, *packets])


def silent_track_first(source: Path, target: Path) -> None:
    """Add a silent audio track before the recording's, which has the default flag."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        video, heard = given.streams.video[0], given.streams.audio[0]
        copies = {video.index: output.add_stream_from_template(video)}
        silent = output.add_stream("aac", rate=48_000, layout="stereo")
        copies[heard.index] = output.add_stream_from_template(heard)
        silent.disposition = av.stream.Disposition(0)
        copies[heard.index].disposition = av.stream.Disposition.default
        packets = [packet for packet in given.demux() if packet.dts is not None]
        for packet in packets:
            packet.stream = copies[packet.stream_index]
        for frame in odd.sound_frames(np.zeros((2, 12 * 48_000), np.float32), 48_000, Fraction(0), "stereo"):
            packets += silent.encode(frame)
        output.mux(sorted(packets + silent.encode(), key=lambda packet: packet.dts * packet.time_base))


def claim_longer(source: Path, target: Path) -> None:
    """Multiply the duration in the header of an mp4, mkv or flv by 10."""
    data = bytearray(source.read_bytes())
    for tag, offset, kind in _DURATIONS[source.suffix]:
        at = data.find(tag)
        while at >= 0:
            field = slice(at + offset, at + offset + np.dtype(kind).itemsize)
            data[field] = (np.frombuffer(bytes(data[field]), kind) * 10).astype(kind).tobytes()
            at = data.find(tag, at + len(tag))
    target.write_bytes(data)


_DURATIONS = {
    # version 0 of the boxes: ISO/IEC 14496-12, 8.2.2, 8.3.2 and 8.4.2
    ".mp4": [(b"mvhd", 20, ">u4"), (b"tkhd", 24, ">u4"), (b"mdhd", 20, ">u4")],
    ".mkv": [(b"\x44\x89\x88", 3, ">f8")],  # Duration: RFC 9559, 5.1.2.10
    ".flv": [(b"duration\x00", 9, ">f8")],  # onMetaData: Adobe Flash Video File Format 10.1, E.5
}
"""Where headers state durations, by suffix: (tag, offset from the tag's start, type)."""
