"""Video files, unusual ones included: properties from probe, times of frames and audio, effects of damage."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import avloc.media.decode
import odd_media as odd
from avloc.errors import InputError, MediaError
from avloc.features.video import extract_features
from avloc.media.clock import Clock, FrameStamps
from avloc.media.decode import DecodeReport, Picture, decode, frames, sound_blocks
from avloc.media.find import find_media, named_media
from avloc.media.probe import probe
from avloc.media.sound import SoundTrack
from odd_media import Brightness, Loudness

F = Fraction
RATE_HZ = 16000


def flash_times(path: Path, rate: int = 10) -> list[float]:
    return [float(time) for time, rgb in frames(probe(path), rate) if rgb.mean() > 150]


def sound_of(path: Path, rate_hz: int = RATE_HZ) -> np.ndarray:
    blocks = list(sound_blocks(probe(path), rate_hz))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def onset_s(sound: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    return float(np.flatnonzero(np.abs(sound) > 0.3)[0] / rate_hz)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mkv", {}),
        ("plain.mp4", {"sound_codec": "aac", "sound_rate_hz": 44100}),
        ("reordered.mp4", {"codec": "libx264", "options": {"bf": "3"}, "sound_codec": "aac"}),
        ("web.webm", {"codec": "libvpx", "sound_codec": "libopus", "sound_rate_hz": 48000}),
        ("telephone.mkv", {"sound_rate_hz": 8000}),
        ("camera.ts", {"codec": "libx264", "sound_codec": "mp2", "sound_rate_hz": 44100}),
        ("surround.mp4", {"sound_codec": "aac", "sound_rate_hz": 48000, "layout": "5.1"}),
        ("stereo.mov", {"sound_rate_hz": 44100, "layout": "stereo"}),
    ],
)
def test_flash_and_click_land_where_they_happened(tmp_path: Path, name: str, options: dict) -> None:
    channels = {"5.1": 6, "stereo": 2}.get(options.get("layout", ""), 1)
    sound = odd.clicks(4, options.get("sound_rate_hz", RATE_HZ), [2.5], channels)
    path = odd.write_video(tmp_path / name, odd.grey_frames(40, white=[25]), sound=sound, **options)
    media = probe(path)
    assert media.duration_s == pytest.approx(4.0, abs=0.025)  # encoders pad the audio
    assert media.frame_rate == 10
    assert (media.width, media.height, media.has_audio, media.audio_channels) == (64, 48, True, channels)
    assert flash_times(path) == [2.5]
    assert onset_s(sound_of(path)) == pytest.approx(2.5, abs=0.003)

    features = extract_features(media, Brightness(), Loudness())
    assert features.visual is not None
    assert features.audio is not None
    assert features.visual.argmax() == 2 * 4 + 2  # snippet 2, its third frame
    assert features.audio[:, 0].argmax() == 2
    assert features.audio[2, 1] == pytest.approx(0.5, abs=0.003)
    assert features.source.details["damage"] == "none"


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_audio_that_starts_late_or_early_or_ends_late_is_kept(tmp_path: Path, suffix: str) -> None:
    codec = {"mkv": "pcm_s16le", "mp4": "aac"}[suffix]
    pictures = odd.grey_frames(40, white=[25])
    late = odd.write_video(
        tmp_path / f"late.{suffix}",
        pictures,
        sound=odd.clicks(2, RATE_HZ, [1.5]),
        sound_codec=codec,
        sound_start_s=F(1),
    )
    assert onset_s(sound_of(late)) == pytest.approx(2.5, abs=0.003)
    assert np.abs(sound_of(late)[:RATE_HZ]).max() < 0.01

    early = odd.write_video(
        tmp_path / f"early.{suffix}",
        pictures,
        sound=odd.clicks(9, RATE_HZ, [0.5, 3.5]),
        sound_codec=codec,
        picture_start_s=F(1),
    )
    assert flash_times(early) == [3.5]
    assert onset_s(sound_of(early)) == pytest.approx(0.5, abs=0.003)
    assert len(sound_of(early)) == pytest.approx(9 * RATE_HZ, abs=1024)
    assert probe(early).duration_s == pytest.approx(9.0, abs=0.07)


def test_holes_in_the_sound_are_filled(tmp_path: Path) -> None:
    track = SoundTrack(RATE_HZ, F(0), F(10))
    blocks = []
    for start_s in (0, 3):
        for frame in odd.sound_frames(odd.clicks(1, RATE_HZ, [0.5]), RATE_HZ, F(start_s)):
            blocks += list(track.push(frame))
    blocks += list(track.finish())
    sound = np.concatenate([block.samples for block in blocks])
    edges = np.flatnonzero(np.diff((np.abs(sound) > 0.3).astype(int)) == 1) / RATE_HZ
    assert edges == pytest.approx([0.5, 3.5], abs=0.001)
    assert blocks[3].time_s == F(sum(len(block.samples) for block in blocks[:3]), RATE_HZ)


def test_without_soxr_the_sound_is_in_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = odd.clicks(4, 44100, [2.5])
    path = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(40), sound=sound, sound_rate_hz=44100)
    best = sound_of(path)
    monkeypatch.setitem(sys.modules, "soxr", None)
    plain = sound_of(path)
    assert abs(len(plain) - len(best)) <= 32
    assert onset_s(plain) == pytest.approx(onset_s(best), abs=0.001)


@pytest.mark.parametrize("name", ["screen.mkv", "screen.mp4"])
def test_variable_frame_rate_shows_the_last_frame_before_each_time(tmp_path: Path, name: str) -> None:
    times = [F(0), F(1, 10), F(2), F(5, 2), F(26, 10), F(39, 10)]
    path = odd.write_video(tmp_path / name, odd.grey_frames(6, white=[1, 3]), codec="libx264", times_s=times)
    shown = [round(time, 2) for time in flash_times(path, 20)]
    assert shown == [*[round(0.1 + 0.05 * k, 2) for k in range(38)], 2.5, 2.55]


def test_sampling_is_exact_whatever_the_rate(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 8 * i, np.uint8) for i in range(30)]
    path = odd.write_video(tmp_path / "a.mkv", pictures, rate=30, codec="libx264", options={"qp": "0"})
    for rate in (7, 30, 90):
        numbers = [round(rgb.mean() / 8) for _, rgb in frames(probe(path), rate)]
        assert len(numbers) == rate
        # a container with millisecond time stamps shifts frames by up to half a millisecond
        assert all(n in (k * 30 // rate, (k * 30 - 1) // rate) for k, n in enumerate(numbers))


def test_rotation_is_applied_and_told(tmp_path: Path) -> None:
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24, :48] = 255  # top left is white
    corners = {0: (0, 0), 90: (0, -1), 180: (-1, -1), 270: (-1, 0)}
    for clockwise, (row, column) in corners.items():
        path = odd.write_video(tmp_path / f"{clockwise}.mp4", [picture] * 5, rotation_deg=-clockwise)
        media = probe(path)
        assert media.rotation_deg == clockwise
        assert (media.width, media.height) == ((48, 96) if clockwise in (90, 270) else (96, 48))
        _, rgb = next(frames(media, 1))
        assert rgb.shape == (media.height, media.width, 3)
        assert rgb[row, column].mean() > 200
        assert rgb[-1 - row, -1 - column].mean() < 50
        _, small = next(frames(media, 1, 24))
        assert min(small.shape[:2]) == 24
    # the display matrix of a phone held upright, as in Apple's QuickTime format: a = d = 0, b = 1, c = -1
    phone = np.array([0, 1 << 16, 0, -(1 << 16), 0], ">i4").tobytes()
    assert phone in (tmp_path / "90.mp4").read_bytes()


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = odd.write_video(
        tmp_path / "wide.mkv", odd.grey_frames(5), codec="libx264", options={"x264-params": "sar=4/3"}
    )
    media = probe(path)
    assert (media.width, media.height) == (85, 48)


NOT_VIDEOS = {
    "missing.mp4": "no such file",
    "folder": "got a folder",
    "empty.mp4": "0 bytes",
    "notes.txt": "got text, an image",
    "notes.mp4": "ffmpeg cannot read this",
    "song.m4a": "no video stream",
    "song.wav": "no video stream",
    "no_moov.mp4": "moov atom",
}


@pytest.mark.parametrize(("name", "words"), NOT_VIDEOS.items())
def test_what_is_not_a_video_is_one_clear_line(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    for notes in ("notes.txt", "notes.mp4"):
        (tmp_path / notes).write_text("just words\n" * 99)
    if name.startswith("song"):
        odd.write_sound_only(tmp_path / name, odd.clicks(1, RATE_HZ, [0.5]))
    odd.cut(odd.write_video(tmp_path / "whole.mp4", odd.noise_frames(30)), tmp_path / "no_moov.mp4", 0.7)
    with pytest.raises(MediaError) as caught:
        probe(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name))
    assert words in message
    assert "expected" in message
    assert "\n" not in message


def test_noise_in_the_middle_costs_only_the_middle(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 10 * RATE_HZ))
    whole = odd.write_video(
        tmp_path / "whole.mp4", odd.noise_frames(100), sound=sound, sound_codec="aac", options={"g": "5"}
    )
    media = probe(odd.overwrite(whole, tmp_path / "noise.mp4", 0.4, 0.5))
    report = DecodeReport()
    pictures = [item for item in decode(media, frame_rate=10, report=report) if isinstance(item, Picture)]
    assert [picture.time_s for picture in pictures] == [F(k, 10) for k in range(100)]
    assert report.damaged["picture"] > 0
    original = [rgb for _, rgb in frames(probe(whole), 10)]
    for k in (0, 30, 70, 99):
        np.testing.assert_array_equal(pictures[k].rgb, original[k])
    features = extract_features(media, Brightness(), Loudness())
    assert features.grid.count == 10
    assert "damaged picture packets" in features.source.details["damage"]
    assert "damaged sound packets" in features.source.details["damage"]


def test_find_media(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.mp4", "a.MKV", "deep/er/c.webm", "deep/._c.webm", "notes.txt", "deep/d.vid"):
        (tmp_path / name).write_text("x")
    names = [path.name for path in find_media([tmp_path])]
    assert names == ["a.MKV", "b.mp4", "c.webm"]
    assert find_media([tmp_path, tmp_path / "b.mp4"]) == find_media(tmp_path)
    assert [path.name for path in find_media(str(tmp_path / "*"))] == names
    assert [path.name for path in find_media(str(tmp_path / "**" / "*.vid"))] == ["d.vid"]
    assert [path.name for path in find_media(tmp_path / "notes.txt")] == ["notes.txt"]
    with pytest.raises(InputError, match=r"nope\.mp4: no such file or folder; .* holds b\.mp4, a\.MKV"):
        find_media(tmp_path / "nope.mp4")
    with pytest.raises(InputError, match=r"no video in .*found instead: 1 \.txt"):
        find_media(str(tmp_path / "*.t*"))
    (tmp_path / "b.avi").write_text("x")
    with pytest.raises(InputError, match=r"b\.avi and .*b\.mp4 have the same name"):
        find_media(tmp_path)


def test_videos_of_one_name_are_called_by_their_folders_too(tmp_path: Path) -> None:
    for name in ("a/001.mp4", "b/001.mp4", "b/c/001.mp4", "b/002.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(named_media(tmp_path)) == {"a/001", "b/001", "b/c/001", "002"}
    assert set(named_media([tmp_path / "b/001.mp4", tmp_path / "b/c"])) == {"001", "c/001"}
    assert set(named_media(tmp_path / "a")) == {"001"}
    (tmp_path / "a/linked.mp4").symlink_to(tmp_path / "b/002.mp4")
    assert set(named_media(tmp_path / "a")) == {"001", "linked"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("live.mkv", "libx264", {"live": "1"}), ("bare.h264", "libx264", {}), ("a.gif", "gif", {})],
)
def test_a_file_that_states_no_length_is_measured(tmp_path: Path, name: str, codec: str, options: dict) -> None:
    path = odd.write_video(
        tmp_path / name, odd.grey_frames(40, white=[25]), codec=codec, options={"g": "10"}, container_options=options
    )
    media = probe(path)
    assert media.duration_s == pytest.approx(4.0, abs=0.001)
    assert flash_times(path) == [2.5]


def test_stamps_that_go_to_and_fro_give_way_to_those_that_go_on() -> None:
    stamps = FrameStamps()
    given = []
    for dts, pts in enumerate([1, 2, 4, 3, 5, 7, 6, 8, 10, 9], start=1):
        frame = av.VideoFrame(16, 16, "rgb24")
        frame.pts, frame.dts, frame.time_base = pts, dts, F(1, 25)
        given.append(stamps.of(frame))
    assert given == [F(n, 25) for n in (1, 2, 4, 4, 5, 6, 7, 8, 9, 10)]


@pytest.mark.parametrize("sample", ["u8", "s16", "s16p", "s32", "flt", "fltp", "dbl"])
def test_mono_is_the_mean_of_the_channels_at_full_scale(sample: str) -> None:
    sound = np.stack([np.full(1024, 0.5), np.full(1024, -0.25)])
    resampler = av.AudioResampler(format=sample, layout="stereo", rate=RATE_HZ)
    track = SoundTrack(RATE_HZ, F(0), F(1))
    blocks = []
    for frame in odd.sound_frames(sound, RATE_HZ, F(0), "stereo"):
        for ready in resampler.resample(frame):
            blocks += list(track.push(ready))
    blocks += list(track.finish())
    np.testing.assert_allclose(np.concatenate([block.samples for block in blocks]), 0.125, atol=0.004)


def test_recordings_joined_end_to_end_go_on() -> None:
    clock = Clock(F(10), F(100))
    assert clock.place(F(12), F(0)) == 2
    assert clock.place(F(500), F(3)) == 490  # an outlier after the end: the caller drops it
    assert clock.place(F(13), F(3)) == 3
    assert clock.place(F(0), F(4)) == 4  # fell back: continues from the previous time
    assert clock.place(F(1), F(5)) == 5
    assert clock.place(None, F(6)) == 6
    assert clock.jumps == 1


def test_a_jump_is_more_than_a_second_and_outliers_begin_at_the_limit() -> None:
    clock = Clock(F(10), F(100))
    assert clock.place(F(110), F(0)) == 100  # at the limit: not remembered
    assert clock.place(F(13), F(3)) == 3
    assert clock.place(F(12), F(4)) == 2  # back by exactly a second
    assert clock.jumps == 0
    assert clock.place(F(10), F(5)) == 5
    assert clock.jumps == 1


def test_frames_that_nobody_wants_are_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(60), rate=30, sound=odd.clicks(2, RATE_HZ, [1]))
    converted = []
    convert = avloc.media.decode._Sampler._convert
    monkeypatch.setattr(
        avloc.media.decode._Sampler, "_convert", lambda self, frame: converted.append(frame) or convert(self, frame)
    )
    assert len(list(frames(probe(path), 4))) == 8
    assert len(converted) == 8  # of 60
    converted.clear()
    extract_features(probe(path), None, Loudness())
    assert not converted
