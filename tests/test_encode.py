"""write_video: decoded frames and audio match the input in content and time; invalid input is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avloc.errors import InputError, MediaError
from avloc.media.encode import small_video, write_video
from avloc.mediafile import Media


def pictures(count=12, height=48, width=64):
    """A bright bar that moves with each frame, so that frames can be told apart."""
    for index in range(count):
        frame = np.full((height, width, 3), 30, np.uint8)
        frame[:, 4 * index : 4 * index + 8] = 220
        yield frame


def decoded(path):
    with av.open(str(path)) as container:
        frames = [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [f.to_ndarray() for f in container.decode(audio=0)] if container.streams.audio else []
    return frames, np.concatenate(sound, axis=1) if sound else None


@pytest.mark.parametrize("rate", [12, Fraction(30000, 1001), Fraction(25, 2)])
def test_pictures_come_back_in_number_and_time(tmp_path, rate):
    path = tmp_path / "clip.mp4"
    assert write_video(path, pictures(), rate) == 12
    frames, sound = decoded(path)
    assert sound is None
    assert len(frames) == 12
    for index, ((time_s, frame), given) in enumerate(zip(frames, pictures(), strict=True)):
        assert time_s == pytest.approx(float(index / Fraction(rate)), abs=1e-3)
        assert np.abs(frame.astype(int) - given).mean() < 6
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(float(12 / Fraction(rate)), abs=1e-3)


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, None), (22_050, 1), (44_100, 2)])
def test_sound_comes_back_in_place(tmp_path, rate_hz, channels):
    """A short tone in the middle is found at its time, within 5 ms."""
    path, count = tmp_path / "clip.mp4", rate_hz
    wave = np.zeros(count, np.float32)
    wave[count // 2 : count // 2 + 400] = 0.5 * np.sin(np.arange(400) * 0.3)
    audio = wave if channels is None else np.repeat(wave[:, None], channels, axis=1)
    write_video(path, pictures(), 12, audio, rate_hz, metadata={"comment": "made here"})
    _, sound = decoded(path)
    assert sound.shape[0] == (channels or 1)
    assert count <= sound.shape[1] < count + 1024
    power = np.cumsum(sound[0].astype(float) ** 2)
    middle = int(np.searchsorted(power, power[-1] / 2))
    assert abs(middle - (count // 2 + 200)) < 0.005 * rate_hz
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate) == ("aac", rate_hz)
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=2e-3)
        assert container.metadata["comment"] == "made here"


@pytest.mark.parametrize(
    ("width", "height", "rate", "expected"),
    [
        (1920, 1080, 60, (30, (480, 852))),
        (1080, 1920, 25, (25, (852, 480))),  # the short side is the width
        (321, 241, 12, (12, (240, 320))),
    ],
)
def test_small_videos_have_480_pixels_on_the_short_side_and_30_fps(width, height, rate, expected):
    media = Media(Path("v.mp4"), "v", 1.0, Fraction(rate), False, width, height)
    assert small_video(media) == expected


def test_the_index_is_at_the_front(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, pictures(), 12)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_same_input_same_file(tmp_path):
    audio = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, pictures(), 12, audio)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def mixed_sizes():
    yield from pictures(2)
    yield np.zeros((48, 62, 3), np.uint8)


ONE_SECOND = np.zeros(16_000, np.float32)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (list, {}, "at least one frame"),
        (lambda: pictures(height=47), {}, "even width and height, got 64x47"),
        (lambda: pictures(width=63), {}, "even width and height, got 63x48"),
        (mixed_sizes, {}, "frame 2 is uint8"),
        (pictures, {"frame_rate": 0}, "frame rate must be positive"),
        (pictures, {"audio": np.full(10, np.nan, np.float32)}, "NaN"),
        (pictures, {"audio": np.zeros((5, 3), np.float32)}, r"got \(5, 3\)"),
        (pictures, {"audio": np.zeros(0, np.float32)}, r"got \(0,\)"),
        (pictures, {"audio": ONE_SECOND, "audio_rate_hz": 0}, "positive, got 0 Hz"),
    ],
)
def test_unusable_input_is_refused_and_leaves_nothing(tmp_path, frames, options, message):
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / "clip.mp4", frames(), **{"frame_rate": 12, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_aac_does_not_know(tmp_path):
    with pytest.raises(MediaError, match="encoder failed"):
        write_video(tmp_path / "clip.mp4", pictures(), 12, ONE_SECOND, 12_345)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_made(tmp_path):
    write_video(tmp_path / "absent" / "clip.mp4", pictures(), 12)
    assert [p.name for p in (tmp_path / "absent").iterdir()] == ["clip.mp4"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*clip\.mp4.*choose a writable folder"):
        write_video(tmp_path / "file" / "clip.mp4", pictures(), 12)


def test_an_interrupted_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def stops():
        yield from pictures(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, stops(), 12)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
