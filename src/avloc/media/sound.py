"""Convert any audio stream to mono float32 blocks at one sample rate; sample n is at n / rate on the video's clock.

Audio before time 0 is cut (see `extent`); a late start and gaps in the time stamps are filled with zeros. Time stamps
jitter (webm rounds them to milliseconds), so deviations below `TOLERANCE_S` count as continuous; they do not
accumulate, because each frame is compared with its absolute position. Mono is the mean of all channels: no channel of
5.1 audio is favoured, and nothing clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import av
import numpy as np
from jaxtyping import Float

from avloc.media.clock import Clock, stamp
from avloc.types import Short

TOLERANCE_S = Fraction(1, 50)
BLOCK_S = Fraction(1, 4)
MIN_RATE_HZ, MAX_RATE_HZ = 100, 768_000


@dataclass(frozen=True, repr=False)
class Sound(Short):
    """A block of audio.

    Args:
        time_s: time of the first sample, exact.
        samples: (n,) float32, full scale is [-1, 1].
    """

    time_s: Fraction
    samples: Float[np.ndarray, " n"]


@runtime_checkable
class _Resampler(Protocol):
    def push(self, block: Float[np.ndarray, " n"], last: bool) -> Float[np.ndarray, " m"]: ...


class _Same:
    def push(self, block: Float[np.ndarray, " n"], last: bool) -> Float[np.ndarray, " m"]:
        return block


class _Soxr:
    def __init__(self, from_hz: int, to_hz: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, block: Float[np.ndarray, " n"], last: bool) -> Float[np.ndarray, " m"]:
        return self._stream.resample_chunk(block, last=last)


class _Ffmpeg:
    """PyAV's resampler, for installations without soxr."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
        self._from_hz, self._position = from_hz, 0

    def push(self, block: Float[np.ndarray, " n"], last: bool) -> Float[np.ndarray, " m"]:
        done: list[av.AudioFrame] = []
        if len(block):
            frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
            frame.sample_rate, frame.time_base = self._from_hz, Fraction(1, self._from_hz)
            frame.pts = self._position
            self._position += len(block)
            done += self._resampler.resample(frame)
        if last:
            done += self._resampler.resample(None)
        parts = [frame.to_ndarray().reshape(-1) for frame in done]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _make_resampler(from_hz: int, to_hz: int) -> _Resampler:
    if from_hz == to_hz:
        return _Same()
    try:
        return _Soxr(from_hz, to_hz)
    except ImportError:
        return _Ffmpeg(from_hz, to_hz)


class SoundTrack:
    """Converts decoded audio frames to `Sound` blocks.

    Args:
        rate_hz: output sample rate.
        origin_s: time 0 on the file's clock.
        limit_s: duration in seconds; later samples are dropped.
    """

    def __init__(self, rate_hz: int, origin_s: Fraction, limit_s: Fraction) -> None:
        self.clock = Clock(origin_s, limit_s)
        self.decoded_samples = 0  # before resampling, without filled gaps
        self.repaired_samples = 0  # NaN, infinite, or beyond four times full scale
        self._rate_hz = rate_hz
        self._limit = round(limit_s * rate_hz)
        self._written = 0
        self._source_hz = 0
        self._base_s = Fraction(0)  # time of the first sample passed to this resampler
        self._given = 0  # samples passed to it, including pending ones
        self._cutting = False  # a whole frame was cut, so the next one is cut exactly
        self._pending: list[np.ndarray] = []
        self._pending_count = 0
        self._resampler: _Resampler = _Same()

    def push(self, frame: av.AudioFrame) -> Iterator[Sound]:
        """Take one decoded frame. ValueError if it has no channels or an implausible sample rate."""
        if not (MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ and frame.layout.nb_channels):
            raise ValueError(f"invalid audio of {frame.sample_rate} Hz and {frame.layout.nb_channels} channels")
        if frame.sample_rate != self._source_hz:
            yield from self._change_rate(frame.sample_rate)
        samples, repaired = _mono(frame)
        self.repaired_samples += repaired
        expected_s = self._base_s + Fraction(self._given, self._source_hz)
        time_s = self.clock.place(stamp(frame), expected_s)
        if time_s >= self.clock.limit_s:
            return
        gap = round((time_s - expected_s) * self._source_hz)
        if self._given and not self._cutting and abs(gap) <= TOLERANCE_S * self._source_hz:
            gap = 0
        self._cutting = -gap >= len(samples)
        self.decoded_samples += len(samples)
        if gap < 0:
            samples = samples[-gap:]
        second = np.zeros(self._source_hz, np.float32)
        while gap > 0:  # a second at a time, to bound the memory for long gaps
            yield from self._give(second[:gap])
            gap -= len(second)
        yield from self._give(samples)

    def finish(self) -> Iterator[Sound]:
        """The remaining samples; call once after the last frame."""
        yield from self._resample(last=True)

    def _change_rate(self, source_hz: int) -> Iterator[Sound]:
        if self._source_hz:
            yield from self._resample(last=True)
            self._base_s += Fraction(self._given, self._source_hz)
        self._source_hz, self._given = source_hz, 0
        self._resampler = _make_resampler(source_hz, self._rate_hz)

    def _give(self, samples: Float[np.ndarray, " n"]) -> Iterator[Sound]:
        self._pending.append(samples)
        self._pending_count += len(samples)
        self._given += len(samples)
        if self._pending_count >= BLOCK_S * self._source_hz:
            yield from self._resample(last=False)

    def _resample(self, last: bool) -> Iterator[Sound]:
        block = np.concatenate(self._pending) if self._pending else np.zeros(0, np.float32)
        self._pending, self._pending_count = [], 0
        samples = self._resampler.push(block, last)[: self._limit - self._written]
        if len(samples):
            yield Sound(Fraction(self._written, self._rate_hz), samples)
            self._written += len(samples)


def _mono(frame: av.AudioFrame) -> tuple[Float[np.ndarray, " n"], int]:
    """Mean of the channels, full scale [-1, 1], and the number of its samples that had to be repaired.

    Damaged float audio is repaired: NaN and Inf to 0, clipped to ±4.
    """
    samples = frame.to_ndarray()
    channels = frame.layout.nb_channels
    samples = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    if samples.dtype == np.uint8:
        return (samples.mean(axis=0, dtype=np.float32) - 128) / 128, 0
    if samples.dtype.kind == "i":
        mono = samples.mean(axis=0, dtype=np.float64 if samples.itemsize > 2 else np.float32)
        return (mono / 2.0 ** (8 * samples.itemsize - 1)).astype(np.float32, copy=False), 0
    mono = samples[0] if channels == 1 else samples.mean(axis=0)
    finite = np.isfinite(mono)
    repaired = len(mono) - int(np.count_nonzero(finite))
    if repaired:  # checked after the mean: one pass less over valid audio
        mono = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0).mean(axis=0)
    clipped = np.clip(mono, -4, 4)
    repaired += int(np.count_nonzero(clipped != mono))
    return clipped.astype(np.float32, copy=False), repaired
