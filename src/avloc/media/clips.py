"""Cut clips out of videos: re-encoded at the exact times, or copied from the key frame before."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import InputError, MediaError
from avloc.system.isolate_child import heartbeat
from avloc.types import Media, exact

__all__ = ["copy_clip", "encode_clip"]


_SOUND_HZ = 24_000

_SIDE = 480


def encode_clip(media: Media, start_s: float, end_s: float, path: Path) -> None:
    """Cut [start_s, end_s) into an H.264 mp4 that begins and ends at the frame; reads from the key frame before.

    Raises:
        MediaError: nothing in it can be decoded. InputError: it lies outside the video, or cannot be written.
    """
    from avloc.media.encode import write_video

    if not 0 <= start_s < min(end_s, media.duration_s):
        raise InputError(f"{media.path}: expected a part of its {media.duration_s:.3f} s, got {start_s} to {end_s} s")
    # as decimals: the binary neighbour below a frame's time would show the frame before
    start, end = exact(round(start_s, 6)), exact(round(end_s, 6))
    rate = min(media.frame_rate, Fraction(30))
    sound = _sound(media, start, end) if media.has_audio else None
    write_video(path, _frames(media, start, end, rate), rate, sound, _SOUND_HZ)


def _open_at(media: Media, container: Any, stream: Any, start_s: Fraction) -> Fraction:
    """Seeks before `start_s`; returns the file's own time of the first picture."""
    from avloc.media.clock import stamp
    from avloc.media.container import choose_streams, first_frame, open_container

    with open_container(media.path) as first:
        frame = first_frame(first, choose_streams(first, media.path)[0])
    origin_s = (stamp(frame) if frame is not None else None) or Fraction(0)
    if start_s > 1:
        import av

        try:
            container.seek(int((origin_s + start_s) / Fraction(stream.time_base or 1)), stream=stream, backward=True)
        except (av.FFmpegError, OverflowError):  # no index: read from the start
            container.seek(0)
    return origin_s


def _frames(media: Media, start_s: Fraction, end_s: Fraction, rate: Fraction) -> Iterator[np.ndarray]:
    """The frame shown at start_s + k / rate, for all k before end_s; RGB, upright, of even size."""
    import av

    from avloc.media.clock import stamp
    from avloc.media.container import choose_streams, convertible, decoded, open_container, packets
    from avloc.media.probe import rotation_ccw_deg

    scale = min(1.0, _SIDE / max(1, min(media.width, media.height)))
    height, width = (max(2, int(side * scale) // 2 * 2) for side in (media.height, media.width))
    shown = None
    count = 0
    with open_container(media.path) as container:
        stream, _ = choose_streams(container, media.path)
        origin_s = _open_at(media, container, stream, start_s)
        ignore = lambda error: None  # noqa: E731
        for packet in [*_until(packets(container, [stream], ignore), origin_s + end_s), None]:
            heartbeat()
            for frame in decoded(stream, packet, ignore):
                if not isinstance(frame, av.VideoFrame):
                    continue
                time_s = (stamp(frame) or Fraction(0)) - origin_s
                while shown is not None and start_s + count / rate < min(time_s, end_s):
                    yield shown
                    count += 1
                turn = rotation_ccw_deg(frame)
                size = (width, height) if turn % 180 == 0 else (height, width)
                if time_s < end_s:
                    with convertible(media.path, frame):
                        small = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
                    shown = np.ascontiguousarray(np.rot90(small, turn // 90))
    if shown is None:
        raise MediaError(f"{media.path}: no frame between {float(start_s):.3f} and {float(end_s):.3f} s can be decoded")
    while start_s + count / rate < end_s:
        yield shown
        count += 1


def _until(found: Iterator[Any], end_s: Fraction) -> Iterator[Any]:
    """Packets up to a second after `end_s`: what is shown before may be decoded after."""
    from avloc.media.clock import stamp

    for packet in found:
        at = stamp(packet)
        if at is not None and at > end_s + 1:
            return
        yield packet


def _sound(media: Media, start_s: Fraction, end_s: Fraction) -> np.ndarray | None:
    """(n,) mono samples of [start_s, end_s), zeros where there are none."""
    import av

    from avloc.media.container import choose_streams, decoded, open_container, packets
    from avloc.media.sound import SoundTrack

    parts: list[np.ndarray] = []
    with open_container(media.path) as container:
        video, audio = choose_streams(container, media.path)
        if audio is None:
            return None
        origin_s = _open_at(media, container, video, start_s)
        track = SoundTrack(_SOUND_HZ, origin_s + start_s, end_s - start_s)
        ignore = lambda error: None  # noqa: E731
        for packet in [*_until(packets(container, [audio], ignore), origin_s + end_s), None]:
            for frame in decoded(audio, packet, ignore):
                if isinstance(frame, av.AudioFrame):
                    parts += [block.samples for block in track.push(frame)]
        parts += [block.samples for block in track.finish()]
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return np.pad(samples, (0, max(0, round((end_s - start_s) * _SOUND_HZ) - len(samples)))).astype(np.float32)


def copy_clip(media: Media, start_s: float, end_s: float, path: Path) -> float:
    """Copy the packets of [start_s, end_s) without encoding; the clip begins at the key frame at or before start_s.

    Returns:
        Where it begins, in seconds of the video.

    Raises:
        MediaError: the container cannot hold the streams, or there is nothing to copy.
    """
    import av

    from avloc.media.clock import stamp
    from avloc.media.container import choose_streams, open_container, packets
    from avloc.system.atomic import atomic_path

    began: Fraction | None = None
    try:
        with open_container(media.path) as source, atomic_path(path) as part:
            video, audio = choose_streams(source, media.path)
            origin_s = _open_at(media, source, video, Fraction(start_s))
            streams = [video] if audio is None else [video, audio]
            form = source.format.name.split(",")[0]
            with av.open(f"file:{part}", "w", format="mp4" if form == "mov" else form) as target:
                outputs = {s.index: target.add_stream_from_template(s) for s in streams}
                for packet in packets(source, streams, lambda error: None):
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
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{media.path}: its streams cannot be copied ({error}); use --cut encode") from error
    if began is None:
        raise MediaError(f"{media.path}: no key frame at {start_s:.3f} s; use --cut encode")
    return max(0.0, float(began - origin_s))
