"""Reliability of extraction, localization, tables and report: killed and restarted, disk full, started twice."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import killing
from avloc.config import ExtractConfig, preset
from avloc.datasets.convert import import_collection
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import Clock
from avloc.errors import InputError, StorageError
from avloc.features import layout
from avloc.features.folder import extract_all
from avloc.features.manifest import read_manifest
from avloc.formats.activations import load_activations
from avloc.formats.features import load_features
from avloc.media.encode import write_video
from avloc.media.find import find_media
from avloc.media.previews import make_proxy
from avloc.media.probe import probe
from avloc.paper.cells import open_data
from avloc.paper.rows import rows_of
from avloc.paper.runner import cell_of, compute_all
from avloc.paper.show import fill, write_tables
from avloc.pipeline.folder import find_inputs, localize_all
from avloc.pipeline.localizer import load
from avloc.report.page.build import build_page
from avloc.report.sources import PageSources
from avloc.system.atomic import atomic_path, atomic_write, canonical_safetensors, make_folder, sweep
from avloc.system.locks import folder_lock
from avloc.train.loop import fit
from feature_sets import write_split_set

KILLED = -signal.SIGKILL
SMALL = {"model.embed_dim": 16, "train.steps": 4, "train.eval_every": 2, "train.batch_size": 6}
Job = Callable[..., None]

WITHOUT_WEIGHTS = ExtractConfig(visual="appearance", audio="logmel")


def film(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 255, (5, 1, 1, 3), dtype=np.uint8), 32, axis=1).repeat(48, axis=2)
    sound = rng.normal(0, 0.1, 16000).astype(np.float32)
    write_video(path, [frames[k // 2] for k in range(10)], 10, sound)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a run, features, videos and detections."""
    home = tmp_path_factory.mktemp("home")
    write_split_set(home, count=18, tests=6)
    fit(home / "features", home / "labels.csv", home / "run", preset("default", SMALL))
    for k in range(3):
        film(home / "videos" / f"video_{k:03d}.mp4", k)
    (home / "raw").mkdir()
    for k in range(3):
        np.save(home / "raw" / f"v{k}.npy", np.random.default_rng(k).normal(size=(200, 20)).astype(np.float32))
    localize(home, home / "detections")
    return home


def extract(home: Path, out: Path) -> None:
    extract_all(find_media(home / "videos"), out, WITHOUT_WEIGHTS, workers=2)


def localize(home: Path, out: Path) -> None:
    inputs = [path for path in find_inputs([home / "features"]) if path.stem < "video_003"]
    localize_all(load(home / "run"), inputs, out, ("json", "csv", "vtt"))


def convert(home: Path, out: Path) -> None:
    import_collection(open_collection(home / "raw", clock=Clock(Fraction(1))), out)


def report(home: Path, out: Path) -> None:
    build_page(PageSources(home / "detections", home / "ground_truth.json"), out, proxy="always")


def tables(home: Path, out: Path) -> None:
    data = open_data(f"demo={home}")
    rows = {row: recipe for row, recipe in rows_of(["table1"])["table1"].items() if row in ("audio", "visual")}
    cells = {row: [cell_of(recipe, data, 0, SMALL, out)] for row, recipe in rows.items()}
    assert compute_all([cell for each in cells.values() for cell in each]) == {}
    write_tables([fill("table1", data, cells)], out)


JOBS: dict[str, Job] = {
    "extract": extract,
    "convert": convert,
    "localize": localize,
    "report": report,
    "tables": tables,
}


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    done: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in done:
            done[name] = tmp_path_factory.mktemp("undisturbed") / "out"
            assert killing.run(JOBS[name], home, done[name]) == 0
        return done[name]

    return make


def contents(out: Path) -> dict[str, object]:
    """Contents of a folder, without timings and lock files."""
    found: dict[str, object] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if name.startswith("manifest"):
            found[name] = sorted((r.video, r.status, r.snippets, r.bytes) for r in read_manifest(out).values())
        elif path.suffix in (".json", ".jsonl") and re.match(r"cells|runs", name):
            found[name] = re.sub(r'"(train_s|score_s|train/step_s|resumed)": [\w.e-]+', "", path.read_text())
        elif "tensorboard" not in name and path.name not in (".avloc.lock", "config.yaml"):
            found[name] = path.read_bytes()
    return found


def assert_all_whole(out: Path) -> None:
    """Every file under a final name is complete."""
    for path in (p for p in out.rglob("[!.]*") if p.is_file()):
        if path.suffix == ".safetensors" and path.parent.name == "scores":
            load_activations(path)
        elif path.suffix == ".safetensors" and path.parent == out:
            load_features(path)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".js" and path.parent.name == "data":
            assert path.read_text(encoding="utf-8").endswith(");\n")
        elif path.suffix == ".csv":
            rows = list(
                csv.reader(path.read_text(encoding="utf-16" if path.name == "found.csv" else "utf-8").splitlines())
            )
            assert len({len(row) for row in rows}) == 1


def writes_of(job: Job, home: Path, out: Path) -> int:
    """Number of fsync and rename calls in the job's own process."""
    low, high = 1, 256
    while low < high:
        middle = (low + high) // 2
        shutil.rmtree(out, ignore_errors=True)
        if killing.run(job, home, out, kill_at=middle) == KILLED:
            low = middle + 1
        else:
            high = middle
    return low - 1


@pytest.mark.parametrize(
    ("name", "points"), [("convert", (4, 3)), ("localize", (3, 8, 14)), ("report", (5, 30)), ("tables", (12, 9))]
)
def test_killed_at_writes_and_run_again_it_is_as_if_nothing_had_been(
    tmp_path: Path, home: Path, undisturbed: Callable[[str], Path], name: str, points: tuple[int, ...]
) -> None:
    out = tmp_path / "out"
    for point in points:
        assert killing.run(JOBS[name], home, out, kill_at=point) == KILLED
        assert_all_whole(out)
    assert killing.run(JOBS[name], home, out) == 0
    assert contents(out) == contents(undisturbed(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convert", "localize", "report", "tables"])
def test_killed_at_every_single_write(
    tmp_path: Path, home: Path, undisturbed: Callable[[str], Path], name: str
) -> None:
    count = writes_of(JOBS[name], home, tmp_path / "probe" / "out")
    assert count >= 12
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
        died += killing.run(JOBS[name], home, out, kill_after_s=moments.uniform(0.2, 1) * seconds) == KILLED
        assert_all_whole(out)
        assert killing.run(JOBS[name], home, out) == 0
        assert contents(out) == contents(whole)
    assert died >= (count + 1) // 2


def test_extraction_killed_at_a_random_moment(tmp_path: Path, home: Path, undisturbed: Callable[[str], Path]) -> None:
    kill_at_random_moments("extract", tmp_path, home, undisturbed("extract"), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(JOBS))
def test_killed_at_ten_random_moments(
    tmp_path: Path, home: Path, undisturbed: Callable[[str], Path], name: str
) -> None:
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 200 kB; skips where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "avloc-test", disk], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("name", list(JOBS))
def test_a_full_disk_stops_it_in_one_line_and_with_room_it_goes_on(
    small_disk: Path, home: Path, undisturbed: Callable[[str], Path], name: str
) -> None:
    ballast = small_disk / "ballast"
    out = small_disk / "out"
    out.mkdir()
    room = {"extract": 14_000, "convert": 40_000, "localize": 16_000, "report": 40_000, "tables": 60_000}[name]
    ballast.write_bytes(b"\0" * (200_000 - room))
    with pytest.raises(StorageError, match=r"cannot write .*No space left on device; free space and run the same"):
        JOBS[name](home, out)
    assert not list(out.rglob(".*.part"))
    assert_all_whole(out)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    JOBS[name](home, out)
    if name != "report":  # its links to the videos depend on its location
        assert contents(out) == contents(undisturbed(name))


@pytest.mark.parametrize("name", list(JOBS))
def test_a_read_only_disk_is_said_before_the_work(small_disk: Path, home: Path, name: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(InputError, match=r"cannot write .* there \(Read-only file system\); choose another -o"):
        JOBS[name](home, small_disk / "out")


def starved_extraction(home: Path, out: Path) -> None:
    killing.limit_file_size(2_000)  # the isolated processes inherit it
    with pytest.raises(StorageError, match=r"cannot write .*safetensors: File too large"):
        extract(home, out)


def test_files_that_cannot_grow_stop_the_extraction(
    tmp_path: Path, home: Path, undisturbed: Callable[[str], Path]
) -> None:
    out = tmp_path / "out"
    assert killing.run(starved_extraction, home, out) == 0
    assert not list(out.glob("*.safetensors"))
    extract(home, out)
    assert contents(out) == contents(undisturbed("extract"))


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
    tmp_path: Path, home: Path, undisturbed: Callable[[str], Path]
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
