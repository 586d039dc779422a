"""The mean of several audio streams on one clock, as blocks of mono audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

import av
import numpy as np
from jaxtyping import Float32

from avloc.media.sound import Sound, SoundTrack


class SoundMix:
    """Averages the tracks of a file sample by sample; a single track passes unchanged.

    A track counts as silent before it starts and after it ends. Held in memory: the audio by which one track is ahead
    of another in the file, some seconds where they are interleaved.

    Args:
        rate_hz: sample rate of all tracks.
        tracks: {index of the stream in the file: its track}.
    """

    def __init__(self, rate_hz: int, tracks: Mapping[int, SoundTrack]) -> None:
        self._rate_hz, self._tracks = rate_hz, tracks
        self._waiting: dict[int, deque[np.ndarray]] = {index: deque() for index in tracks}
        self._ends = dict.fromkeys(tracks, 0)  # in samples from t = 0
        self._written = 0

    @property
    def decoded_samples(self) -> int:
        """Samples of all tracks, before resampling."""
        return sum(track.decoded_samples for track in self._tracks.values())

    @property
    def repaired_samples(self) -> int:
        """Samples of all tracks that were no numbers, or far beyond full scale."""
        return sum(track.repaired_samples for track in self._tracks.values())

    @property
    def jumps(self) -> int:
        """Times that the time stamps fell back, in all tracks."""
        return sum(track.clock.jumps for track in self._tracks.values())

    def push(self, index: int, frame: av.AudioFrame) -> Iterator[Sound]:
        """Take one decoded frame of the stream with this index. ValueError as `SoundTrack.push`."""
        return self._add(index, self._tracks[index].push(frame))

    def finish(self) -> Iterator[Sound]:
        """The remaining samples; call once after the last frame."""
        for index, track in self._tracks.items():
            yield from self._add(index, track.finish())
        longest = max(self._ends.values(), default=0)
        for index in self._tracks if len(self._tracks) > 1 else ():
            while self._ends[index] < longest:
                zeros = np.zeros(min(self._rate_hz, longest - self._ends[index]), np.float32)
                yield from self._add(index, [Sound(Fraction(self._ends[index], self._rate_hz), zeros)])

    def _add(self, index: int, blocks: Iterable[Sound]) -> Iterator[Sound]:
        if len(self._tracks) == 1:
            yield from blocks
            return
        for block in blocks:
            self._waiting[index].append(block.samples)
            self._ends[index] += len(block.samples)
            ready = min(self._ends.values()) - self._written
            if ready:
                total = sum(_take(parts, ready) for parts in self._waiting.values())
                yield Sound(Fraction(self._written, self._rate_hz), np.asarray(total / len(self._tracks), np.float32))
                self._written += ready


def _take(parts: deque[np.ndarray], count: int) -> Float32[np.ndarray, " n"]:
    """The first `count` samples of consecutive blocks, removed from them."""
    taken = []
    while count:
        block = parts.popleft()
        if len(block) > count:
            parts.appendleft(block[count:])
            block = block[:count]
        taken.append(block)
        count -= len(block)
    return np.concatenate(taken)
