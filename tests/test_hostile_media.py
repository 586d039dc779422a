"""Hostile media: each file gets a one-line result within time and memory limits; good files beside them succeed.

A seeded sample; `python -m benchmarks.reliability hostile-media` and the slow test run hundreds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pytest

import odd_media as odd
from avloc.config import ExtractConfig
from avloc.errors import AvlocError, MediaError
from avloc.features.folder import extract_all
from avloc.features.manifest import read_manifest
from avloc.features.task import Job
from avloc.features.video import extract_features
from avloc.media.container import CONTAINERS, MAX_PIXELS
from avloc.media.probe import probe
from avloc.media.sound import SoundTrack
from avloc.system.isolate import Limits, map_isolated
from hostile_work import measured
from mutants import KINDS, clips, mutants
from odd_media import Brightness, Loudness
from test_backbones_foreign import install, search_path

MEMORY_MB = 1024


def survey(files: list[Path], good: list[Path], out: Path, workers: int = 1) -> dict[str, tuple[str, str]]:
    """{name: (status, reason)} of files, after checking the guarantees for each."""
    job = Job(out, ExtractConfig(visual="appearance", audio="logmel", fps=2.0))
    out.mkdir()
    said = {}
    for path, answer in map_isolated(partial(measured, job=job), files, workers, Limits(120.0, MEMORY_MB / 1024)):
        assert not isinstance(answer, AvlocError), f"{path} killed its process: {answer}"
        status, reason, _, peak_mb = answer
        assert "internal error" not in reason, f"{path}: {reason}"
        assert "\n" not in reason
        assert status == "done" or (path.name in reason and len(reason) < 400)
        assert peak_mb < MEMORY_MB
        said[path.name] = status, reason
    for path in good:
        assert said[path.name][0] == "done", said[path.name]
    return said


def test_a_sample_of_hostile_files(tmp_path: Path) -> None:
    good = clips(tmp_path / "good")[:3]
    hostile = mutants(tmp_path / "hostile", len(KINDS), seed=3)
    again = mutants(tmp_path / "again", len(KINDS), seed=3)  # some containers hold the time of writing
    assert [(p.name, p.stat().st_size) for p in hostile] == [(p.name, p.stat().st_size) for p in again]
    said = survey([*hostile, *good], good, tmp_path / "out")
    assert len(said) == len(KINDS) + 3
    for kind in ("text", "image", "sound", "noise"):
        assert all(status == "failed" for name, (status, _) in said.items() if name.startswith(kind))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_hundreds_of_hostile_files(tmp_path: Path, seed: int) -> None:
    good = clips(tmp_path / "good")
    hostile = mutants(tmp_path / "hostile", 19 * 20, seed)
    said = survey([*hostile, *good], good, tmp_path / "out")
    assert sum(status == "failed" for status, _ in said.values()) > 100
    assert sum(status == "done" for status, _ in said.values()) > 100


DANGEROUS = """
import ctypes, time
from fractions import Fraction
import numpy as np

class Dangerous:
    name, modality, size, licence, weights = "dangerous", "visual", 1, "none", None
    frame_rate, frames_per_snippet, frame_size = Fraction(2), None, (8, 8)
    def __call__(self, batch):
        if batch.mean() > 200:  # white: crash, like a bug in a C library
            ctypes.string_at(1)
        if batch.mean() < 20:  # black: hang, like an endless loop
            time.sleep(600)
        return np.zeros((len(batch), 1), np.float32)
"""


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_crash_and_a_hang_cost_two_videos_of_five(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "c", "e"):
        odd.write_video(folder / f"{name}.mkv", odd.grey_frames(10, 32, 32))
    odd.write_video(folder / "b_crash.mkv", odd.grey_frames(10, 32, 32, white=range(10)))
    odd.write_video(folder / "d_hang.mkv", [picture * 0 for picture in odd.grey_frames(10, 32, 32)])
    site = tmp_path / "site"
    site.mkdir()
    install(site, "dangerous", DANGEROUS, "dangerous = dangerous:Dangerous")
    run = [sys.executable, "-m", "avloc", "extract", str(folder), "-o", str(tmp_path / "out"), "--silence-s", "12"]
    run += ["--visual", "dangerous", "--audio", "none", "--workers", str(workers)]
    done = subprocess.run(run, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": search_path(site)})
    assert done.returncode == 3, done.stderr
    rows = read_manifest(tmp_path / "out")
    assert {name for name, row in rows.items() if row.status == "done"} == {"a", "c", "e"}
    assert "died, twice (SIGSEGV)" in rows["b_crash"].reason
    assert "no progress for 12 s" in rows["d_hang"].reason
    assert (tmp_path / "out" / "failures.csv").read_text().count("\n") == 3


def test_a_playlist_opens_nothing_else(tmp_path: Path) -> None:
    """ffmpeg would open the files and addresses in all of these."""
    good = odd.write_video(tmp_path / "good.ts", odd.grey_frames(10), codec="mpeg2video", rate=25)
    texts = {
        "list.mp4": f"ffconcat version 1.0\nfile '{good.name}'\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{good.name}\n#EXT-X-ENDLIST\n",
        "remote.mkv": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match=r"expected a video, (got .*a playlist|ffmpeg cannot read this)"):
            probe(tmp_path / name)
    with av.open(str(tmp_path / "list.mp4")) as container:  # ffmpeg does follow it: the test can fail
        assert container.format.name == "concat"
    assert not {"hls", "dash", "concat", "image2", "tty", "sdp", "rtsp", "lavfi"} & set(CONTAINERS)


def test_pictures_too_large_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    head = "YUV4MPEG2 W{} H{} F25:1 Ip A1:1 C420\nFRAME\n"
    for width, height in ((100_000, 100_000), (20_000, 20_000)):
        path = tmp_path / f"{width}.y4m"
        path.write_bytes(head.format(width, height).encode() + bytes(1000))
        assert width * height > MAX_PIXELS
        with pytest.raises(MediaError, match="expected a video"):
            probe(path)
    thin = tmp_path / "thin.y4m"
    thin.write_bytes(head.format(6000, 2).encode() + bytes(18000))
    with pytest.raises(MediaError, match="its header says 6000 x 2 pixels"):
        probe(thin)


def test_a_clock_that_no_video_has_is_refused(tmp_path: Path) -> None:
    times = [Fraction(k, 10) for k in range(9)] + [Fraction(2_000_000)]
    path = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(10), codec="libx264", times_s=times)
    with pytest.raises(MediaError, match=r"a duration that fits the file, got 2000000 s in \d+ bytes"):
        probe(path)
    slides = [Fraction(600 * k) for k in range(6)]  # 50 minutes with few frames are valid
    path = odd.write_video(tmp_path / "b.mkv", odd.grey_frames(6), codec="libx264", times_s=slides)
    assert 3000 <= probe(path).duration_s < 3001


def test_absurd_rates_do_no_harm(tmp_path: Path) -> None:
    picture = b"FRAME\n" + bytes(64 * 48 * 3 // 2)
    path = tmp_path / "fast.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H48 F1000000000:1 Ip A1:60000 C420\n" + picture * 5)
    media = probe(path)
    assert (media.width, media.height) == (64, 48)
    assert media.frame_rate == 10_000
    with pytest.raises(MediaError, match=r"only 0\.0 s"):
        extract_features(media, Brightness(), Loudness())
    track = SoundTrack(16000, Fraction(0), Fraction(1))
    frame = next(odd.sound_frames(odd.clicks(1, 16000, [0]), 16000, Fraction(0)))
    frame.sample_rate = 2_000_000_000
    with pytest.raises(ValueError, match="2000000000 Hz"):
        list(track.push(frame))


def test_good_files_beside_broken_ones_are_done(tmp_path: Path) -> None:
    good = clips(tmp_path / "videos")[:2]
    for name, data in (("x.mp4", b""), ("y.mp4", b"text\n" * 9), ("z.mkv", good[0].read_bytes()[:200])):
        (tmp_path / "videos" / name).write_bytes(data)
    files = [*good, *(tmp_path / "videos" / name for name in ("x.mp4", "y.mp4", "z.mkv"))]
    summary = extract_all(files, tmp_path / "out", ExtractConfig(visual="appearance", audio="logmel"))
    assert summary.done == ("a", "b")
    assert {failure.video_id: "\n" in failure.reason for failure in summary.failures} == dict.fromkeys("xyz", False)
