"""Previews of a video file for the report page: thumbnails, a waveform, and a proxy for browsers.

One decoding pass gives thumbnails and waveform. In videos longer than ten minutes, thumbnails are key frames found by
seeking, except in joined recordings.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.errors import AvlocError, InputError, MediaError
from avloc.media.container import can_seek, choose_streams, first_frame, open_container, seek_key_frame
from avloc.media.decode import Picture, decode, frames, sound_blocks
from avloc.media.encode import SMALL_AUDIO_HZ, small_video, write_video
from avloc.media.extent import PADDING_S
from avloc.media.frames import upright_rgb
from avloc.mediafile import Media
from avloc.system.isolate_child import heartbeat

COLUMNS = 10
"""Thumbnails per row; a sheet has at least one full row."""

_HEIGHT = 54
_MAX_COUNT = 120
_SEEK_ABOVE_S = 600.0
_WAVE_HZ = 8000
_CONTAINERS = {".mp4", ".m4v", ".mov", ".webm", ".mkv"}
_VIDEO_CODECS = {"h264", "vp8", "vp9", "av1"}
_AUDIO_CODECS = {"aac", "mp3", "mp3float", "opus", "vorbis", "flac", "pcm_s16le"}


@dataclass(frozen=True)
class ThumbnailSheet:
    """A JPEG of `count` thumbnails of width x height pixels, COLUMNS per row, `step_s` seconds apart."""

    jpeg: bytes
    count: int
    width: int
    height: int
    step_s: float


@dataclass(frozen=True)
class Preview:
    """Thumbnails and waveform of a video.

    Args:
        waveform: (n,) peak amplitude of n equal intervals, 255 is full scale; None without audio.
        sheet: None if no frame could be decoded.
        problem: reason for missing parts, else empty.
    """

    waveform: UInt8[np.ndarray, " n"] | None = None
    sheet: ThumbnailSheet | None = None
    problem: str = ""


def make_preview(media: Media) -> Preview:
    """Thumbnails and waveform of a video. Does not raise: parts that cannot be decoded are missing, see `problem`."""
    count = max(COLUMNS, min(_MAX_COUNT, round(media.duration_s)))
    width = max(16, min(160, round(_HEIGHT * media.width / max(1, media.height) / 2) * 2))
    step_s = media.duration_s / count
    wave = _Wave(media.duration_s)
    images: list[np.ndarray] = []
    sheet, problem = None, ""
    try:
        if media.duration_s > _SEEK_ABOVE_S and can_seek(media.clock):
            images = _key_frames(media, count, (_HEIGHT, width))
            wave.take_all(media)
        else:
            images = _pass(media, step_s, (_HEIGHT, width), wave)
        if images:
            images += [images[-1]] * (count - len(images))
            sheet = ThumbnailSheet(_sheet(images[:count]), count, width, _HEIGHT, step_s)
    except AvlocError as error:
        problem = str(error)
    return Preview(wave.bytes() if media.has_audio else None, sheet, problem)


class _Wave:
    """Peak amplitudes of audio blocks; memory use does not depend on the length."""

    def __init__(self, duration_s: float) -> None:
        count = max(200, min(8000, round(duration_s * 20)))
        self.peaks = np.zeros(count)
        self.scale = count / duration_s / _WAVE_HZ  # samples -> intervals

    def take(self, first_sample: int, samples: Float32[np.ndarray, " n"]) -> None:
        places = ((first_sample + np.arange(len(samples))) * self.scale).astype(int)
        np.maximum.at(self.peaks, np.minimum(places, len(self.peaks) - 1), np.abs(samples))

    def take_all(self, media: Media) -> None:
        at = 0
        for block in sound_blocks(media, _WAVE_HZ):
            self.take(at, block)
            at += len(block)

    def bytes(self) -> UInt8[np.ndarray, " n"]:
        return np.rint(np.clip(self.peaks, 0, 1) * 255).astype(np.uint8)


def _pass(media: Media, step_s: float, size: tuple[int, int], wave: _Wave) -> list[np.ndarray]:
    """The frame in the middle of each step, and the waveform, in one decoding pass."""
    images = []
    rate = 2 / Fraction(step_s).limit_denominator(10_000)
    for item in decode(media, frame_rate=rate, frame_size=size, audio_rate_hz=_WAVE_HZ):
        if isinstance(item, Picture):
            if round(item.time_s * rate) % 2:
                images.append(item.rgb)
        else:
            wave.take(round(item.time_s * _WAVE_HZ), item.samples)
    return images


def _key_frames(media: Media, count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """The key frame before the middle of each step, found by seeking."""
    images: list[np.ndarray] = []
    with open_container(media.path) as container:
        stream, _ = choose_streams(container, media.path, media.streams)
        for k in range(count):
            heartbeat()
            time_s = media.clock.origin_s + Fraction(media.duration_s) * (2 * k + 1) / (2 * count)
            key_s = seek_key_frame(container, stream, time_s)
            frame = first_frame(container, stream, key_s) if key_s is not None else None
            if frame is not None:
                images.append(upright_rgb(media.path, frame, size))
            elif images:
                images.append(images[-1])
    return images


def require_pillow() -> None:
    """Call before long work that ends with a page. Raises InputError if pillow is not installed."""
    if find_spec("PIL") is None:
        raise InputError("thumbnails need pillow: pip install 'avloc[report]'")


def _sheet(images: list[np.ndarray]) -> bytes:
    require_pillow()
    from PIL import Image

    height, width = images[0].shape[:2]
    rows = -(-len(images) // COLUMNS)
    sheet = np.zeros((rows * height, COLUMNS * width, 3), np.uint8)
    for k, image in enumerate(images):
        top, left = k // COLUMNS * height, k % COLUMNS * width
        sheet[top : top + height, left : left + width] = image
    target = io.BytesIO()
    Image.fromarray(sheet).save(target, "JPEG", quality=72, optimize=True)
    return target.getvalue()


def plays_in_browsers(media: Media) -> bool:
    """Whether current browsers play it on our clock: H.264 (8 bit 4:2:0), VP8, VP9 or AV1 in mp4, mov, webm or mkv.

    They play the first stream of each kind: excluded are files of which others are used, files whose clock starts late
    or anew (see `extent`), which browsers place elsewhere, and HEVC, which some browsers show as black frames without
    reporting an error.
    """
    if media.clock.steps or media.clock.origin_s > PADDING_S:
        return False
    video, _, audio = media.codec.partition("+")
    if media.streams.video not in (None, 1) or media.streams.audio not in (None, 1):
        return False
    if media.path.suffix.lower() not in _CONTAINERS or video not in _VIDEO_CODECS:
        return False
    if media.has_audio and audio not in _AUDIO_CODECS:
        return False
    return video != "h264" or _pixel_format(media) in ("yuv420p", "yuvj420p")


def _pixel_format(media: Media) -> str:
    with open_container(media.path) as container:
        return str(choose_streams(container, media.path, media.streams)[0].codec_context.pix_fmt)


def make_proxy(media: Media, path: Path) -> bool:
    """Write an H.264 + AAC mp4 that browsers play, at most 480 pixels on the short side and 30 fps, on the same clock.

    Returns:
        False if `path` is already a proxy of this file, else True.

    Raises:
        MediaError: the video cannot be decoded. InputError: the file cannot be written.
    """
    origin = _origin(media)
    if _comment(path) == origin:
        return False
    rate, size = small_video(media)
    blocks = list(sound_blocks(media, SMALL_AUDIO_HZ)) if media.has_audio else []
    sound = np.concatenate(blocks) if blocks else None
    images = (rgb for _, rgb in frames(media, rate, size))
    write_video(path, images, rate, sound, SMALL_AUDIO_HZ, crf=26, metadata={"comment": origin})
    return True


def _origin(media: Media) -> str:
    """Fingerprint of a file and its streams: proxies are numbered, and the number may have been another video's."""
    facts = media.path.stat()
    words = f"{media.path.resolve()} {facts.st_size} {facts.st_mtime_ns} {media.streams}"
    return "avloc proxy " + hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()[:32]


def _comment(path: Path) -> str | None:
    try:
        with open_container(path) as container:
            return container.metadata.get("comment")
    except MediaError:
        return None
