"""Cut clips out of videos: re-encoded at exact times, or copied from the preceding key frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avloc.errors import InputError, MediaError
from avloc.media.clock import stamp
from avloc.media.container import choose_streams, decoded_frames, open_container, packets, seek
from avloc.media.encode import SMALL_AUDIO_HZ, small_video, write_video
from avloc.media.frames import first_frame_s, upright_rgb
from avloc.media.sound import SoundTrack
from avloc.system.atomic import atomic_path
from avloc.system.isolate_child import heartbeat
from avloc.types import Media, exact


def encode_clip(media: Media, start_s: float, end_s: float, path: Path) -> None:
    """Cut [start_s, end_s) into an H.264 mp4, exact to the frame; decoding starts at the preceding key frame.

    Raises:
        MediaError: no frame in it can be decoded. InputError: it is outside the video, or `path` is not writable.
    """
    if not 0 <= start_s < min(end_s, media.duration_s):
        raise InputError(f"{media.path}: expected a range within {media.duration_s:.3f} s, got {start_s} to {end_s} s")
    # as decimals: a float just below a frame's time would show the frame before it
    start, end = exact(round(start_s, 6)), exact(round(end_s, 6))
    rate, size = small_video(media)
    sound = _sound(media, start, end) if media.has_audio else None
    write_video(path, _frames(media, start, end, rate, size), rate, sound, SMALL_AUDIO_HZ)


def _seek(media: Media, container: Any, stream: Any, start_s: Fraction) -> Fraction:
    """Go to the key frame before `start_s`; returns the first frame's time on the file's clock."""
    origin_s = first_frame_s(media)
    # files without an index are read from the start
    if start_s > 1 and not (seek(container, stream, origin_s + start_s) or seek(container, stream, Fraction(0))):
        raise MediaError(f"{media.path}: cannot seek in this file to cut it; convert it to mp4")
    return origin_s


def _frames(
    media: Media, start_s: Fraction, end_s: Fraction, rate: Fraction, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """RGB frames shown at start_s + k / rate, for all k up to end_s."""
    shown = None
    count = 0
    with open_container(media.path) as container:
        stream, _ = choose_streams(container, media.path)
        origin_s = _seek(media, container, stream, start_s)
        for frame in decoded_frames(container, stream, origin_s + end_s):
            heartbeat()
            time_s = (stamp(frame) or Fraction(0)) - origin_s
            while shown is not None and start_s + count / rate < min(time_s, end_s):
                yield shown
                count += 1
            if time_s < end_s:
                shown = upright_rgb(media.path, frame, size)
    if shown is None:
        raise MediaError(f"{media.path}: no frame between {float(start_s):.3f} and {float(end_s):.3f} s can be decoded")
    while start_s + count / rate < end_s:
        yield shown
        count += 1


def _sound(media: Media, start_s: Fraction, end_s: Fraction) -> np.ndarray | None:
    """(n,) mono samples of [start_s, end_s), zero-padded; None without an audio stream."""
    with open_container(media.path) as container:
        video, audio = choose_streams(container, media.path)
        if audio is None:
            return None
        origin_s = _seek(media, container, video, start_s)
        track = SoundTrack(SMALL_AUDIO_HZ, origin_s + start_s, end_s - start_s)
        parts = [np.zeros(0, np.float32)]
        for frame in decoded_frames(container, audio, origin_s + end_s):
            with suppress(ValueError):  # a damaged frame
                parts += [block.samples for block in track.push(frame)]
        parts += [block.samples for block in track.finish()]
    samples = np.concatenate(parts)
    return np.pad(samples, (0, max(0, round((end_s - start_s) * SMALL_AUDIO_HZ) - len(samples))))


def copy_clip(media: Media, start_s: float, end_s: float, path: Path) -> float:
    """Copy the packets of [start_s, end_s) without re-encoding, from the key frame at or before start_s.

    Returns:
        Start of the clip in the video, in seconds.

    Raises:
        MediaError: the container does not support the streams, or there is nothing to copy.
    """
    began: Fraction | None = None  # on the file's clock
    try:
        with open_container(media.path) as source, atomic_path(path) as part:
            video, audio = choose_streams(source, media.path)
            origin_s = _seek(media, source, video, Fraction(start_s))
            streams = [video] if audio is None else [video, audio]
            form = source.format.name.split(",")[0]
            with av.open(f"file:{part}", "w", format="mp4" if form == "mov" else form) as target:
                outputs = {s.index: target.add_stream_from_template(s) for s in streams}
                for packet in packets(source, streams):
                    at = stamp(packet)
                    if at is None or packet.dts is None or packet.pts is None:
                        continue
                    is_video = packet.stream_index == video.index
                    if began is None and not (is_video and packet.is_keyframe):
                        continue
                    began = at if began is None else began
                    if at < began or at >= origin_s + Fraction(end_s):
                        if is_video and packet.dts * Fraction(packet.time_base) >= origin_s + Fraction(end_s):
                            break
                        continue
                    shift = round(began / Fraction(packet.time_base))
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = outputs[packet.stream_index]
                    target.mux(packet)
            if began is None or began >= origin_s + Fraction(end_s):
                raise MediaError(f"{media.path}: no key frame at {start_s:.3f} s; use --cut encode")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{media.path}: its streams cannot be copied ({error}); use --cut encode") from error
    return max(0.0, float(began - origin_s))
