"""Encode frames and audio as a widely playable mp4: H.264 + AAC, yuv420p, index at the front.

Conventions
    Frames are RGB uint8 (h, w, 3); audio is float32 in [-1, 1], (n,) mono or (n, 2) stereo. Frame k is shown at
    k / frame_rate seconds, sample k at k / audio_rate_hz seconds: both streams start at 0.
    The same input gives the same file: the encoder runs on one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.errors import InputError, MediaError
from avloc.mediafile import Media
from avloc.system.atomic import atomic_path

SMALL_AUDIO_HZ = 24_000
"""Sample rate of the audio of clips and proxies."""

_SMALL_SIDE = 480
_SMALL_RATE = Fraction(30)

Samples = Float32[np.ndarray, " n"] | Float32[np.ndarray, "n channels"]


def write_video(
    path: str | Path,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    frame_rate: Fraction | int,
    audio: Samples | None = None,
    audio_rate_hz: int = 16_000,
    *,
    crf: int = 23,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write an mp4 atomically.

    Args:
        path: the file to write; an existing file is replaced, a missing folder is created.
        frames: RGB frames, all of the same even size; read once, one at a time.
        frame_rate: fps, exact.
        audio: (n,) or (n, 1) mono or (n, 2) stereo, in [-1, 1]; players clip values beyond. None: no audio stream.
        audio_rate_hz: a sample rate that AAC supports (16000, 22050, 44100, 48000, ...).
        crf: H.264 quality, 0 (lossless) to 51 (worst).
        metadata: tags of the file, such as {"comment": "..."}.

    Returns:
        Number of frames written.

    Raises:
        InputError: no frames, an odd or changing size, invalid audio, or a folder that is not writable.
        StorageError: the disk is full, read-only or unavailable. MediaError: the encoder failed.
    """
    import av

    path = Path(path)
    first, checked = _peek(path, frames)
    planes = None if audio is None else _planar(path, audio, audio_rate_hz)
    if frame_rate <= 0:
        raise InputError(f"{path}: the frame rate must be positive, got {frame_rate}")
    with atomic_path(path) as part:
        try:
            return _encode(part, first, checked, Fraction(frame_rate), planes, audio_rate_hz, crf, metadata or {})
        except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
            if isinstance(error, OSError):  # a disk error, not a codec error
                raise
            raise MediaError(f"{path}: the encoder failed: {error}; check that `av` has libx264 and aac") from error


def small_video(media: Media) -> tuple[Fraction, tuple[int, int]]:
    """Frame rate and (h, w) of a clip or proxy: at most 30 fps and 480 pixels on the short side, both sides even.

    A video of variable frame rate gets 30 fps, so that each frame is shown within a thirtieth of a second of its time.
    """
    scale = min(1.0, _SMALL_SIDE / max(1, min(media.height, media.width)))
    height, width = (max(2, 2 * math.floor(side * scale / 2)) for side in (media.height, media.width))
    return _SMALL_RATE if media.rate_varies else min(media.frame_rate, _SMALL_RATE), (height, width)


def _peek(path: Path, frames: Iterable[np.ndarray]) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """The first frame, for its size, and an iterator over all frames that checks each."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InputError(f"{path}: expected at least one frame, got none")
    if first.ndim != 3 or first.shape[2] != 3:
        raise InputError(f"{path}: expected RGB frames of shape (h, w, 3), got {first.shape}")
    height, width = first.shape[:2]
    if height % 2 or width % 2 or not first.size:
        raise InputError(f"{path}: H.264 needs an even width and height, got {width}x{height}; crop or pad by a pixel")
    return first, _checked(path, first.shape, chain([first], iterator))


def _checked(path: Path, shape: tuple[int, ...], frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        if frame.shape != shape or frame.dtype != np.uint8:
            raise InputError(f"{path}: frame {index} is {frame.dtype} {frame.shape}, expected uint8 {shape}")
        yield frame


def _planar(path: Path, audio: np.ndarray, audio_rate_hz: int) -> np.ndarray:
    """Samples as the encoder takes them: (channels, n), contiguous."""
    planes = audio[None] if audio.ndim == 1 else audio.T
    if planes.ndim != 2 or planes.shape[0] not in (1, 2) or planes.shape[1] == 0:
        raise InputError(f"{path}: expected audio of shape (n,), (n, 1) or (n, 2) with n > 0, got {audio.shape}")
    if not np.isfinite(planes).all():
        raise InputError(f"{path}: the audio contains NaN or Inf")
    if audio_rate_hz <= 0:
        raise InputError(f"{path}: the sample rate must be positive, got {audio_rate_hz} Hz")
    return np.ascontiguousarray(planes, np.float32)


def _encode(
    partial: Path,
    first: np.ndarray,
    images: Iterator[np.ndarray],
    frame_rate: Fraction,
    planes: np.ndarray | None,
    audio_rate_hz: int,
    crf: int,
    metadata: Mapping[str, str],
) -> int:
    """Encode both streams in step, so that the muxer does not buffer either."""
    import av

    with av.open(f"file:{partial}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update(metadata)
        video = _video_stream(container, first, frame_rate, crf)
        feed = _audio_stream(container, planes, audio_rate_hz) if planes is not None else None
        count = 0
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = count, 1 / frame_rate
            container.mux(video.encode(frame))
            count += 1
            if feed is not None:
                feed(int(count / frame_rate * audio_rate_hz))
        container.mux(video.encode(None))
        if feed is not None:
            feed(None)
    return count


def _video_stream(container: Any, first: np.ndarray, frame_rate: Fraction, crf: int) -> Any:
    stream = container.add_stream("libx264", rate=frame_rate)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = 1 / frame_rate
    # for a reproducible file: one thread, and no macroblock tree (x264's reads uninitialized memory)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"preset": "veryfast", "crf": str(crf), "x264-params": "mbtree=0"}
    return stream


def _audio_stream(container: Any, planes: np.ndarray, audio_rate_hz: int) -> Callable[[int | None], None]:
    """A function that encodes the samples before index `stop`; None: the remaining samples and the end of stream."""
    import av

    layout = "mono" if len(planes) == 1 else "stereo"
    stream = container.add_stream("aac", rate=audio_rate_hz, layout=layout)
    stream.codec_context.time_base = Fraction(1, audio_rate_hz)
    stream.codec_context.options = {"aac_coder": "fast"}  # half the time, no audible difference at these sample rates
    written = 0

    def feed(stop: int | None) -> None:
        nonlocal written
        end = planes.shape[1] if stop is None else min(stop, planes.shape[1])
        if end > written:
            frame = av.AudioFrame.from_ndarray(planes[:, written:end].copy(), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = audio_rate_hz, written, Fraction(1, audio_rate_hz)
            container.mux(stream.encode(frame))
            written = end
        if stop is None:
            container.mux(stream.encode(None))

    return feed
