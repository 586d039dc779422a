"""Which streams of a file are used: flags, covers, silent tracks, --audio-stream and --video-stream."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avloc.config import ExtractConfig
from avloc.errors import InputError, MediaError
from avloc.features.folder import extract_all
from avloc.features.manifest import read_manifest
from avloc.formats.features import load_features
from avloc.formats.results import find_results
from avloc.interchange.registry import with_media
from avloc.interchange.segments import VideoSegments
from avloc.media.clips import copy_clip, encode_clip
from avloc.media.decode import frames, sound_blocks
from avloc.media.mix import SoundMix
from avloc.media.previews import make_preview, make_proxy, plays_in_browsers
from avloc.media.probe import probe
from avloc.media.sound import SoundTrack
from avloc.mediafile import Media, StreamChoice
from avloc.pipeline.localizer import load
from odd_media import Track, clicks, grey_frames, noise_frames, sound_frames, write_sound_only, write_tracks
from test_cli import TRAIN, one_line, run, table

HZ = 16000
LENGTH_S = 3
FILM = Track(grey_frames(10 * LENGTH_S))
QUICK = ("--visual", "appearance", "--audio", "logmel")


def click(at_s: float, *flags: str, rate: int = HZ, start_s: Fraction = Fraction(0), title: str = "") -> Track:
    """An audio stream with a click at this time of the video."""
    sound = clicks(LENGTH_S - float(start_s), rate, [at_s - float(start_s)])
    return Track(sound=sound, codec="pcm_s16le", flags=flags, rate=rate, start_s=start_s, title=title)


SILENT = Track(sound=clicks(LENGTH_S, HZ, []), codec="pcm_s16le", rate=HZ)


def clicks_of(media: Media) -> dict[float, float]:
    """{time to 0.1 s: peak} of the clicks that `decode` gives, in order."""
    return clicks_in(np.concatenate(list(sound_blocks(media, HZ))))


def clicks_in(samples: np.ndarray) -> dict[float, float]:
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    starts = loud[np.r_[True, np.diff(loud) > HZ // 10]] if len(loud) else loud
    peaks = [np.abs(samples[s + HZ // 400 : s + HZ // 200]).mean() for s in starts]
    return {round(s / HZ, 1): round(float(p), 1) for s, p in zip(starts, peaks, strict=True)}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([(), ()], 1),
        ([(), ("default",)], 2),
        ([("default",), ("default",)], 1),
        ([("default",), ()], 1),
        ([("visual_impaired",), ()], 2),
        ([("comment",), ("hearing_impaired",), ()], 3),
        ([("comment", "default"), ("default",)], 2),
        ([("hearing_impaired", "default"), ()], 1),
        ([("visual_impaired",)], 1),
    ],
)
def test_the_flags_of_a_file_choose_its_audio(tmp_path: Path, flags: list[tuple[str, ...]], expected: int) -> None:
    tracks = [click(k / 2, *its) for k, its in enumerate(flags, start=1)]
    media = probe(write_tracks(tmp_path / "v.mkv", FILM, *tracks))
    assert (media.streams.audio, media.audio_streams) == (expected, len(flags))
    assert list(clicks_of(media)) == [expected / 2]
    assert ("use --audio-stream 2" in media.note) == (flags == [("hearing_impaired", "default"), ()])
    assert probe(media.path, streams=StreamChoice(audio=1)).note == ""


def test_the_flags_of_a_file_choose_its_video(tmp_path: Path) -> None:
    other = Track(grey_frames(20, 32, 32, white=range(20)), flags=("default",))
    media = probe(write_tracks(tmp_path / "v.mkv", FILM, other))
    assert (media.streams.video, media.width, media.duration_s) == (2, 32, 2)
    assert all(rgb.min() > 200 for _, rgb in frames(media, 10))
    first = probe(media.path, streams=StreamChoice(video=1))
    assert (first.width, first.duration_s, len(list(frames(first, 10)))) == (64, 3, 30)
    for streams, count in ((StreamChoice(), 20), (StreamChoice(video=1), 30)):
        counted = with_media(VideoSegments("v", (), 3.0), media.path, frames=True, streams=streams)
        assert len(counted.frame_times_s) == count


@pytest.mark.parametrize(("codec", "name"), [("png", "v.mov"), ("mjpeg", "v.mkv"), ("mpeg4", "v.mkv")])
@pytest.mark.parametrize("flags", [(), ("default",)])
def test_a_stream_of_one_picture_beside_a_video_is_a_cover(
    tmp_path: Path, codec: str, name: str, flags: tuple[str, ...]
) -> None:
    cover = Track(grey_frames(1, 32, 32), codec=codec, flags=flags)
    media = probe(write_tracks(tmp_path / name, cover, FILM, click(1)))
    assert (media.streams.video, media.width, media.duration_s) == (2, 64, 3)
    assert len(list(frames(media, 10))) == 30


def test_a_flagged_cover_is_none_of_the_videos(tmp_path: Path) -> None:
    cover = Track(grey_frames(1, 32, 32), codec="mjpeg", flags=("attached_pic",))
    path = write_tracks(tmp_path / "v.mp4", FILM, Track(sound=clicks(3, HZ, [1]), codec="aac", rate=HZ), cover)
    media = probe(path)
    assert (media.streams.video, media.video_streams) == (1, 1)
    with pytest.raises(MediaError, match=r"video stream 2 .*1 \(mpeg4, default\), 2 \(mjpeg, cover image\)"):
        probe(path, streams=StreamChoice(video=2))


@pytest.mark.parametrize("flags", [(), ("attached_pic",)])
def test_a_cover_with_audio_is_no_video(tmp_path: Path, flags: tuple[str, ...]) -> None:
    cover = Track(grey_frames(1, 32, 32), codec="mjpeg", flags=flags)
    path = write_tracks(tmp_path / "song.mp4", Track(sound=clicks(1, HZ, []), codec="aac", rate=HZ), cover)
    with pytest.raises(MediaError, match=r"it has no video stream \(only a cover image and aac\)$"):
        probe(path)
    with pytest.raises(MediaError, match=r"it has no video stream \(only aac\)$"):
        probe(write_sound_only(tmp_path / "song.m4a", clicks(1, HZ, [])))


def test_a_video_of_one_frame_is_a_video(tmp_path: Path) -> None:
    media = probe(write_tracks(tmp_path / "v.mkv", Track(grey_frames(1)), click(0.5)))
    assert (media.streams.video, media.codec) == (1, "mpeg4+pcm_s16le")


def test_a_mix_averages_streams_of_any_rate_and_start(tmp_path: Path) -> None:
    late = click(1.5, rate=8000, start_s=Fraction(1))
    short = Track(sound=clicks(1, HZ, [0.5]), codec="pcm_s16le", rate=HZ)
    path = write_tracks(tmp_path / "v.mkv", FILM, click(2.5), late, short, SILENT)
    media = probe(path, streams=StreamChoice(audio="mix"))
    assert media.streams.audio == "mix"
    assert clicks_of(media) == {0.5: 0.2, 1.5: 0.2, 2.5: 0.2}  # 0.8 in one of four
    samples = np.concatenate(list(sound_blocks(media, HZ)))
    assert len(samples) == LENGTH_S * HZ
    parts = [probe(path, streams=StreamChoice(audio=k)) for k in (1, 2, 3, 4)]
    alone = [np.concatenate(list(sound_blocks(part, HZ))) for part in parts]
    mean = np.sum([np.pad(one, (0, len(samples) - len(one))) for one in alone], axis=0) / 4
    assert np.abs(samples - mean).max() < 1e-6


def test_a_mix_of_streams_that_follow_each_other_in_the_file() -> None:
    mix = SoundMix(HZ, {k: SoundTrack(HZ, Fraction(0), Fraction(LENGTH_S)) for k in (1, 2)})
    blocks = []
    for index, at_s in ((1, 1), (2, 2)):
        for frame in sound_frames(clicks(LENGTH_S, HZ, [at_s]), HZ, Fraction(0)):
            blocks += mix.push(index, frame)
    blocks += mix.finish()
    ends = np.cumsum([len(block.samples) for block in blocks])
    assert [round(block.time_s * HZ) for block in blocks] == [0, *ends[:-1]]
    assert clicks_in(np.concatenate([block.samples for block in blocks])) == {1.0: 0.4, 2.0: 0.4}
    assert mix.decoded_samples == 2 * LENGTH_S * HZ


def test_a_mix_of_one_stream_is_that_stream(tmp_path: Path) -> None:
    media = probe(write_tracks(tmp_path / "v.mkv", FILM, click(1)), streams=StreamChoice(audio="mix"))
    assert (media.streams.audio, clicks_of(media)) == (1, {1.0: 0.8})


def test_clips_proxies_and_previews_are_of_the_same_streams(tmp_path: Path) -> None:
    film = Track(noise_frames(30), codec="libx264")
    path = write_tracks(tmp_path / "v.mkv", film, click(1), click(2, title="Director"))
    first, second, mix = (probe(path, streams=StreamChoice(audio=k)) for k in (1, 2, "mix"))
    assert [plays_in_browsers(media) for media in (first, second, mix)] == [True, False, False]
    plain = write_tracks(tmp_path / "plain.mkv", FILM, click(1), click(2))
    for media, expected in ((first, [1.0]), (second, [2.0]), (mix, [1.0, 2.0])):
        encode_clip(media, 0, 3, tmp_path / "clip.mp4")
        assert list(clicks_of(probe(tmp_path / "clip.mp4"))) == expected
        copy_clip(probe(plain, streams=media.requested), 0, 3, tmp_path / "clip.mkv")
        with av.open(str(tmp_path / "clip.mkv")) as copied:
            assert len(copied.streams.audio) == len(expected)
        assert list(clicks_of(probe(tmp_path / "clip.mkv", streams=StreamChoice(audio="mix")))) == expected
        waveform = make_preview(media).waveform
        assert waveform is not None
        loud = np.flatnonzero(waveform > 25) * LENGTH_S / len(waveform)
        assert sorted({round(float(t), 1) for t in loud}) == expected
        assert make_proxy(media, tmp_path / "proxy.mp4")  # of other streams: another proxy
        assert not make_proxy(media, tmp_path / "proxy.mp4")
        assert list(clicks_of(probe(tmp_path / "proxy.mp4"))) == expected


def options(**changes: object) -> ExtractConfig:
    return ExtractConfig.model_validate({"visual": "appearance", "audio": "logmel", **changes})


def test_a_silent_stream_beside_others_is_said(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "v.mkv", FILM, SILENT, click(1))
    only = write_tracks(tmp_path / "only.mkv", FILM, SILENT)
    summary = extract_all([path, only], tmp_path / "f", options())
    assert summary.notes == {"v": "audio stream 1 of 2 is silent; try --audio-stream 2"}
    assert {name: row.note for name, row in read_manifest(tmp_path / "f").items()} == {**summary.notes, "only": ""}
    assert extract_all([path], tmp_path / "g", options(audio_stream=2)).notes == {}
    unheard = extract_all([path], tmp_path / "h", options(audio=None, audio_stream=3))  # there is none, and no need
    assert (unheard.done, unheard.notes) == (("v",), {})


def test_audio_that_cannot_be_decoded_beside_others_is_said(tmp_path: Path) -> None:
    spoilt = Track(sound=clicks(LENGTH_S, HZ, [1]), codec="flac", rate=HZ, spoilt=True)
    path = write_tracks(tmp_path / "v.mkv", FILM, spoilt, click(1))
    note = extract_all([path], tmp_path / "f", options()).notes["v"]
    assert note.startswith("no audio: the sound stream cannot be decoded")
    assert "; try --audio-stream 2" in note


def test_the_streams_are_recorded_where_there_was_a_choice(tmp_path: Path) -> None:
    flagged = write_tracks(tmp_path / "flagged.mkv", FILM, click(1), click(2, "default"))
    single = write_tracks(tmp_path / "single.mkv", FILM, click(1))
    summary = extract_all([flagged, single], tmp_path / "f", options())
    assert summary.notes == {"flagged": "audio stream 2 is used"}

    def recorded(folder: str, name: str) -> dict[str, str]:
        details = load_features(tmp_path / folder / f"{name}.safetensors").source.details
        return {key: text for key, text in details.items() if "stream" in key}

    assert recorded("f", "single") == {}
    assert recorded("f", "flagged") == {"audio_stream": "2"}
    extract_all([flagged, single], tmp_path / "g", options(audio_stream="mix", video_stream=1))
    both = {"audio_stream_option": "mix", "video_stream": "1", "video_stream_option": "1"}
    assert recorded("g", "flagged") == {"audio_stream": "mix", **both}
    assert recorded("g", "single") == {"audio_stream": "1", **both}
    loudest = [
        load_features(tmp_path / folder / "flagged.safetensors").audio.mean(1).argsort()[::-1] for folder in "fg"
    ]
    assert (loudest[0][0], set(loudest[1][:2])) == (2, {1, 2})


def test_another_choice_makes_features_stale(tmp_path: Path) -> None:
    flagged = write_tracks(tmp_path / "v.mkv", FILM, click(1), click(2, "default"))
    silent = write_tracks(tmp_path / "w.mkv", FILM)

    def again(folder: str, video: Path = flagged, **changes: object) -> int:
        return len(extract_all([video], tmp_path / folder, options(**changes)).skipped)

    assert [again("f"), again("f"), again("f", audio_stream=2)] == [0, 1, 1]  # the same stream
    for changes in ({"audio_stream": 1}, {"audio_stream": "mix"}, {"video_stream": 2}):
        with pytest.raises(InputError, match=r"_stream=by flags .*requested .*_stream=(1|mix|2)\. .*--overwrite"):
            again("f", **changes)
    assert [again("g", audio_stream=1), again("g", audio_stream=1)] == [0, 1]
    with pytest.raises(InputError, match="audio_stream=1; requested audio_stream=by flags"):
        again("g")
    assert [again("h", silent, audio_stream="mix"), again("h", silent, audio_stream="mix")] == [0, 1]


def test_a_stream_that_is_not_there_costs_only_that_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_tracks(folder / "two.mkv", FILM, click(1), click(2, title="Director"))
    write_tracks(folder / "one.mkv", FILM, click(1, title="Main"))
    code, _, err = run(capsys, "extract", folder, "-o", tmp_path / "f", *QUICK, "--audio-stream", "2")
    assert code == 3
    assert "one.mkv: expected audio stream 2 that can be decoded, its audio streams are: 1 (pcm_s16le, 'Main')" in err
    assert [path.stem for path in (tmp_path / "f").glob("*.safetensors")] == ["two"]
    for bad in ("0", "-1", "first", "1.5"):
        code, _, err = run(capsys, "extract", folder, "-o", tmp_path / "g", f"--audio-stream={bad}")
        assert (code, "a number from 1, or mix" in one_line(err)) == (2, True)


def test_every_step_uses_the_same_streams(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.csv", tmp_path / "out"
    film = Track(noise_frames(30), codec="libx264")
    video = write_tracks(tmp_path / "a.mkv", film, SILENT, click(2))
    labels.write_text("video,labels\na,jump\n")
    quick = ("--set", "extract.visual=appearance", "--set", "extract.audio=logmel", "--set", "train.holdout=0")
    command = ("run", video, "--labels", labels, "-o", out, *TRAIN, *quick)
    assert run(capsys, *command, "--audio-stream", "2")[0] == 0
    result = find_results(out / "detections").read()
    assert set(result.streams.values()) == {StreamChoice(audio=2)}
    code, shown, _ = run(capsys, "review", out / "detections", "-o", tmp_path / "clips", "--per-class", "1")
    assert code == 0, shown
    heard = [clicks_of(probe(path)) for path in sorted((tmp_path / "clips").glob("*.mp4"))]
    assert heard
    assert all(heard)
    proxies = sorted((out / "page" / "media").glob("*.mp4"))  # browsers would play the silent stream
    assert [list(clicks_of(probe(path))) for path in proxies] == [[2.0]]

    # a run's choice belongs to the files that it was trained on
    code, said, _ = run(capsys, "localize", out / "run", video, "-o", tmp_path / "flags")
    assert (code, "note: a: audio stream 1 of 2 is silent; try --audio-stream 2" in said) == (0, True)
    assert table(tmp_path / "flags" / "videos.csv")[0]["audio_stream"] == "1"
    second = ("-o", tmp_path / "second", "--audio-stream", "2")
    code, said, _ = run(capsys, "localize", out / "run", video, *second)
    assert (code, "silent" in said) == (0, False)
    assert table(tmp_path / "second" / "videos.csv")[0]["audio_stream"] == "2"
    assert load(out / "run", streams=StreamChoice(audio=2)).localize(video).streams.audio == 2
