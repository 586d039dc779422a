"""Edit lists of any length, and audio tracks that are no audio: refused or named, and never a NaN in the features."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import av
import numpy as np
import pytest

import odd_media as odd
from avloc.config import ExtractConfig
from avloc.errors import MediaError
from avloc.features.folder import extract_all
from avloc.formats.features import load_features
from avloc.media.probe import probe

FAST = ExtractConfig(visual="appearance", audio="logmel")


def with_edits(content: bytes, count: int, large: bool = False, to_end: bool = False) -> bytes:
    """An mp4 whose moov is at its end, with this many edits in its first track.

    Args:
        large: the moov states its size in 64 bits. to_end: the moov states no size: it reaches to the end.
    """
    content = content.replace(b"edts", b"free")
    entries = struct.pack(">IiI", 1, 0, 0x10000) * count
    edits = struct.pack(">I4sI4sII", 24 + len(entries), b"edts", 16 + len(entries), b"elst", 0, count) + entries
    moov = content.index(b"moov") - 4
    trak = content.index(b"trak", moov) - 4
    end = trak + int.from_bytes(content[trak : trak + 4], "big")
    track = struct.pack(">I", end - trak + len(edits)) + content[trak + 4 : end] + edits
    inside = content[moov + 8 : trak] + track + content[end:]
    if large:
        return content[:moov] + struct.pack(">I4sQ", 1, b"moov", 16 + len(inside)) + inside
    return content[:moov] + struct.pack(">I4s", 0 if to_end else 8 + len(inside), b"moov") + inside


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return odd.write_video(tmp_path / "clip.mp4", odd.grey_frames(20))


@pytest.mark.parametrize("how", [{}, {"large": True}, {"to_end": True}], ids=["plain", "large", "to end"])
def test_an_absurd_edit_list_is_refused_unopened(clip: Path, how: dict[str, bool]) -> None:
    """ffmpeg takes 6 s each time that it opens a file with a million."""
    content = clip.read_bytes()
    clip.write_bytes(with_edits(content, 100, **how))
    assert probe(clip).width == 64
    clip.write_bytes(with_edits(content, 1_000_000, **how))
    began = time.process_time()
    with pytest.raises(MediaError, match=r"clip\.mp4: expected at most 20000 edits of a track, got 1000000"):
        probe(clip)
    assert time.process_time() - began < 1


def test_a_named_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="got a pipe or a device"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38], ids=str)
def test_audio_without_numbers_is_named(tmp_path: Path, value: float) -> None:
    sound = np.zeros((1, 16_000), np.float32)
    sound[:, 4_000:12_000] = value
    video = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(10), sound=sound, sound_codec="pcm_f32le")
    summary = extract_all([video], tmp_path / "out", FAST)
    assert "NaN, infinite or far beyond full scale: 8000" in summary.notes["a"]
    features = load_features(tmp_path / "out" / "a.safetensors")
    assert features.audio is not None
    assert np.isfinite(features.audio).all()


def frames(rates: list[int], layouts: list[str]) -> list[av.AudioFrame]:
    made = []
    for rate, layout in zip(rates, layouts, strict=True):
        shape = (1, rate // 2 * {"mono": 1, "stereo": 2, "5.1": 6}[layout])
        frame = av.AudioFrame.from_ndarray(np.full(shape, 1000, np.int16), format="s16", layout=layout)
        frame.sample_rate = rate
        made.append(frame)
    return made


def test_rates_and_channels_that_change() -> None:
    """As in joined transport streams."""
    from fractions import Fraction

    from avloc.media.sound import SoundTrack

    track = SoundTrack(8_000, Fraction(0), Fraction(2))
    blocks = []
    for k, frame in enumerate(frames([8_000, 48_000, 16_000, 44_100], ["mono", "5.1", "stereo", "mono"])):
        frame.pts, frame.time_base = k, Fraction(1, 2)
        blocks += list(track.push(frame))
    blocks += list(track.finish())
    heard = np.concatenate([block.samples for block in blocks])
    assert len(heard) == pytest.approx(16_000, abs=20)
    assert heard[100:15_900].mean() == pytest.approx(1000 / 32768, rel=0.02)


@pytest.mark.parametrize("rate", [50, 16_000_000])
def test_rates_that_no_audio_has(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.mkv"
    odd.write_video(path, odd.grey_frames(20), sound=np.zeros((1, 32_000), np.float32))
    content = path.read_bytes()
    old = b"\xb5\x88" + struct.pack(">d", 16_000)  # SamplingFrequency
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, b"\xb5\x88" + struct.pack(">d", rate)))
    began = time.process_time()
    summary = extract_all([path], tmp_path / "out", FAST)
    assert time.process_time() - began < 10
    assert "invalid audio" in summary.notes["a"]


@pytest.mark.parametrize("channels", [0, 255])
def test_channels_that_no_audio_has(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.mkv"
    odd.write_video(path, odd.grey_frames(20), sound=np.zeros((2, 32_000), np.float32), layout="stereo")
    content = path.read_bytes()
    assert content.count(b"\x9f\x81\x02") == 1
    path.write_bytes(content.replace(b"\x9f\x81\x02", b"\x9f\x81" + bytes([channels])))
    summary = extract_all([path], tmp_path / "out", FAST)
    assert summary.done or summary.failures
