"""Which files of a folder are videos: by name, else by content; the others are counted once."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.errors import InputError
from avloc.media import sniff
from avloc.media.container import CONTAINERS
from avloc.media.find import find_media, named_media
from avloc.vocabulary import OTHER_EXTENSIONS, PREVIEW_EXTENSIONS, SHARED_EXTENSIONS, VIDEO_EXTENSIONS


def make(path: Path, codec: str = "mpeg4", form: str | None = None) -> Path:
    """A video of 8 frames in the format `form` (that of the extension if absent)."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


KINDS = [
    *(("mpeg4", form) for form in ("mp4", "mov", "matroska", "avi", "nut")),
    *(("mpeg2video", form) for form in ("mpegts", "vob", "mpeg2video", "mxf")),
    *(("libx264", form) for form in ("h264", "flv", "mpegts")),
    *(("libvpx", form) for form in ("webm", "ivf")),
    ("dvvideo", "dv"),
    ("wmv2", "asf"),
    ("theora", "ogg"),
]


@pytest.mark.parametrize("name", ["video.abc", "video"])
@pytest.mark.parametrize(("codec", "form"), KINDS)
def test_a_video_with_an_unknown_extension_is_found_by_its_content(
    tmp_path: Path, codec: str, form: str, name: str
) -> None:
    try:
        path = make(tmp_path / name, codec, form)
    except (av.error.FFmpegError, av.codec.codec.UnknownCodecError, ValueError):
        pytest.skip(f"this PyAV cannot write {codec} in {form}")
    assert find_media(tmp_path) == [path]
    assert find_media(str(tmp_path / "*")) == [path]


@pytest.mark.parametrize("suffix", [".264", ".insv", ".mk3d", ".MOD", ".h265", ".m1v", ".TOD", ".trp", ".360", ".obu"])
def test_extensions_of_cameras_and_raw_streams_are_known(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / "a.mp4").rename(tmp_path / f"a{suffix}")
    assert named_media(tmp_path) == {"a": path}


def test_other_files_are_counted_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = make(tmp_path / "a.mp4")
    for name in ("b.xyz", "c.xyz", "sub/d.dat", "e", "labels.csv", "gt.json", "notes.txt", "f.jpg", "g.wav", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"neither text\0nor media")
    assert find_media(tmp_path) == [video]
    assert caplog.messages == ["4 files passed over: 2 .xyz, 1 without extension, 1 .dat"]
    caplog.clear()
    assert find_media(str(tmp_path / "*")) == [video]
    assert caplog.messages == ["4 files passed over: 2 .xyz, 1 without extension, 1 .dat"]
    caplog.clear()
    assert find_media(video) == [video]
    assert not caplog.messages


def test_nothing_is_said_of_files_that_lie_beside_videos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "a.mp4")
    for suffix in OTHER_EXTENSIONS:
        (tmp_path / f"b{suffix}").write_bytes(b"x")
    with patch.object(sniff, "_head", side_effect=AssertionError("opened")):
        find_media(tmp_path)
    assert not caplog.messages


@pytest.mark.parametrize("suffix", [".ts", ".mod", ".tp"])
def test_source_code_is_no_video_but_a_damaged_recording_is_left_to_the_decoder(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "a.mp4")
    (tmp_path / f"index{suffix}").write_text("export const Größe = 1;\n" * 200, encoding="utf-8")
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes(bytes(range(256)) * 20)
    assert named_media(tmp_path).keys() == {"a", "damaged"}
    assert caplog.messages == [f"1 file passed over: 1 {suffix}"]
    stream = make(tmp_path / f"b{suffix}", "mpeg2video", "mpegts")
    assert stream in find_media(tmp_path)


@pytest.mark.parametrize("name", ["a.LRV", "a.lrf", "a.mp4_original"])
def test_a_copy_beside_a_video_of_the_same_name_is_passed_over(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    video = make(tmp_path / "a.mp4")
    shutil.copy(video, tmp_path / name)
    assert find_media(tmp_path) == [video]
    assert caplog.messages == [f"1 file passed over: 1 {Path(name).suffix.lower()}"]
    video.unlink()
    assert find_media(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize("other", ["a.MOD", "a.insv"])
def test_two_recordings_of_one_name_are_still_an_error(tmp_path: Path, other: str) -> None:
    shutil.copy(make(tmp_path / "a.mp4"), tmp_path / other)
    with pytest.raises(InputError, match=rf"{other} and .*a\.mp4 have the same name and would be the same video"):
        find_media(tmp_path)


def test_still_images_and_audio_without_extension_are_no_videos(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4")
    (tmp_path / "photo").write_bytes(b"\0\0\0\x18ftypheic" + bytes(4000))
    (tmp_path / "broken").write_bytes(b"\0\0\0\x18ftypisom" + bytes(4000))
    with av.open(str(tmp_path / "sound"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16_000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    assert named_media(tmp_path).keys() == {"a"}


def test_a_folder_of_thousands_of_unknown_files_takes_little_time(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4")
    for k in range(3000):
        (tmp_path / f"{k}.xyz").write_bytes(b"\x89" * 5000)
    start = time.process_time()
    find_media(tmp_path)
    assert time.process_time() - start < 5  # 0.3 s on the reference machine


def test_the_lists_of_extensions_agree() -> None:
    assert not VIDEO_EXTENSIONS & OTHER_EXTENSIONS
    assert SHARED_EXTENSIONS <= VIDEO_EXTENSIONS
    assert PREVIEW_EXTENSIONS <= VIDEO_EXTENSIONS
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_EXTENSIONS | OTHER_EXTENSIONS)
    for name in CONTAINERS:  # ffmpeg's own extensions of the formats that are opened
        try:
            known = av.format.ContainerFormat(name, "r").extensions
        except ValueError:
            continue
        missing = {f".{suffix}" for suffix in known} - VIDEO_EXTENSIONS - OTHER_EXTENSIONS
        assert not missing, (name, missing)


def test_a_command_says_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "v" / "a.mp4")
    (tmp_path / "v" / "b.xyz").write_bytes(b"\0")
    (tmp_path / "labels.csv").write_text("video,labels\na,dog\n")
    sets = [f"--set={s}" for s in ("extract.visual=appearance", "extract.audio=logmel", "model.modality=visual")]
    command = ["run", str(tmp_path / "v"), "--labels", str(tmp_path / "labels.csv"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--preset", "demo", "--set", "train.steps=2", *sets])
    assert result.output.count("passed over") == 1, result.output
    assert logging.getLogger("avloc").handlers
