"""Cut clips out of videos: re-encoded at exact times, or copied from the preceding key frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avloc.errors import InputError, MediaError
from avloc.media.clock import stamp
from avloc.media.container import opened_before, packets
from avloc.media.decode import Picture, decode
from avloc.media.encode import SMALL_AUDIO_HZ, small_video, write_video
from avloc.media.find import known_suffix
from avloc.media.sound import Sound
from avloc.mediafile import Media
from avloc.system.atomic import atomic_path
from avloc.system.text import safe_name
from avloc.types import Detection, exact

CUTS = ("encode", "copy")


def clip_stem(number: int, video: str, detection: Detection) -> str:
    """File name of a detection's clip without suffix, such as 0001_barking_0.913_dog."""
    return safe_name(f"{number:04d}_{detection.label[:40]}_{detection.score:.3f}_{video[:60]}")


def cut_detection(
    media: Media, detection: Detection, folder: Path, stem: str, margin_s: float, cut: str
) -> tuple[str, float, float]:
    """Cut one detection into `folder`.

    Args:
        stem: file name without suffix (`clip_stem`).
        margin_s: seconds added before and after, within the video.
        cut: "encode" as `encode_clip`, "copy" as `copy_clip`.

    Returns:
        The file name, and start and end of the clip in seconds of the video.

    Raises:
        InputError: the detection lies after the end of the file, or the file cannot be written. MediaError: as those.
    """
    start_s, end_s = max(0.0, detection.start_s - margin_s), min(media.duration_s, detection.end_s + margin_s)
    if end_s <= start_s:
        raise InputError(
            f"{media.video_id}: {detection.label!r} at {detection.start_s:.3f} s is after the end of {media.path}"
        )
    suffix = known_suffix(media.path) if cut == "copy" else ".mp4"
    name = stem + suffix
    if cut == "copy":
        start_s = copy_clip(media, start_s, end_s, folder / name)
    else:
        encode_clip(media, start_s, end_s, folder / name)
    return name, start_s, end_s


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


def _frames(
    media: Media, start_s: Fraction, end_s: Fraction, rate: Fraction, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """RGB frames shown at start_s + k / rate, for all k up to end_s."""
    empty = True
    for item in decode(media, frame_rate=rate, frame_size=size, start_s=start_s, stop_s=end_s):
        if isinstance(item, Picture):
            empty = False
            yield item.rgb
    if empty:
        raise MediaError(f"{media.path}: no frame between {float(start_s):.3f} and {float(end_s):.3f} s can be decoded")


def _sound(media: Media, start_s: Fraction, end_s: Fraction) -> np.ndarray:
    """(n,) mono samples of [start_s, end_s), zero-padded."""
    blocks = decode(media, audio_rate_hz=SMALL_AUDIO_HZ, start_s=start_s, stop_s=end_s)
    parts = [block.samples for block in blocks if isinstance(block, Sound)]
    samples = np.concatenate([np.zeros(0, np.float32), *parts])
    return np.pad(samples, (0, max(0, round((end_s - start_s) * SMALL_AUDIO_HZ) - len(samples))))


def copy_clip(media: Media, start_s: float, end_s: float, path: Path) -> float:
    """Copy the packets of [start_s, end_s) without re-encoding, from the key frame at or before start_s.

    Returns:
        Start of the clip in the video, in seconds.

    Raises:
        MediaError: the container does not support the streams, or there is nothing to copy.
    """
    start, end = Fraction(start_s) + media.clock.origin_s, Fraction(end_s) + media.clock.origin_s
    began: Fraction | None = None  # on the file's clock
    try:
        with opened_before(media, Fraction(start_s)) as (source, video, sounds, at_start), atomic_path(path) as part:
            streams = [video, *sounds]
            form = source.format.name.split(",")[0]
            with av.open(f"file:{part}", "w", format="mp4" if form == "mov" else form) as target:
                outputs = {s.index: target.add_stream_from_template(s) for s in streams}
                read = packets(source, streams, steps=media.clock.steps if at_start else ())
                kept = _from_key_frame(_with_dts(read), video.index, start, end)
                for packet in kept:
                    began = stamp(packet) if began is None else began
                    assert began is not None
                    assert packet.pts is not None
                    assert packet.dts is not None
                    shift = round(began / Fraction(packet.time_base))
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = outputs[packet.stream_index]
                    target.mux(packet)
            if began is None:
                raise MediaError(f"{media.path}: no key frame at {start_s:.3f} s; use --cut encode")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{media.path}: its streams cannot be copied ({error}); use --cut encode") from error
    return float(began - media.clock.origin_s)


def _with_dts(read: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """Packets with both stamps. matroska states no decoding time for the first frames: they come before the stated."""
    waiting: dict[int, list[av.Packet]] = {}
    known: set[int] = set()
    for packet in read:
        stream = packet.stream_index
        if packet.pts is None or not packet.time_base:
            continue
        if packet.dts is None and stream not in known:
            waiting.setdefault(stream, []).append(packet)
            continue
        if packet.dts is None:
            continue
        known.add(stream)
        early = waiting.pop(stream, [])
        for place, before in enumerate(early):
            before.dts = packet.dts - (len(early) - place) * max(1, packet.duration or 1)
            yield before
        yield packet


def _from_key_frame(read: Iterable[av.Packet], video: int, start_s: Fraction, end_s: Fraction) -> Iterator[av.Packet]:
    """Packets from the last key frame of the video at or before a time on the file's clock, up to another time.

    Packets before the key frame are buffered only as far as the key frame before.
    """
    held: list[av.Packet] = []
    began: Fraction | None = None
    settled = False
    for packet in read:
        at = stamp(packet)
        assert at is not None
        assert packet.dts is not None
        is_video = packet.stream_index == video
        if is_video and packet.dts * Fraction(packet.time_base) >= end_s + 1:
            break
        if is_video and packet.is_keyframe and (began is None or at <= start_s):
            held, began = [], at
        settled = settled or (is_video and at > start_s)
        if began is None or at < began or at >= end_s:
            continue
        held.append(packet)
        if settled:
            yield from held
            held = []
    yield from held
