"""Extraction on a local Ray cluster of two workers, one of which is killed during a video."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import odd_media as odd
from avloc.errors import InputError
from avloc.features.manifest import read_manifest
from avloc.features.ray_cluster import extract_on_ray
from avloc.features.task import Job
from test_backbones_foreign import install, search_path

SLEEPER = """
import os, pathlib, time
from fractions import Fraction
import numpy as np

HERE = pathlib.Path(__file__).parent

class Sleeper:
    name, modality, size, licence, weights = "sleeper", "visual", 1, "none", None
    frame_rate, frames_per_snippet, frame_size = Fraction(2), None, (8, 8)
    def __call__(self, batch):
        (HERE / f"{os.getpid()}.pid").touch()
        if batch.mean() > 200:  # a white video: wait to be killed
            (HERE / f"{os.getpid()}-{time.monotonic_ns()}.white").touch()
            time.sleep(60)
        time.sleep(0.3)
        return np.zeros((len(batch), 1), np.float32)
"""


def test_without_ray_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from avloc.config import ExtractConfig

    monkeypatch.setitem(sys.modules, "ray", None)
    options = ExtractConfig(visual="appearance", audio="logmel")
    with pytest.raises(InputError, match=r"--ray needs Ray.*pip install 'avloc\[ray\]'.*--shard"):
        list(extract_on_ray([tmp_path / "a.mkv"], Job(tmp_path, options), "local", 2))


@pytest.mark.slow
def test_a_killed_worker_costs_only_its_video(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    site, videos, out = tmp_path / "site", tmp_path / "videos", tmp_path / "out"
    site.mkdir()
    videos.mkdir()
    install(site, "sleeper", SLEEPER, "sleeper = sleeper:Sleeper")
    first = odd.write_video(videos / "v0.mkv", odd.grey_frames(10, 32, 32))
    for k in range(1, 10):
        shutil.copy(first, videos / f"v{k}.mkv")
    odd.write_video(videos / "v3white.mkv", odd.grey_frames(10, 32, 32, white=range(10)))
    (videos / "v4broken.mkv").write_bytes(b"not a video")
    run = [sys.executable, "-m", "avloc", "extract", str(videos), "-o", str(out), "--visual", "sleeper"]
    run += ["--audio", "none", "--ray", "local", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": search_path(site), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    killed = 0
    limit = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < limit:
        for mark in site.glob("*.white"):
            os.kill(int(mark.name.partition("-")[0]), signal.SIGKILL)
            mark.unlink()
            killed += 1
        time.sleep(0.1)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 3, errors
    assert killed == 2  # the second time when Ray retries
    pids = {path.stem for path in site.glob("*.pid")}
    assert len(pids) >= 3  # two workers and the replacements of the killed one
    rows = read_manifest(out)
    assert len(rows) == 12
    assert sorted(row.video for row in rows.values() if row.status != "done") == ["v3white", "v4broken"]
    assert "died twice" in rows["v3white"].reason

    (videos / "v3white.mkv").unlink()
    shutil.copy(first, videos / "v3white.mkv")
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    done = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert done.returncode == 3, done.stderr
    assert "extracted 1 videos" in done.stdout
    assert "10 already done" in done.stdout
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in made.items())
