"""Features of whole files: grid, windows, missing audio, damaged files, memory, and real clips."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import odd_media as odd
from avloc.errors import InputError, MediaError
from avloc.features.video import extract_features
from avloc.media.find import find_media
from avloc.media.probe import probe
from odd_media import Brightness, Loudness
from test_media import RATE_HZ, F, sound_of

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "real" / "clips"


def test_short_sound_ends_early_and_its_snippets_are_silent(tmp_path: Path) -> None:
    path = odd.write_video(tmp_path / "short.mkv", odd.grey_frames(40), sound=odd.clicks(1.5, RATE_HZ, [0.2]))
    assert len(sound_of(path)) == 1.5 * RATE_HZ
    features = extract_features(probe(path), None, Loudness())
    assert features.audio is not None
    assert features.audio[:, 0].tolist() == pytest.approx([0.8, 0, 0, 0], abs=0.01)


def test_silence_keeps_its_features_and_no_sound_has_none(tmp_path: Path) -> None:
    silent = odd.write_video(tmp_path / "silent.mkv", odd.grey_frames(20), sound=np.zeros((1, 2 * RATE_HZ)))
    features = extract_features(probe(silent), Brightness(), Loudness())
    assert features.audio is not None
    assert not features.audio[:, 0].any()
    mute = odd.write_video(tmp_path / "mute.mkv", odd.grey_frames(20))
    features = extract_features(probe(mute), Brightness(), Loudness())
    assert features.audio is None
    assert features.source.absent_because["audio"] == "no sound stream"
    with pytest.raises(MediaError, match=r"mute\.mkv: expected audio, the file has no audio stream"):
        extract_features(probe(mute), None, Loudness())
    with pytest.raises(InputError, match="nothing to extract"):
        extract_features(probe(mute), None, None)


def test_sound_that_cannot_be_decoded_is_said(tmp_path: Path) -> None:
    path = odd.write_video(
        tmp_path / "spoilt.mkv",
        odd.grey_frames(20),
        sound=odd.clicks(2, RATE_HZ, [1]),
        sound_codec="flac",
        spoil_sound=True,
    )
    features = extract_features(probe(path), Brightness(), Loudness())
    assert features.audio is None
    assert features.visual is not None
    assert features.source.absent_because["audio"].startswith("the sound stream cannot be decoded (")
    assert "damaged sound packets" in features.source.details["damage"]
    with pytest.raises(MediaError, match=r"spoilt\.mkv: expected audio"):
        extract_features(probe(path), None, Loudness())


def test_a_third_of_a_second_is_one_snippet(tmp_path: Path) -> None:
    path = odd.write_video(tmp_path / "blink.mkv", odd.grey_frames(3, white=[2]), sound=odd.clicks(0.3, RATE_HZ, [0.2]))
    features = extract_features(probe(path), Brightness(10), Loudness())
    assert features.grid.count == 1
    assert features.visual is not None
    assert (features.visual[0] > 150).tolist() == [False, False] + [True] * 8  # the last frame is repeated
    assert features.audio is not None
    assert features.audio[0, 1] == pytest.approx(0.2, abs=0.001)


def test_windows_are_centred_on_their_snippets(tmp_path: Path) -> None:
    path = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(40), sound=odd.clicks(4, RATE_HZ, [0.05, 2.5]))
    wide = extract_features(probe(path), None, Loudness(F(2)), batch_snippets=3).audio
    assert wide is not None
    # the window of snippet i is [i - 0.5, i + 1.5)
    assert (wide[:, 0] > 0.5).tolist() == [True, False, True, True]
    assert wide[:, 1] == pytest.approx([0.55, 0.0, 1.0, 0.0], abs=0.001)
    narrow = extract_features(probe(path), None, Loudness(F(1, 5)), batch_snippets=3).audio
    assert narrow is not None
    assert (narrow[:, 0] > 0.5).tolist() == [False, False, True, False]
    assert narrow[2, 1] == pytest.approx(0.1, abs=0.001)


def test_batches_and_steps_do_not_change_what_a_snippet_sees(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 4 * i, np.uint8) for i in range(53)]
    sound = np.random.default_rng(0).normal(0, 0.1, (1, round(5.3 * RATE_HZ)))
    path = odd.write_video(tmp_path / "a.mkv", pictures, sound=sound)
    for step_s in (1, F(16, 25)):
        one = extract_features(probe(path), Brightness(), Loudness(), step_s, batch_snippets=1)
        many = extract_features(probe(path), Brightness(), Loudness(), step_s, batch_snippets=64)
        assert one.visual is not None
        assert one.audio is not None
        assert len(one.visual) == {1: 5, F(16, 25): 8}[step_s]
        np.testing.assert_array_equal(one.visual, many.visual)
        np.testing.assert_array_equal(one.audio, many.audio)
        heard = sound_of(path)
        first, stop = (round(time * RATE_HZ) for time in one.grid.window(3))
        assert one.audio[3, 2] == pytest.approx((heard[first:stop] ** 2).mean(), rel=1e-4)


def test_a_truncated_file_yields_what_is_there(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 10 * RATE_HZ))
    for whole in (
        odd.write_video(tmp_path / "whole.mkv", odd.noise_frames(100), sound=sound),
        odd.write_video(
            tmp_path / "whole.mp4",
            odd.noise_frames(100),
            container_options={"movflags": "faststart"},
            options={"g": "5"},
        ),
    ):
        most = probe(odd.cut(whole, tmp_path / f"most{whole.suffix}", 0.7))
        assert most.duration_s == pytest.approx(10.0)
        features = extract_features(most, Brightness(), Loudness())
        assert features.duration_s == pytest.approx(7.0, abs=0.5)
        assert features.grid.count == 7
        assert "picture ends at" in features.source.details["damage"]
        little = probe(odd.cut(whole, tmp_path / f"little{whole.suffix}", 0.3))
        with pytest.raises(MediaError, match=r"little.*only [23]\.\d s of the promised 10\.0 s"):
            extract_features(little, Brightness(), None)


MEMORY = """
import sys
from odd_media import Brightness, Loudness
from avloc.features.video import extract_features
from avloc.media.probe import probe
features = extract_features(probe(sys.argv[1]), Brightness(1), Loudness())
peak_kib = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(features.grid.count, int(peak_kib) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's memory from Linux's /proc")
def test_twenty_minutes_need_no_more_memory_than_one(tmp_path: Path) -> None:
    peaks = {}
    for length_s in (60, 1200):
        path = odd.write_video(
            tmp_path / f"{length_s}.mkv",
            odd.grey_frames(length_s, 32, 32),
            rate=1,
            sound=np.zeros((1, 8000 * length_s), np.float32),
            sound_rate_hz=8000,
            sound_codec="pcm_u8",
        )
        run = [sys.executable, "-c", MEMORY, str(path)]
        printed = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
        count, peaks[length_s] = map(int, printed.split())
        assert count == length_s
    assert peaks[1200] - peaks[60] < 12, peaks  # in MiB; the audio alone would add 73


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the real clips")
def test_real_clips() -> None:
    clips = find_media(CLIPS)
    assert len(clips) >= 12
    for path in clips:
        media = probe(path)
        features = extract_features(media, Brightness(), Loudness())
        assert features.visual is not None
        assert (features.audio is not None) == ("no_audio" not in path.name), path.name
        assert features.source.details["damage"] in ("none", "frames out of order: 1"), (
            path.name
        )  # avi with packed B-frames
        assert len({tuple(row) for row in features.visual.round(2)}) > features.grid.count / 2, path.name
    assert probe(CLIPS / "unav_60s.mp4").duration_s == pytest.approx(60.06)
    portrait = probe(CLIPS / "portrait_no_audio.mp4")
    assert (portrait.width, portrait.height) == (406, 720)
