"""Exact time stamps in seconds, on the file's clock and on the video's clock (see `extent`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational

import av

from avloc.mediafile import Step

BACKWARD_JUMP_S = Fraction(1)
"""Time stamps that fall back by more than this start a new recording."""


def stamp(item: av.Packet | av.VideoFrame | av.AudioFrame) -> Fraction | None:
    """Presentation time of a packet or frame on the file's clock, in seconds."""
    return _seconds(item.pts, item.time_base)


def _seconds(ticks: int | None, base: Rational | None) -> Fraction | None:
    return None if ticks is None or not base else ticks * Fraction(base)


class FrameStamps:
    """Presentation times of decoded frames, in presentation order.

    In old avi files (packed B-frames) the presentation time stamps are out of order while the decoding time stamps
    increase steadily. Of the two, the one that has decreased less often so far is used.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._faults = [0, 0]

    def of(self, frame: av.VideoFrame) -> Fraction | None:
        """Presentation time of the next frame on the file's clock; None without a time stamp."""
        stamps = (frame.pts, frame.dts)
        for kind, ticks in enumerate(stamps):
            last = self._last[kind]
            if ticks is not None:
                self._faults[kind] += last is not None and ticks <= last
                self._last[kind] = ticks
        use_dts = frame.pts is None or (self._faults[0] > self._faults[1] and frame.dts is not None)
        return _seconds(stamps[1] if use_dts else stamps[0], frame.time_base)


@dataclass
class Clock:
    """Converts time stamps of one stream to seconds after `origin_s`, time 0 of the video.

    Where the time stamps fall back by more than `BACKWARD_JUMP_S` (concatenated recordings), time continues from the
    previous value. Times at or after `limit_s` are returned but not remembered: a single outlier must not make the
    correct stamps after it look like a jump back.
    """

    origin_s: Fraction
    limit_s: Fraction
    jumps: int = 0
    _last_s: Fraction | None = None
    _shift_s: Fraction = Fraction(0)

    def place(self, stamp_s: Fraction | None, expected_s: Fraction) -> Fraction:
        """Time of a frame with this time stamp; `expected_s`: the end of the frame before it."""
        if stamp_s is None:
            return expected_s
        time = stamp_s - self.origin_s + self._shift_s
        if self._last_s is not None and time < self._last_s - BACKWARD_JUMP_S:
            self._shift_s += expected_s - time
            self.jumps += 1
            time = expected_s
        if time < self.limit_s:
            self._last_s = time
        return time


class Shifts:
    """Applies the steps of a `FileClock` to packets, given in file order from the start of the file."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps: dict[int, list[Step]] = {}
        for step in steps:
            self._steps.setdefault(step.stream, []).append(step)
        self._counts = dict.fromkeys(self._steps, 0)
        self._shift: dict[int, Fraction | None] = {}

    def apply(self, packet: av.Packet) -> None:
        """Shift the packet's stamps; damaged ones are removed."""
        stream = packet.stream_index
        steps = self._steps.get(stream)
        if steps is None:
            return
        if steps and steps[0].packet == self._counts[stream]:
            self._shift[stream] = steps.pop(0).shift_s
        self._counts[stream] += 1
        shift_s = self._shift.get(stream, Fraction(0))
        if shift_s is None:
            packet.pts = packet.dts = None
        elif shift_s and packet.time_base:
            ticks = round(shift_s / Fraction(packet.time_base))
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks


class StartsAnew:
    """Shows what ffmpeg hides at a join of fragmented mp4: the first fragment of each recording but the first.

    mov.c (mov_read_trun) marks a fragment as discarded if its time stamps are not after those before it. That is right
    for a fragment stored twice, but not where the stamps start anew from the beginning.
    """

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._anew: set[int] = set()

    def shown(self, packet: av.Packet) -> av.Packet:
        """The packet, or a copy that is not marked as discarded. Packets are given in file order."""
        stream, time = packet.stream_index, packet.dts
        if time is None or not packet.time_base:
            return packet
        first, last = self._first.setdefault(stream, time), self._last.get(stream, time)
        self._last[stream] = time
        if not packet.is_discard:
            self._anew.discard(stream)
            return packet
        near = int(BACKWARD_JUMP_S / Fraction(packet.time_base))
        if last - time > near > time - first:
            self._anew.add(stream)
        return _unmarked(packet) if stream in self._anew else packet


def _unmarked(packet: av.Packet) -> av.Packet:
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    copy.is_keyframe, copy.stream = packet.is_keyframe, packet.stream
    return copy
