"""Unusual media files, written with PyAV, as phones, cameras, browsers and broken downloads produce them.

Frames are grey, or white as a flash; audio is silent except for clicks. Times are in seconds. Two backbones at the end
return simple statistics of their input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.stream
import numpy as np
import pytest

GREY, WHITE = 60, 255


def grey_frames(count: int, width: int = 64, height: int = 48, white: Sequence[int] = ()) -> list[np.ndarray]:
    """`count` RGB frames, white at the indices in `white`."""
    return [np.full((height, width, 3), WHITE if i in white else GREY, np.uint8) for i in range(count)]


def noise_frames(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """`count` RGB frames of noise, which compress evenly: a share of the file is the same share of its time."""
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def clicks(length_s: float, rate_hz: int, at_s: Sequence[float], channels: int = 1) -> np.ndarray:
    """(channels, n) float32: silence with a click of 10 ms at each time of `at_s`."""
    sound = np.zeros((channels, round(length_s * rate_hz)), np.float32)
    for time in at_s:
        start = round(time * rate_hz)
        sound[:, start : start + rate_hz // 100] = 0.8
    return sound


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    rate: Fraction | int = 10,
    times_s: Sequence[Fraction] | None = None,
    codec: str = "mpeg4",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation_deg: int | None = None,
    aspect: Fraction | None = None,
    picture_start_s: Fraction = Fraction(0),
    sound: np.ndarray | None = None,
    sound_rate_hz: int = 16000,
    sound_codec: str = "pcm_s16le",
    sound_start_s: Fraction = Fraction(0),
    layout: str = "mono",
    sound_options: dict[str, str] | None = None,
    spoil_sound: bool = False,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video file.

    Args:
        times_s: presentation time of each frame, for variable frame rates; regular by default.
        rotation_deg: counter-clockwise rotation, written as a display matrix.
        aspect: width / height of a pixel.
        picture_start_s, sound_start_s: start of each stream on the file's clock.
        sound: (channels, n) float32.
        spoil_sound: replace the content of each encoded audio packet with zeros.
        container: ffmpeg's name of the container; by default of the file's suffix.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        video = output.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, "rgb8" if codec == "gif" else pixel_format
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        video.codec_context.thread_count = 1  # more threads, or x264's macroblock tree, make files irreproducible
        if codec in ("libx264", "h264"):
            video.codec_context.options = {"x264-params": "mbtree=0", **(options or {})}
        video.codec_context.time_base = Fraction(1, 1000) if times_s is not None else Fraction(1, rate)
        if rotation_deg is not None:
            if not hasattr(video, "set_display_rotation"):
                pytest.skip("PyAV before 18 writes no display matrix")
            video.set_display_rotation(rotation_deg)
        audio = None
        if sound is not None:
            audio = output.add_stream(sound_codec, rate=sound_rate_hz, layout=layout, options=sound_options or {})
        packets = list(_encode_pictures(video, pictures, rate, times_s, picture_start_s))
        if audio is not None and sound is not None:
            heard = _encode_sound(audio, sound, sound_rate_hz, layout, sound_start_s)
            packets += [_spoilt(packet) for packet in heard] if spoil_sound else heard
        packets.sort(key=lambda packet: packet.dts * Fraction(packet.time_base))
        for packet in packets:
            output.mux(packet)
    return path


def _encode_pictures(video, pictures, rate, times_s, start_s):
    base = Fraction(1, 1000) if times_s is not None else Fraction(1, rate)
    for i, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        time = start_s + (times_s[i] if times_s is not None else Fraction(i, rate))
        frame.pts, frame.time_base = round(time / base), base
        yield from video.encode(frame)
    yield from video.encode()


def sound_frames(sound, rate_hz, start_s, layout="mono"):
    """The audio as float frames of 1024 samples, with time stamps from `start_s`."""
    for start in range(0, sound.shape[1], 1024):
        block = np.ascontiguousarray(sound[:, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = start + round(start_s * rate_hz)
        yield frame


def _encode_sound(audio, sound, rate_hz, layout, start_s):
    resampler = av.AudioResampler(format=audio.codec_context.format.name, layout=layout, rate=rate_hz)
    encoded = []
    for frame in sound_frames(sound, rate_hz, start_s, layout):
        for ready in resampler.resample(frame):
            encoded += audio.encode(ready)
    return encoded + audio.encode()


def _spoilt(packet):
    spoilt = av.Packet(bytes(packet.size))
    spoilt.pts, spoilt.dts, spoilt.duration = packet.pts, packet.dts, packet.duration
    spoilt.time_base, spoilt.stream = packet.time_base, packet.stream
    return spoilt


@dataclass(frozen=True)
class Track:
    """One stream of a file: frames or (1, n) audio.

    Args:
        flags: names of `av.stream.Disposition`.
        spoilt: as `spoil_sound` of `write_video`.
    """

    frames: Sequence[np.ndarray] = ()
    sound: np.ndarray | None = None
    codec: str = "mpeg4"
    flags: tuple[str, ...] = ()
    rate: int = 10
    start_s: Fraction = Fraction(0)
    title: str = ""
    spoilt: bool = False


def write_tracks(path: Path, *tracks: Track) -> Path:
    """Write a file of any number of streams; in mkv exactly these flags."""
    with av.open(str(path), "w", options={"default_mode": "passthrough"} if path.suffix == ".mkv" else {}) as container:
        streams = []
        for track in tracks:
            layout = {} if track.sound is None else {"layout": "mono"}
            stream = container.add_stream(track.codec, rate=track.rate, **layout)
            if track.sound is None:
                stream.height, stream.width = track.frames[0].shape[:2]
                stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(track.codec, "yuv420p")
                stream.codec_context.time_base = Fraction(1, track.rate)
            for flag in track.flags:
                stream.disposition |= av.stream.Disposition[flag]
            if track.title:
                stream.metadata["title"] = track.title
            streams.append(stream)
        packets = []
        for track, stream in zip(tracks, streams, strict=True):
            if track.sound is None:
                packets += _encode_pictures(stream, track.frames, track.rate, None, track.start_s)
            else:
                heard = _encode_sound(stream, track.sound, track.rate, "mono", track.start_s)
                packets += [_spoilt(packet) for packet in heard] if track.spoilt else heard
        for packet in sorted(packets, key=lambda packet: packet.dts * Fraction(packet.time_base)):
            container.mux(packet)
    return path


def write_sound_only(path: Path, sound: np.ndarray, rate_hz: int = 16000) -> Path:
    """Write a file with an audio stream and no video."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac" if path.suffix == ".m4a" else "pcm_s16le", rate=rate_hz, layout="mono")
        for packet in _encode_sound(audio, sound, rate_hz, "mono", Fraction(0)):
            container.mux(packet)
    return path


def cut(source: Path, target: Path, keep: float) -> Path:
    """The first part of a file, as after an interrupted download."""
    data = source.read_bytes()
    target.write_bytes(data[: round(len(data) * keep)])
    return target


def overwrite(source: Path, target: Path, start: float, stop: float) -> Path:
    """A copy with noise from `start` to `stop` (fractions of its length)."""
    data = bytearray(source.read_bytes())
    first, last = round(len(data) * start), round(len(data) * stop)
    data[first:last] = np.random.default_rng(0).integers(0, 256, last - first, np.uint8).tobytes()
    target.write_bytes(data)
    return target


class Brightness:
    """A backbone that returns the brightness of each frame of the snippet."""

    name, modality, licence = "brightness", "visual", "none"
    weights: str | None = None
    frame_rate: Fraction | None = None
    frame_size: tuple[int, int] | int = (12, 16)

    def __init__(self, frames_per_snippet: int = 4) -> None:
        self.frames_per_snippet: int | None = frames_per_snippet
        self.size = frames_per_snippet

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch.mean(axis=(2, 3, 4), dtype=np.float32)


class Loudness:
    """A backbone that returns the peak, its time in the window in seconds, and the mean square."""

    name, modality, licence = "loudness", "audio", "none"
    weights: str | None = None
    size = 3
    rate_hz = 16000

    def __init__(self, window_s: Fraction | None = None) -> None:
        self.window_s = window_s

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        loud = np.abs(batch)
        onset = (loud > 0.3).argmax(axis=1) / self.rate_hz
        return np.stack([loud.max(axis=1), onset, (batch**2).mean(axis=1)], axis=1).astype(np.float32)
