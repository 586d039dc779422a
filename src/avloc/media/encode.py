"""Pictures and sound in, an mp4 that every player opens out: H.264 + AAC, yuv420p, index at the front.

Conventions
    Pictures are RGB uint8 (h, w, 3); sound is float32 in [-1, 1], (n,) mono or (n, 2) stereo. Frame k is shown at
    k / frame_rate seconds, sample k is heard at k / audio_rate_hz seconds: both streams start at 0.
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
from avloc.system.atomic import atomic_path
from avloc.types import Media

__all__ = ["SMALL_AUDIO_HZ", "small_video", "write_video"]

SMALL_AUDIO_HZ = 24_000
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
    """Writes an mp4, which appears whole or not at all.

    Args:
        path: the file to make; one that is there is replaced, a folder that is not there is made.
        frames: RGB pictures, all of one even size; read once, one at a time.
        frame_rate: frames per second, exact.
        audio: (n,) or (n, 1) mono or (n, 2) stereo, in [-1, 1]; beyond that it is clipped by whoever plays it.
            None: no sound stream.
        audio_rate_hz: samples per second; one that AAC knows (16000, 22050, 44100, 48000, ...).
        crf: quality of the picture, 0 (lossless) to 51 (worst).
        metadata: tags of the file, such as {"comment": "..."}.

    Returns:
        the number of frames written.

    Raises:
        InputError: no frame, odd or changing size, unusable sound, or a folder that cannot be written to.
        StorageError: the disk is full, read-only or gone. MediaError: the encoder failed.
    """
    import av

    path = Path(path)
    first, pictures = _peek(path, frames)
    sound = None if audio is None else _planar(path, audio, audio_rate_hz)
    if frame_rate <= 0:
        raise InputError(f"{path}: the frame rate must be positive, got {frame_rate}")
    with atomic_path(path) as part:
        try:
            return _encode(part, first, pictures, Fraction(frame_rate), sound, audio_rate_hz, crf, metadata or {})
        except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
            if isinstance(error, OSError):  # of the disk, not of the codec
                raise
            raise MediaError(f"{path}: the encoder failed: {error}; see whether `av` has libx264 and aac") from error


def small_video(media: Media) -> tuple[Fraction, tuple[int, int]]:
    """Frame rate and (h, w) of a clip or proxy: at most 30 fps and 480 pixels on the short side, both sides even."""
    scale = min(1.0, _SMALL_SIDE / max(1, min(media.height, media.width)))
    height, width = (max(2, 2 * math.floor(side * scale / 2)) for side in (media.height, media.width))
    return min(media.frame_rate, _SMALL_RATE), (height, width)


def _peek(path: Path, frames: Iterable[np.ndarray]) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """The first frame, for its size, and all frames, each checked as it passes."""
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
    """Samples as the encoder wants them: (channels, n), contiguous."""
    planes = audio[None] if audio.ndim == 1 else audio.T
    if planes.ndim != 2 or planes.shape[0] not in (1, 2) or planes.shape[1] == 0:
        raise InputError(f"{path}: expected sound of shape (n,), (n, 1) or (n, 2) with n > 0, got {audio.shape}")
    if not np.isfinite(planes).all():
        raise InputError(f"{path}: the sound has NaN or infinity in it")
    if audio_rate_hz <= 0:
        raise InputError(f"{path}: the sound's rate must be positive, got {audio_rate_hz} Hz")
    return np.ascontiguousarray(planes, np.float32)


def _encode(
    partial: Path,
    first: np.ndarray,
    pictures: Iterator[np.ndarray],
    frame_rate: Fraction,
    sound: np.ndarray | None,
    audio_rate_hz: int,
    crf: int,
    metadata: Mapping[str, str],
) -> int:
    """Encodes both streams side by side, so that the muxer need not hold one of them in memory."""
    import av

    with av.open(f"file:{partial}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update(metadata)
        video = _video_stream(container, first, frame_rate, crf)
        feed = _sound_stream(container, sound, audio_rate_hz) if sound is not None else None
        count = 0
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
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
    # one thread, and no look-ahead tree (x264's reads memory it has not set): the same input is the same file
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"preset": "veryfast", "crf": str(crf), "x264-params": "mbtree=0"}
    return stream


def _sound_stream(container: Any, sound: np.ndarray, audio_rate_hz: int) -> Callable[[int | None], None]:
    """A function that encodes the samples up to (not with) index `stop`; None: all that are left, and the end."""
    import av

    layout = "mono" if len(sound) == 1 else "stereo"
    stream = container.add_stream("aac", rate=audio_rate_hz, layout=layout)
    stream.codec_context.time_base = Fraction(1, audio_rate_hz)
    stream.codec_context.options = {"aac_coder": "fast"}  # half the time, no difference to hear at these rates
    written = 0

    def feed(stop: int | None) -> None:
        nonlocal written
        end = sound.shape[1] if stop is None else min(stop, sound.shape[1])
        if end > written:
            frame = av.AudioFrame.from_ndarray(sound[:, written:end].copy(), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = audio_rate_hz, written, Fraction(1, audio_rate_hz)
            container.mux(stream.encode(frame))
            written = end
        if stop is None:
            container.mux(stream.encode(None))

    return feed
