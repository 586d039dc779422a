"""One clock per file: joined recordings, time 0, long audio, wrong headers, and what seeks or cuts by it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import avloc.media.previews
import odd_media as odd
from avloc.errors import MediaError
from avloc.features.video import extract_features
from avloc.media.clips import copy_clip, encode_clip
from avloc.media.complete import is_complete
from avloc.media.decode import DecodeReport, Picture, decode
from avloc.media.frames import frame_times
from avloc.media.previews import make_preview, make_proxy, plays_in_browsers
from avloc.media.probe import probe
from avloc.media.sound import Sound
from avloc.mediafile import Media
from odd_media import Brightness, Loudness

F = Fraction
TS = {"codec": "libx264", "options": {"g": "10"}, "sound_codec": "mp2", "sound_rate_hz": 44100}
PS = {"codec": "mpeg2video", "options": {"g": "12"}, "rate": 25, "sound_codec": "mp2", "sound_rate_hz": 44100}
WEB = {"codec": "libvpx", "options": {"g": "10"}, "sound_codec": "libopus", "sound_rate_hz": 48000}
MP4 = {"codec": "libx264", "options": {"g": "10"}, "sound_codec": "aac", "sound_rate_hz": 48000}


def record(path: Path, flash_s: float, form: dict, start_s: float = 0, audio_start_s: float | None = None) -> bytes:
    """A recording of 3 s, with a flash of 0.2 s and a click `flash_s` after the start of each stream."""
    rate = form.get("rate", 10)
    white = range(round(flash_s * rate), round((flash_s + 0.2) * rate))
    sound = odd.clicks(3, form["sound_rate_hz"], [flash_s])
    begin = F(str(start_s if audio_start_s is None else audio_start_s))
    pictures = odd.grey_frames(3 * rate, white=white)
    odd.write_video(path, pictures, sound=sound, picture_start_s=F(str(start_s)), sound_start_s=begin, **form)
    return path.read_bytes()


def join(path: Path, *parts: bytes) -> Media:
    path.write_bytes(b"".join(parts))
    return probe(path)


def seen_and_heard(media: Media, report: DecodeReport | None = None) -> tuple[list[float], list[float]]:
    """Onsets of the flashes, at 20 samples per second, and of the clicks."""
    bright, blocks = [False], [np.zeros(1, np.float32)]
    for item in decode(media, frame_rate=20, frame_size=16, audio_rate_hz=16000, report=report):
        if isinstance(item, Picture):
            bright.append(bool(item.rgb.mean() > 150))
        elif isinstance(item, Sound):
            blocks.append(item.samples)
    flashes = np.flatnonzero(np.diff(np.array(bright).astype(int)) == 1) / 20
    loud = np.flatnonzero(np.abs(np.concatenate(blocks)[1:]) > 0.3) / 16000
    clicks = [float(at) for k, at in enumerate(loud) if k == 0 or at - loud[k - 1] > 0.1]
    return [float(at) for at in flashes], clicks


def assert_at(media: Media, times_s: Sequence[float], sounds_s: Sequence[float] | None = None) -> None:
    flashes, clicks = seen_and_heard(media)
    assert flashes == pytest.approx(list(times_s), abs=0.051)
    assert clicks == pytest.approx(list(times_s if sounds_s is None else sounds_s), abs=0.05)


@pytest.mark.parametrize(
    ("suffix", "form", "starts_s"),
    [
        ("ts", TS, (0, 0)),
        ("ts", TS, (0, 100)),  # forward
        ("ts", TS, (100, 0)),
        ("ts", TS, (0, 2, 2, 0)),  # back by less than a recording
        ("mpg", PS, (0, 0)),
        ("mpg", PS, (0, 100)),  # the last frame of the first gets the presentation stamp of the second
        ("webm", WEB, (0, 0)),
        ("mkv", MP4, (0, 0)),
    ],
)
def test_joined_recordings_go_on(tmp_path: Path, suffix: str, form: dict, starts_s: Sequence[float]) -> None:
    flash_s = [1.4, 2.4, 0.4, 1.4][: len(starts_s)]
    parts = [record(tmp_path / f"{k}.{suffix}", flash_s[k], form, start) for k, start in enumerate(starts_s)]
    media = join(tmp_path / f"joined.{suffix}", *parts)
    count = len(starts_s)
    assert media.duration_s == pytest.approx(3 * count, abs=0.05)
    times_s = [3 * k + flash for k, flash in enumerate(flash_s)]
    report = DecodeReport()
    flashes, clicks = seen_and_heard(media, report)
    assert flashes == pytest.approx(times_s, abs=0.051)
    assert clicks == pytest.approx(times_s, abs=0.05)
    assert report.describe() == "none"
    assert f"{count} recordings joined" in report.notes()

    shown_s = frame_times(media)
    assert np.allclose(np.diff(shown_s), 1 / form.get("rate", 10), atol=0.02)
    features = extract_features(media, Brightness(), Loudness())
    assert features.visual is not None
    assert features.audio is not None
    for time_s in times_s:
        assert features.visual[int(time_s)].max() > 150
        assert features.audio[int(time_s), 1] == pytest.approx(time_s % 1, abs=0.05)
    encode_clip(media, times_s[1] - 0.5, times_s[1] + 0.5, tmp_path / "clip.mp4")
    assert_at(probe(tmp_path / "clip.mp4"), [0.5])
    assert not plays_in_browsers(media)


def test_at_a_join_no_audio_is_lost_and_both_streams_move_together(tmp_path: Path) -> None:
    first = record(tmp_path / "a.ts", 1.4, TS)
    early = record(tmp_path / "b.ts", 2.0, TS, start_s=2, audio_start_s=1)
    media = join(tmp_path / "joined.ts", first, early)
    assert_at(media, [1.4, 3 + 1 + 2], [1.4, 3 + 2])
    assert media.duration_s == pytest.approx(7.0, abs=0.05)


def test_a_recording_with_other_pids_continues_the_streams(tmp_path: Path) -> None:
    first = record(tmp_path / "a.ts", 1.4, TS)
    other = record(tmp_path / "b.ts", 0.4, {**TS, "container_options": {"mpegts_start_pid": "500"}})
    media = join(tmp_path / "joined.ts", first, other, first)
    assert_at(media, [1.4, 3.4, 7.4])
    assert media.duration_s == pytest.approx(9, abs=0.05)


def test_streams_that_begin_in_mid_file_are_said(tmp_path: Path) -> None:
    program = {"mpegts_start_pid": "500", "mpegts_pmt_start_pid": "600"}
    first, other = record(tmp_path / "a.ts", 1.4, TS), tmp_path / "b.ts"
    media = join(tmp_path / "joined.ts", first, record(other, 0.4, {**TS, "container_options": program}))
    report = DecodeReport()
    assert seen_and_heard(media, report)[0] == pytest.approx([1.4], abs=0.051)
    assert "streams that begin in mid-file are left out" in report.describe()


@pytest.mark.parametrize("key_frames", ["10", "100"])  # three fragments per recording, and one
def test_joined_fragmented_mp4s_go_on(tmp_path: Path, key_frames: str) -> None:
    options = {"g": key_frames, "bf": "0", "sc_threshold": "0"}
    form = {**MP4, "options": options, "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
    parts = [record(tmp_path / f"{k}.mp4", flash, form) for k, flash in enumerate((1.4, 0.4, 2.4))]
    media = join(tmp_path / "joined.mp4", *parts)
    assert_at(media, [1.42, 3.44, 8.46])  # each part has 0.02 s of padding before its audio
    assert media.duration_s == pytest.approx(9.06, abs=0.05)
    assert len(frame_times(media)) == 90


def test_a_fragment_stored_twice_is_shown_once(tmp_path: Path) -> None:
    form = {**MP4, "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
    data = record(tmp_path / "a.mp4", 1.4, form)
    starts = [at - 4 for at in range(len(data)) if data[at : at + 4] == b"moof"]
    media = join(tmp_path / "twice.mp4", data[: starts[2]], data[starts[1] : starts[2]], data[starts[2] :])
    assert media.duration_s == probe(tmp_path / "a.mp4").duration_s
    assert seen_and_heard(media) == seen_and_heard(probe(tmp_path / "a.mp4"))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.flv", "flv")])
def test_a_recording_that_ffmpeg_does_not_reach_is_said(tmp_path: Path, name: str, codec: str) -> None:
    form = {"codec": codec, "sound_codec": "aac", "sound_rate_hz": 44100}
    first = record(tmp_path / name, 1.4, form)
    assert probe(tmp_path / name).note == ""
    media = join(tmp_path / f"joined_{name}", first, first)
    assert f"another recording begins at byte {len(first)}" in media.note


def test_streams_that_overlap_by_different_amounts_stay_together(tmp_path: Path) -> None:
    first = record(tmp_path / "a.ts", 1.4, TS)
    overlapping = record(tmp_path / "b.ts", 0.4, TS, start_s=3)  # the clock of the first has a lead of 0.2 s
    media = join(tmp_path / "joined.ts", first, overlapping)
    assert media.clock.joins == 0
    assert_at(media, [1.4, 3 - 0.2 + 0.4])


def patch_stamp(data: bytes, number: int, time_s: float) -> bytes:
    """Overwrite both time stamps of a PES packet of the first video stream of a transport stream."""
    changed, seen = bytearray(data), -1
    for at in range(0, len(changed), 188):
        if (changed[at + 1] & 31) << 8 | changed[at + 2] != 256 or not changed[at + 1] & 0x40:
            continue
        seen += 1
        if seen == number:
            head = at + 4 + (1 + changed[at + 4] if changed[at + 3] & 0x20 else 0)
            both = changed[head + 7] >> 6 == 3
            ticks = round(time_s * 90000)
            for place, mark in ((9, 3), (14, 1)) if both else ((9, 2),):
                changed[head + place : head + place + 5] = bytes(
                    [
                        mark << 4 | (ticks >> 30 & 7) << 1 | 1,
                        *(ticks >> 22 & 255, (ticks >> 15 & 127) << 1 | 1),
                        *(ticks >> 7 & 255, (ticks & 127) << 1 | 1),
                    ]
                )
    return bytes(changed)


@pytest.mark.parametrize(("number", "time_s"), [(20, 500), (20, 5), (20, 0.1), (29, 500), (0, 500)])
def test_one_wrong_stamp_is_not_a_join(tmp_path: Path, number: int, time_s: float) -> None:
    whole = record(tmp_path / "a.ts", 1.4, TS)
    media = join(tmp_path / "wrong.ts", patch_stamp(whole, number, time_s))
    assert media.duration_s == pytest.approx(3.0, abs=0.15)
    assert media.clock.joins == 0
    assert_at(media, [1.4])


@pytest.mark.parametrize(("name", "audio"), [("a.ts", "mp2"), ("a.mkv", "mp2"), ("a.mp4", "aac"), ("b.mp4", "")])
def test_a_real_gap_stays(tmp_path: Path, name: str, audio: str) -> None:
    times_s = [F(0), F(15), F(16), F(40), F(41)]
    sound = odd.clicks(42, 44100, [15, 40]) if audio else None
    path = tmp_path / name
    form = {"codec": "libx264", "options": {"g": "1"}, "sound_codec": audio or "aac", "sound_rate_hz": 44100}
    media = probe(odd.write_video(path, odd.grey_frames(5, white=[1, 3]), times_s=times_s, sound=sound, **form))
    assert_at(media, [15, 40], None if audio else [])
    assert frame_times(media) == pytest.approx([0, 15, 16, 40, 41], abs=0.03)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts"])
def test_time_0_is_the_start_of_the_file(tmp_path: Path, suffix: str) -> None:
    form = {**{"ts": TS, "webm": WEB}.get(suffix, MP4), "rate": 25}
    record(tmp_path / f"late.{suffix}", 1.4, form, start_s=0.8, audio_start_s=0)
    media = probe(tmp_path / f"late.{suffix}")
    assert_at(media, [2.2], [1.4])
    assert frame_times(media)[0] == pytest.approx(0.8, abs=0.02)
    assert media.duration_s == pytest.approx(3.8, abs=0.03)
    first = next(item for item in decode(media, frame_rate=10) if isinstance(item, Picture))
    assert first.time_s == 0  # the first frame is held backwards
    encode_clip(media, 2.0, 3.0, tmp_path / "clip.mp4")
    assert_at(probe(tmp_path / "clip.mp4"), [0.2], [])
    make_proxy(media, tmp_path / "proxy.mp4")
    assert_at(probe(tmp_path / "proxy.mp4"), [2.2], [1.4])


def test_the_clock_of_a_browser_is_that_of_the_file(tmp_path: Path) -> None:
    """Measured with Chromium: it counts mp4, mkv and webm on the file's clock, also when both streams start late."""
    for name, form in (("a.mp4", MP4), ("a.mkv", MP4), ("a.webm", WEB)):
        record(tmp_path / name, 1.4, form, start_s=2)
        assert_at(probe(tmp_path / name), [3.4])
    record(tmp_path / "live.mkv", 1.4, MP4, start_s=3600)  # a live stream's clock
    media = probe(tmp_path / "live.mkv")
    assert media.duration_s == pytest.approx(3.0, abs=0.05)
    assert not plays_in_browsers(media)


@pytest.mark.parametrize(("name", "form"), [("a.mp4", MP4), ("a.webm", WEB), ("a.ts", TS)])
def test_audio_after_the_last_frame_is_kept(tmp_path: Path, name: str, form: dict) -> None:
    sound = odd.clicks(9, form["sound_rate_hz"], [1.4, 7.5])
    path = odd.write_video(tmp_path / name, odd.grey_frames(30, white=[14, 15, 29]), sound=sound, **form)
    media = probe(path)
    report = DecodeReport()
    flashes, clicks = seen_and_heard(media, report)
    assert media.duration_s == pytest.approx(9.0, abs=0.05)
    assert flashes == pytest.approx([1.4, 2.9], abs=0.051)
    assert clicks == pytest.approx([1.4, 7.5], abs=0.05)
    assert not report.truncated
    assert report.describe() == "none"
    assert "the last frame is held" in report.notes()
    features = extract_features(media, Brightness(), Loudness())
    assert features.visual is not None
    assert features.grid.count == 9
    assert features.visual[8].min() > 150
    assert features.source.details["damage"] == "none"
    assert "held" in features.source.details["notes"]


def lie(data: bytes, suffix: str, factor: int) -> bytes:
    """Multiply the duration in the header of an mkv or mp4."""
    changed = bytearray(data)
    if suffix == "mkv":
        at = data.index(b"\x44\x89\x88") + 3
        changed[at : at + 8] = struct.pack(">d", struct.unpack(">d", data[at : at + 8])[0] * factor)
        return bytes(changed)
    for box, place in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = data.find(box)
        while at >= 0:
            field = slice(at + place, at + place + 4)
            changed[field] = struct.pack(">I", struct.unpack(">I", data[field])[0] * factor)
            at = data.find(box, at + 4)
    return bytes(changed)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_header_that_states_ten_times_the_length_is_noted(tmp_path: Path, suffix: str) -> None:
    whole = record(tmp_path / f"a.{suffix}", 1.4, MP4)
    media = join(tmp_path / f"lies.{suffix}", lie(whole, suffix, 10))
    assert media.duration_s == pytest.approx(3.0, abs=0.05)
    report = DecodeReport()
    assert seen_and_heard(media, report)[0] == pytest.approx([1.4], abs=0.051)
    assert report.describe() == "none"
    if suffix == "mkv":  # in an mp4, ffmpeg itself finds the length in the index
        assert report.notes() == "its header states 30.2 s, the file is complete with 3.0 s"
        with pytest.raises(MediaError, match="at least half is needed"):
            seen_and_heard(join(tmp_path / f"cut.{suffix}", lie(whole, suffix, 10)[: len(whole) * 3 // 4]))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.flv"])
def test_complete_files_and_cut_ones(tmp_path: Path, name: str) -> None:
    form = {**MP4, "codec": "mpeg4", "sound_codec": "mp2"} if name == "a.avi" else {**MP4, "sound_rate_hz": 44100}
    whole = record(tmp_path / name, 1.4, form)
    kind = {"mkv": "matroska,webm", "mp4": "mov,mp4"}.get(name[2:], name[2:])
    assert is_complete(tmp_path / name, kind)
    middle = len(whole) - 10 if name == "a.flv" else len(whole) // 2  # between two tags an flv could end
    for size in (len(whole) - 1, middle, 3, 0):
        (tmp_path / name).write_bytes(whole[:size])
        assert not is_complete(tmp_path / name, kind)


def test_rates_are_those_of_the_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.dv"), "w") as container:
        stream = container.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        for image in odd.grey_frames(5, 720, 576):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    media = probe(tmp_path / "a.dv")
    assert media.frame_rate == 25  # ffmpeg's average is 60000, the unit of the stamps
    assert not media.rate_assumed

    with av.open(str(tmp_path / "a.mjpeg"), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for image in odd.grey_frames(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    media = probe(tmp_path / "a.mjpeg")
    assert (media.frame_rate, media.rate_assumed) == (25, True)
    report = DecodeReport()
    assert len(list(decode(media, frame_rate=25, report=report))) == 5
    assert "25 fps is assumed" in report.notes()
    bare = odd.write_video(tmp_path / "a.h264", odd.grey_frames(20), codec="libx264")
    assert (probe(bare).frame_rate, probe(bare).rate_assumed) == (10, False)


def test_clips_of_a_transport_stream_show_the_right_frame(tmp_path: Path) -> None:
    """A seek ends between key frames."""
    white = [*range(55, 57), *range(84, 86)]
    form = {**TS, "options": {"g": "20", "sc_threshold": "0"}}
    path = odd.write_video(
        tmp_path / "a.ts", odd.grey_frames(120, white=white), sound=odd.clicks(12, 44100, [5.5, 8.4]), **form
    )
    media = probe(path)
    for start_s, at_s in ((5.0, 0.5), (8.0, 0.4), (8.3, 0.1), (3.9, 1.6)):
        encode_clip(media, start_s, start_s + 2, tmp_path / "clip.mp4")
        assert_at(probe(tmp_path / "clip.mp4"), [at_s])
    began_s = copy_clip(media, 8.3, 9.3, tmp_path / "copy.ts")
    assert began_s == pytest.approx(8.0, abs=0.01)
    assert_at(probe(tmp_path / "copy.ts"), [0.4])


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_copied_clips_begin_at_the_key_frame_before(tmp_path: Path, suffix: str) -> None:
    """matroska states no decoding time for the key frame after a seek."""
    record(tmp_path / f"a.{suffix}", 2.4, {**MP4, "options": {"g": "10", "bf": "3"}})
    media = probe(tmp_path / f"a.{suffix}")
    for start_s, key_s in ((0.0, 0), (2.0, 2), (2.3, 2), (1.9, 1)):
        began_s = copy_clip(media, start_s, 3.0, tmp_path / f"copy.{suffix}")
        assert began_s == pytest.approx(key_s, abs=0.03)
        assert_at(probe(tmp_path / f"copy.{suffix}"), [2.4 - key_s])


def test_clips_and_proxies_of_a_variable_rate_show_frames_at_their_time(tmp_path: Path) -> None:
    times_s = [F(0), F(3), F("3.2"), F(5), F("5.4"), F("8.4"), F("8.6")]
    path = odd.write_video(
        tmp_path / "a.mp4", odd.grey_frames(7, white=[1, 5]), codec="libx264", times_s=times_s, options={"g": "3"}
    )
    media = probe(path)
    encode_clip(media, 2.0, 3.5, tmp_path / "clip.mp4")
    assert_at(probe(tmp_path / "clip.mp4"), [1.0], [])
    make_proxy(media, tmp_path / "proxy.mp4")
    assert_at(probe(tmp_path / "proxy.mp4"), [3.0, 8.4], [])


@pytest.mark.parametrize("name", ["a.ts", "b.mkv", "joined.ts"])
def test_thumbnails_by_seeking_agree_with_those_of_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pictures = [np.full((48, 64, 3), 20 + 2 * k, np.uint8) for k in range(100)]
    form = {"codec": "libx264", "options": {"g": "5", "bf": "2"}}
    path = odd.write_video(tmp_path / name, pictures, **form)
    if name == "joined.ts":
        path.write_bytes(path.read_bytes() * 2)
    media = probe(path)
    shown: list[list[float]] = []
    monkeypatch.setattr(avloc.media.previews, "_sheet", lambda images: shown.append([i.mean() for i in images]) or b"")
    make_preview(media)
    monkeypatch.setattr(avloc.media.previews, "_SEEK_ABOVE_S", 0.0)
    make_preview(media)
    early = np.array(shown[0]) - np.array(shown[1])
    assert early.min() >= -3
    assert early.max() <= 2 * 5 + 3  # at most a group of pictures before
