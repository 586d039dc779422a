"""Many videos: crashing workers, shards, finished videos, the manifest, and the .npy layout."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import odd_media as odd
from avloc.config import ExtractConfig, preset
from avloc.errors import ConfigError, FormatError, InputError
from avloc.features import layout
from avloc.features.backbones import BACKBONES
from avloc.features.folder import _check_same, extract_all, parse_shard
from avloc.features.layout import load_npy
from avloc.features.manifest import Row, manifest_path, read_manifest, write_manifest
from avloc.features.task import check_options
from avloc.features.weights import digest
from avloc.formats.features import load_features
from avloc.formats.provenance import read_source
from avloc.media.find import find_media
from avloc.types import FeatureSequence, Provenance, SnippetGrid
from test_backbones_foreign import install, search_path

OPTIONS = ExtractConfig(visual="appearance", audio="logmel")

FATAL = """
import os, time
from fractions import Fraction
import numpy as np

class Fatal:
    name, modality, size, licence, weights = "fatal", "visual", 1, "none", None
    frame_rate, frames_per_snippet, frame_size = Fraction(2), None, (8, 8)
    def __call__(self, batch):
        if batch.mean() > 200:  # a white video crashes the process
            os._exit(9)
        return np.zeros((len(batch), 1), np.float32)
"""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    first = odd.write_video(folder / "v0.mkv", odd.grey_frames(10, 32, 32), sound=sound)
    for k in range(1, 6):
        shutil.copy(first, folder / f"v{k}.mkv")
    return folder


def _facts(rows: dict[str, Row]) -> list[tuple[str, str]]:
    return [(row.video, row.status) for row in sorted(rows.values(), key=lambda row: row.video)]


def test_the_manifest_lists_every_video(videos: Path, tmp_path: Path) -> None:
    (videos / "broken.mkv").write_bytes(b"not a video")
    odd.write_video(videos / "mute.mkv", odd.grey_frames(10, 32, 32))
    out = tmp_path / "out"
    summary = extract_all(find_media(videos), out, OPTIONS)
    assert [f.video_id for f in summary.failures] == ["broken"]
    rows = read_manifest(out)
    assert _facts(rows) == [("broken", "failed"), ("mute", "done"), *((f"v{k}", "done") for k in range(6))]
    row = rows["v0"]
    assert (row.snippets, row.visual_size, row.audio_size, row.duration_s) == (
        1,
        BACKBONES["appearance"].size,
        256,
        pytest.approx(1.0),
    )
    assert row.bytes == (out / "v0.safetensors").stat().st_size
    assert row.seconds > 0
    assert "ffmpeg cannot read this" in rows["broken"].reason
    assert (rows["mute"].audio_size, rows["mute"].note) == (0, "no audio: no sound stream")
    made = (out / "v0.safetensors").stat().st_mtime_ns

    (out / "v1.safetensors").unlink()
    (out / "v2.safetensors").write_bytes(b"half a file")
    again = extract_all(find_media(videos), out, OPTIONS)
    assert again.done == ("v1", "v2")
    assert set(again.skipped) == {"mute", "v0", "v3", "v4", "v5"}
    assert (out / "v0.safetensors").stat().st_mtime_ns == made
    assert _facts(read_manifest(out)) == _facts(rows)
    assert read_manifest(out)["v0"].seconds == row.seconds  # kept from the first run
    for path in out.glob("manifest*"):
        path.unlink()
    (videos / "broken.mkv").unlink()
    extract_all(find_media(videos), out, OPTIONS)
    assert read_manifest(out)["v0"].snippets == 1  # recovered from the feature files
    assert not (out / "failures.csv").exists()


def test_a_manifest_without_pyarrow_is_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("b", "b.mp4", "failed", 'a, "b"\nc'), Row("a", "ä.mp4", "done", seconds=0.5, snippets=3)]
    monkeypatch.setattr("avloc.features.manifest.find_spec", lambda name: None)
    path = manifest_path(tmp_path)
    assert path.name == "manifest.csv"
    write_manifest(path, rows)
    with path.open(encoding="utf-8", newline="") as file:
        assert [record["video"] for record in csv.DictReader(file)] == ["a", "b"]
    assert read_manifest(tmp_path) == {row.video: row for row in rows}
    pytest.importorskip("pyarrow")
    write_manifest(tmp_path / "manifest.parquet", rows)
    path.unlink()
    assert read_manifest(tmp_path) == {row.video: row for row in rows}
    (tmp_path / "manifest.parquet").write_bytes(b"nothing")
    with pytest.raises(FormatError, match=r"manifest\.parquet: expected a manifest"):
        read_manifest(tmp_path)


def test_shards_share_the_work_and_nothing_else(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [extract_all(find_media(videos), out, OPTIONS, shard=(part, 4)) for part in (1, 2, 3, 4)]
    assert sorted(v for summary in parts for v in summary.done) == [f"v{k}" for k in range(6)]
    assert [len(summary.done) for summary in parts] == [2, 2, 1, 1]
    assert len(list(out.glob("manifest-*-of-4.*"))) == 4
    assert _facts(read_manifest(out)) == [(f"v{k}", "done") for k in range(6)]
    assert parse_shard("3/16") == (3, 16)
    for text in ("0/4", "5/4", "3", "a/b", "1/0", "-1/4"):
        with pytest.raises(InputError, match=f"--shard.*{text}"):
            parse_shard(text)


def test_a_video_that_kills_workers_costs_only_itself(videos: Path, tmp_path: Path) -> None:
    white = odd.grey_frames(10, 32, 32, white=range(10))
    odd.write_video(videos / "v2white.mkv", white)
    site = tmp_path / "site"
    site.mkdir()
    install(site, "fatal", FATAL, "fatal = fatal:Fatal")
    run = [sys.executable, "-m", "avloc", "extract", str(videos), "-o", str(tmp_path / "out"), "--workers", "2"]
    run += ["--visual", "fatal", "--audio", "none"]
    done = subprocess.run(run, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": search_path(site)})
    assert done.returncode == 3, done.stderr
    rows = read_manifest(tmp_path / "out")
    assert [row.video for row in rows.values() if row.status != "done"] == ["v2white"]
    assert "died, twice" in rows["v2white"].reason
    assert len(rows) == 7


def test_what_was_made_otherwise_is_not_mixed(videos: Path, tmp_path: Path) -> None:
    out, paths = tmp_path / "out", find_media(videos)[:1]
    extract_all(paths, out, OPTIONS)
    for change, words in (
        ({"step_s": 0.5}, "step_s=1.*step_s=0.5"),
        ({"audio": None}, "audio=logmel.*audio=none"),
        ({"fps": 12.0}, "fps=own.*fps=12"),
    ):
        with pytest.raises(InputError, match=words):
            extract_all(paths, out, OPTIONS.model_copy(update=change))
    wide = OPTIONS.model_copy(update={"fps": 10.0, "frames_per_snippet": 5})
    extract_all(paths, out, wide, overwrite=True)
    features = load_features(out / "v0.safetensors")
    assert features.grid.step_s == odd.Fraction(1, 2)
    assert features.source.details["visual_rate_hz"] == "10"
    assert extract_all(paths, out, wide).skipped == ("v0",)


def test_the_grid_in_pictures() -> None:
    options = preset("default", {"extract.frames_per_snippet": 16, "extract.fps": 25}).extract
    assert options.step == odd.Fraction(16, 25)
    assert preset("activitynet").extract.step == odd.Fraction(16, 25)
    decimal = preset("default", {"extract.frames_per_snippet": 16, "extract.fps": 29.97}).extract
    assert decimal.step == odd.Fraction(1600, 2997)  # the decimal, not its binary neighbour
    with pytest.raises(ConfigError, match=r"frames_per_snippet needs extract\.fps"):
        preset("default", {"extract.frames_per_snippet": 16})


def test_nothing_starts_when_nothing_can_work(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_OFFLINE", "1")
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    paths = find_media(videos)
    for change, words in (
        ({"audio": "vggish"}, r"vggish-10086976\.pth cannot be downloaded"),
        ({"visual": "vggish"}, "expected a backbone for visual, 'vggish' is for audio"),
        ({"visual": None, "audio": None}, "both none"),
        ({"weights": {"vgish": "x"}}, "--weights vgish: no selected backbone has weights of that name"),
        ({"visual": "nothing"}, "no backbone 'nothing'"),
    ):
        with pytest.raises(InputError, match=words):
            extract_all(paths, tmp_path / "out", OPTIONS.model_copy(update=change))
        with pytest.raises(InputError, match=words):  # the driver of a cluster checks too, without loading anything
            check_options(OPTIONS.model_copy(update=change), load=False)
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("made", "wanted", "same"),
    [
        ("i3d", "i3d", True),
        ("i3d-rgb", "i3d", False),
        ("i3d", "i3d-rgb", False),
        ("none: no sound stream", "vggish", True),
        ("none", None, True),
        ("vggish", None, False),
    ],
)
def test_names_of_backbones_are_compared_whole(tmp_path: Path, made: str, wanted: str | None, same: bool) -> None:
    source = read_source({"visual": "appearance", "audio": made, "visual_version": "2"})
    features = FeatureSequence("v", 1.0, SnippetGrid.cover(1, 1), np.zeros((1, 2)), None, source)
    options = ExtractConfig(visual="appearance", audio=wanted)
    with (
        nullcontext()
        if same
        else pytest.raises(InputError, match=f"audio={made}, .* requested .* audio={wanted or 'none'}")
    ):
        _check_same(tmp_path, features, options)


def test_npy_files_for_other_peoples_code(videos: Path, tmp_path: Path) -> None:
    out, ours = tmp_path / "npy", tmp_path / "ours"
    paths = find_media(videos)[:2]
    summary = extract_all(paths, out, OPTIONS, layout="npy")
    extract_all(paths, ours, OPTIONS)
    expected = load_features(ours / "v0.safetensors")
    assert expected.visual is not None
    np.testing.assert_array_equal(np.load(out / "v0_appearance.npy"), expected.visual)
    assert np.load(out / "v0_logmel.npy").shape == (1, 256)
    assert np.load(out / "v0_timestamps_ms.npy").tolist() == [500]
    back = load_npy(out, "v0")
    np.testing.assert_array_equal(back.audio, expected.audio)
    assert (back.grid, back.duration_s, back.source) == (expected.grid, expected.duration_s, expected.source)
    assert read_manifest(out)["v0"].bytes == sum(path.stat().st_size for path in out.glob("v0*"))
    assert extract_all(paths, out, OPTIONS, layout="npy").skipped == summary.done
    (out / "v0_logmel.npy").unlink()
    assert extract_all(paths, out, OPTIONS, layout="npy").done == ("v0",)
    (out / "v0_logmel.npy").write_bytes(b"")
    with pytest.raises(FormatError, match=r"v0\.json: expected it and its \.npy files to be consistent"):
        load_npy(out, "v0")
    with pytest.raises(InputError, match="extract it with --layout npy"):
        load_npy(out, "v9")
    with pytest.raises(InputError, match="--layout takes safetensors or npy, got 'mat'"):
        extract_all(paths, out, OPTIONS, layout="mat")


def test_the_two_halves_of_i3d_are_two_files(tmp_path: Path) -> None:
    rows = np.arange(2 * 2048, dtype=np.float32).reshape(2, 2048)
    features = FeatureSequence("a", 2.0, SnippetGrid.cover(2, 1), rows, None, Provenance({"visual": "i3d"}))
    layout.save(tmp_path, features, "npy", "float32")
    np.testing.assert_array_equal(np.load(tmp_path / "a_rgb.npy"), rows[:, :1024])
    np.testing.assert_array_equal(np.load(tmp_path / "a_flow.npy"), rows[:, 1024:])
    np.testing.assert_array_equal(load_npy(tmp_path, "a").visual, rows)
    layout.save(tmp_path, features, "npy", "float16")
    assert np.load(tmp_path / "a_rgb.npy").dtype == np.float16
    huge = FeatureSequence("b", 2.0, SnippetGrid.cover(2, 1), rows * 1e4, None, Provenance({"visual": "i3d"}))
    with pytest.raises(InputError, match="too large for float16"):
        layout.save(tmp_path, huge, "npy", "float16")
    assert not layout.target(tmp_path, "b", "npy").exists()


def test_features_of_other_weights_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.pth").write_bytes(b"one")
    (tmp_path / "b.pth").write_bytes(b"two")
    rows = np.zeros((1, 128), np.float32)
    made = f"a.pth sha256:{digest(tmp_path / 'a.pth')}"
    source = Provenance({"audio": "vggish"}, details={"audio_weights": made})
    features = FeatureSequence("v0", 1.0, SnippetGrid.cover(1, 1), None, rows, source)
    out = tmp_path / "out"
    layout.save(out, features, "safetensors", "float32")
    options = ExtractConfig(visual=None, audio="vggish", weights={"vggish": str(tmp_path / "a.pth")})
    assert extract_all([tmp_path / "v0.mp4"], out, options).skipped == ("v0",)
    other = options.model_copy(update={"weights": {"vggish": str(tmp_path / "b.pth")}})
    with pytest.raises(InputError, match=r"extracted with the weights a\.pth.*requested other weights"):
        extract_all([tmp_path / "v0.mp4"], out, other)
    away = options.model_copy(update={"weights": {}})
    assert extract_all([tmp_path / "v0.mp4"], out, away).skipped == ("v0",)  # no weights to compare with
