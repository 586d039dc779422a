"""Time stamps of a file -> seconds on the picture's clock, exact."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av

__all__ = ["BACKWARD_JUMP_S", "Clock", "PictureStamps", "stamp"]

BACKWARD_JUMP_S = Fraction(1)


def stamp(item: av.Packet | av.VideoFrame | av.AudioFrame) -> Fraction | None:
    """Presentation time of a packet or a frame on the file's own clock, exact, in seconds."""
    return _seconds(item.pts, item.time_base)


def _seconds(ticks: int | None, base: Fraction | None) -> Fraction | None:
    return None if ticks is None or not base else ticks * Fraction(base)


class PictureStamps:
    """Presentation times of frames in the order in which the decoder gives them, i.e. the order of showing.

    Old avi files (packed B-frames) carry presentation stamps that jump to and fro while the decoding stamps go
    steadily on. Of the two, the kind that has gone back less often so far is believed.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._faults = [0, 0]

    def of(self, frame: av.VideoFrame) -> Fraction | None:
        """Presentation time of the next frame on the file's clock, or None if it has no stamp."""
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
    """Time stamps of one stream -> seconds after `origin_s`, the first picture.

    Where the stamps fall back by more than `BACKWARD_JUMP_S` (recordings joined end to end), time goes on from where
    it was. Stamps at or after `limit_s` are returned but do not count as "where it was": a single wild one must not
    make its honest successors look like a jump back.
    """

    origin_s: Fraction
    limit_s: Fraction
    jumps: int = 0
    _last_s: Fraction | None = None
    _shift_s: Fraction = Fraction(0)

    def place(self, stamp_s: Fraction | None, expected_s: Fraction) -> Fraction:
        """Time of a frame with this stamp; `expected_s` is where the stream would simply go on."""
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
