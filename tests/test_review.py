"""Clips of detections for review: selection, start and end, errors."""

from __future__ import annotations

import csv

import av
import numpy as np
import pytest
import typer

from avloc.cli.console import Talk
from avloc.cli.look import cut_clips
from avloc.errors import InputError, MediaError
from avloc.formats.results import find_results
from avloc.media.clips import copy_clip, encode_clip
from avloc.media.decode import frames, sound_blocks
from avloc.media.probe import probe
from avloc.report.clips import choose, review
from avloc.types import Detection
from page_data import make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    make_world(home, count=2)
    return home


def test_which_are_chosen():
    found = {"v": [Detection(k, k + 1, "a", k / 10) for k in range(11)], "w": [Detection(0, 1, "b", 5.0)]}
    assert [round(d.score, 1) for _, d in choose(found, 2, "score")] == [1.0, 0.9, 5.0]
    assert [round(d.score, 1) for _, d in choose(found, 1, "uncertain")] == [0.5, 5.0]
    skewed = {"v": [Detection(0, 1, "a", score) for score in (0.0, 0.1, 0.15, 0.3, 0.55, 1.0)]}
    assert [d.score for _, d in choose(skewed, 2, "uncertain")] == [0.55, 0.3]  # the midpoint is 0.5, the mean 0.35
    assert choose(found, 3, "random", seed=1) == choose(found, 3, "random", seed=1)
    assert len(choose(found, None, "score")) == 12


def test_encoded_clips_begin_and_end_at_the_frame(world, tmp_path):
    """The brightness of a frame at second s is 20 + 18 s."""
    media = probe(world / "videos" / "dog.mp4")
    encode_clip(media, 5.3, 7.25, tmp_path / "c.mp4")
    clip = probe(tmp_path / "c.mp4")
    assert clip.duration_s == pytest.approx(1.95, abs=0.1)
    shown = [int(rgb.mean()) for _, rgb in frames(clip, 10)]
    expected = [20 + 18 * int(5.3 + k / 10 + 1e-6) for k in range(len(shown))]
    assert np.abs(np.array(shown) - expected).max() <= 3
    sound = np.concatenate(list(sound_blocks(clip, 8000)))
    assert len(sound) / 8000 == pytest.approx(clip.duration_s, abs=0.1)
    assert np.abs(sound[2000:12000]).max() > 0.3  # the tone sounds from 4 to 8 s


def test_a_time_just_below_a_frame_is_that_frame(world, tmp_path):
    encode_clip(probe(world / "videos" / "dog.mp4"), 6 - 1e-9, 7.0, tmp_path / "c.mp4")
    _, first = next(iter(frames(probe(tmp_path / "c.mp4"), 10)))
    assert first.mean() == pytest.approx(20 + 18 * 6, abs=3)


def test_sound_is_cut_where_the_picture_is(world, tmp_path):
    encode_clip(probe(world / "videos" / "dog.mp4"), 3.0, 5.0, tmp_path / "c.mp4")
    sound = np.concatenate(list(sound_blocks(probe(tmp_path / "c.mp4"), 8000)))
    loud = np.flatnonzero(np.abs(sound) > 0.1)
    assert loud[0] / 8000 == pytest.approx(1.0, abs=0.02)


def test_copied_clips_begin_at_a_key_frame_and_keep_the_packets(world, tmp_path):
    media = probe(world / "videos" / "dog.mp4")
    began_s = copy_clip(media, 5.0, 7.0, tmp_path / "c.mp4")
    assert began_s <= 5.0
    clip = probe(tmp_path / "c.mp4")
    assert clip.codec == media.codec
    assert clip.duration_s == pytest.approx(7.0 - began_s, abs=0.3)
    with av.open(str(tmp_path / "c.mp4")) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24").mean()
    assert first == pytest.approx(20 + 18 * int(began_s + 1e-6), abs=4)


def test_the_table_can_be_ticked(world, tmp_path):
    run = find_results(world / "ours").read()
    clips, failed = review(run, run.paths, tmp_path / "clips", per_class=1, margin_s=0.25)
    assert failed == {}
    with (tmp_path / "clips" / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(clips) == 2
    for row in rows:
        assert (tmp_path / "clips" / row["clip"]).is_file()
        assert "/" not in row["clip"]
        assert float(row["start_s"]) < float(row["end_s"])
        assert float(row["clip_start_s"]) == pytest.approx(max(0, float(row["start_s"]) - 0.25), abs=0.0011)
        assert float(row["clip_end_s"]) == pytest.approx(min(12, float(row["end_s"]) + 0.25), abs=0.0011)
        assert row["correct"] == ""


def test_what_cannot_be_cut_is_said(world, tmp_path):
    run = find_results(world / "ours").read()
    with pytest.raises(InputError, match="give --videos"):
        review(run, {}, tmp_path / "clips")
    (tmp_path / "bad.mp4").write_bytes(b"x")
    clips, failed = review(run, {**run.paths, "dog": tmp_path / "bad.mp4"}, tmp_path / "clips", per_class=None)
    assert set(failed) == {"dog"}
    assert clips
    (tmp_path / "videos").mkdir()
    (tmp_path / "bad.mp4").rename(tmp_path / "videos" / "dog.mp4")
    with pytest.raises(typer.Exit) as end:
        cut_clips(Talk(quiet=True), world / "ours", tmp_path / "clips", tmp_path / "videos", per_class=2)
    assert end.value.exit_code == 3  # some of it failed, as in all commands
    with pytest.raises((InputError, MediaError)):
        encode_clip(probe(world / "videos" / "dog.mp4"), 50.0, 51.0, tmp_path / "c.mp4")


def test_clips_of_a_file_without_an_index(world, tmp_path):
    """ffmpeg cannot seek in a bare H.264 stream, which has no time stamps: it is read from the start."""
    bare = tmp_path / "bare.h264"
    with av.open(str(world / "videos" / "dog.mp4")) as source, av.open(str(bare), "w", format="h264") as target:
        output = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = output
                target.mux(packet)
    encode_clip(probe(bare), 5.3, 7.25, tmp_path / "c.mp4")
    shown = [int(rgb.mean()) for _, rgb in frames(probe(tmp_path / "c.mp4"), 10)]
    expected = [20 + 18 * int(5.3 + k / 10 + 1e-6) for k in range(len(shown))]
    assert np.abs(np.array(shown) - expected).max() <= 3
    with pytest.raises(MediaError, match=r"no key frame at 0\.000 s; use --cut encode"):
        copy_clip(probe(bare), 0.0, 1.0, tmp_path / "c.h264")


def test_damaged_audio_frames_are_silent_in_clips(world, tmp_path, monkeypatch):
    def refuse(self, frame):
        raise ValueError("an audio frame without channels")

    with monkeypatch.context() as patch:
        patch.setattr("avloc.media.sound.SoundTrack.push", refuse)
        encode_clip(probe(world / "videos" / "dog.mp4"), 5.0, 7.0, tmp_path / "c.mp4")
    assert not np.concatenate(list(sound_blocks(probe(tmp_path / "c.mp4"), 8000))).any()
