"""Extraction, localization, tables and report: killed and restarted, started twice, run again over old files."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import killing
from avloc.errors import InputError
from avloc.features import layout
from avloc.features.folder import extract_all
from avloc.formats.features import load_features
from avloc.media.find import find_media
from avloc.media.previews import make_proxy
from avloc.media.probe import probe
from avloc.pipeline.folder import find_inputs, localize_all
from avloc.pipeline.localizer import load
from avloc.system.atomic import atomic_path, atomic_write, canonical_safetensors, make_folder, sweep
from avloc.system.locks import folder_lock
from jobs import (
    JOBS,
    KILLED,
    WITHOUT_WEIGHTS,
    Undisturbed,
    assert_all_whole,
    contents,
    localize,
    make_home,
    report,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    ("name", "points"), [("convert", (4, 3)), ("localize", (3, 8, 14)), ("report", (5, 30)), ("tables", (12, 9))]
)
def test_killed_at_writes_and_run_again_it_is_as_if_nothing_had_been(
    tmp_path: Path, home: Path, undisturbed: Undisturbed, name: str, points: tuple[int, ...]
) -> None:
    out = tmp_path / "out"
    for point in points:
        assert killing.run(JOBS[name], home, out, kill_at=point) == KILLED
        assert_all_whole(out)
    assert killing.run(JOBS[name], home, out) == 0
    assert contents(out) == contents(undisturbed(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convert", "localize", "report", "tables"])
def test_killed_at_every_single_write(tmp_path: Path, home: Path, undisturbed: Undisturbed, name: str) -> None:
    count = killing.writes_of(JOBS[name], home, tmp_path / "probe" / "out")
    assert count >= 10
    for point in range(1, count + 1):
        out = tmp_path / str(point) / "out"
        assert killing.run(JOBS[name], home, out, kill_at=point) == KILLED
        assert_all_whole(out)
        assert killing.run(JOBS[name], home, out) == 0
        assert contents(out) == contents(undisturbed(name)), point


def kill_at_random_moments(name: str, tmp_path: Path, home: Path, whole: Path, count: int) -> None:
    began = time.monotonic()
    assert killing.run(JOBS[name], home, tmp_path / "timed" / "out") == 0
    seconds = time.monotonic() - began
    moments = random.Random(name)
    died = 0
    for trial in range(count):
        out = tmp_path / str(trial) / "out"
        killed = killing.run(JOBS[name], home, out, kill_after_s=moments.uniform(0.2, 1) * seconds) == KILLED
        died += killed
        seconds *= 1 if killed else 0.7  # the machine has become faster
        assert_all_whole(out)
        assert killing.run(JOBS[name], home, out) == 0
        assert contents(out) == contents(whole)
    assert died >= (count + 1) // 2


def test_extraction_killed_at_a_random_moment(tmp_path: Path, home: Path, undisturbed: Undisturbed) -> None:
    kill_at_random_moments("extract", tmp_path, home, undisturbed("extract"), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(JOBS))
def test_killed_at_ten_random_moments(tmp_path: Path, home: Path, undisturbed: Undisturbed, name: str) -> None:
    kill_at_random_moments(name, tmp_path, home, undisturbed(name), 10)


@pytest.mark.parametrize("name", list(JOBS))
def test_a_second_one_in_the_same_folder_is_turned_away(tmp_path: Path, home: Path, name: str) -> None:
    with (
        folder_lock(tmp_path),
        pytest.raises(InputError, match=rf"{tmp_path}: in use by another avloc \(process {os.getpid()} on"),
    ):
        JOBS[name](home, tmp_path)


def test_shards_of_one_folder_may_work_at_once(tmp_path: Path, home: Path) -> None:
    with folder_lock(tmp_path, part="-1-of-2"):
        summary = extract_all(find_media(home / "videos"), tmp_path, WITHOUT_WEIGHTS, shard=(2, 2))
        assert summary.done == ("video_001",)
        with pytest.raises(InputError, match="in use by another avloc"):
            extract_all(find_media(home / "videos"), tmp_path, WITHOUT_WEIGHTS, shard=(1, 2))


def test_only_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    with atomic_path(tmp_path / "a" / "mine.txt") as part:
        part.write_text("not yet")
        theirs = part.with_name(part.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        elsewhere = theirs.with_name(re.sub(r"\.[0-9a-f]{6}-", ".0a1b2c-", theirs.name))
        for path in (theirs, elsewhere, tmp_path / ".notes.part"):
            path.write_text("half")
        assert sweep(tmp_path) == 1
        assert not theirs.exists()
        assert elsewhere.exists()
        assert part.exists()
        zombie = subprocess.Popen([sys.executable, "-c", "pass"])
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # ended, but its parent has not asked for its code
        part.with_name(part.name.replace(f"-{os.getpid()}-", f"-{zombie.pid}-")).write_text("half")
        assert sweep(tmp_path) == 1
        zombie.wait()
    assert (tmp_path / "a" / "mine.txt").read_text() == "not yet"


def test_a_file_of_the_same_content_is_the_same_bytes() -> None:
    """The library's order of metadata varies between processes."""
    from safetensors import deserialize
    from safetensors.numpy import save

    words = {f"key {k}": "ü" * k for k in range(20)}
    tensors = {"b": np.arange(3.0), "a": np.zeros((2, 2), np.float32)}
    code = "import hashlib, pickle, sys; from safetensors.numpy import save; "
    code += "from avloc.system.atomic import canonical_safetensors; "
    code += "t, w = pickle.load(sys.stdin.buffer); print(hashlib.sha256(canonical_safetensors(save(t, w))).hexdigest())"
    found = {
        subprocess.run([sys.executable, "-c", code], input=pickle.dumps((tensors, words)), capture_output=True).stdout
        for _ in range(3)
    }
    assert len(found) == 1
    assert len(next(iter(found))) == 65
    read = dict(deserialize(canonical_safetensors(save(tensors, words))))
    assert bytes(read["b"]["data"]) == tensors["b"].tobytes()


def test_a_feature_file_deleted_while_localizing_costs_its_video_only(tmp_path: Path, home: Path) -> None:
    shutil.copytree(home / "features", tmp_path / "features")
    inputs = find_inputs([tmp_path / "features"])

    def delete(done: int, total: int, name: str) -> None:
        (tmp_path / "features" / "video_004.safetensors").unlink(missing_ok=True)

    found, failures = localize_all(load(home / "run"), inputs, tmp_path / "out", progress=delete)
    assert len(found) == len(inputs) - 1
    assert [f.video_id for f in failures] == ["video_004"]
    assert "expected a feature file; it does not exist" in failures[0].reason


def test_an_interrupted_localization_leaves_no_old_segments_beside_new_scores(tmp_path: Path, home: Path) -> None:
    out = tmp_path / "out"
    localize(home, out)
    assert killing.run(localize, home, out, kill_at=5) == KILLED
    assert not {"segments.json", "segments.csv", "videos.csv", "run.yaml"} & {p.name for p in out.iterdir()}


def test_an_interrupted_page_leaves_no_old_list_beside_new_data(tmp_path: Path, home: Path) -> None:
    report(home, tmp_path)
    assert (tmp_path / "data" / "index.js").exists()
    assert killing.run(report, home, tmp_path, kill_at=5) == KILLED
    assert not (tmp_path / "data" / "index.js").exists()


def test_npy_files_that_are_being_replaced_are_vouched_for_by_nothing(tmp_path: Path, home: Path) -> None:
    features = load_features(home / "features" / "video_000.safetensors")
    layout.save(tmp_path, features, "npy", "float32")
    assert layout.target(tmp_path, "video_000", "npy").exists()
    assert features.visual is not None
    with pytest.raises(InputError, match="too large for float16"):
        layout.save(tmp_path, dataclasses.replace(features, visual=features.visual * 1e6), "npy", "float16")
    assert not layout.target(tmp_path, "video_000", "npy").exists()


def test_scores_of_an_earlier_localization_do_not_stay(tmp_path: Path, home: Path) -> None:
    localize(home, tmp_path)
    localize_all(load(home / "run"), [home / "features" / "video_007.safetensors"], tmp_path)
    assert [p.name for p in (tmp_path / "scores").iterdir()] == ["video_007.safetensors"]


def test_a_proxy_is_of_the_video_that_stands_there_now(tmp_path: Path, home: Path) -> None:
    first, second = (probe(home / "videos" / f"video_00{k}.mp4") for k in range(2))
    proxy = tmp_path / "v0001.mp4"
    assert make_proxy(first, proxy)
    content = proxy.read_bytes()
    assert not make_proxy(first, proxy)
    os.utime(proxy, (2e9, 2e9))  # newer than any video
    assert make_proxy(second, proxy)
    assert proxy.read_bytes() != content
    os.utime(proxy, (0, 0))
    assert not make_proxy(second, proxy)


def test_a_clock_set_back_between_two_runs_changes_nothing(
    tmp_path: Path, home: Path, undisturbed: Undisturbed
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed("extract"), out)
    for path in out.iterdir():
        os.utime(path, (0, 0))
    summary = extract_all(find_media(home / "videos"), out, WITHOUT_WEIGHTS)
    assert summary.done == ()
    assert len(summary.skipped) == 3
    assert contents(out) == contents(undisturbed("extract"))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write the page there \(Not a directory\); choose another -o"):
        make_folder(tmp_path / "file" / "page", "the page")
    with pytest.raises(InputError, match=r"cannot write .*name: .*choose a writable folder"):
        atomic_write(tmp_path / "file" / "name", "text")
