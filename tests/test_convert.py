"""avloc convert: every kind of data set becomes a feature store for training."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avloc.config import preset
from avloc.datasets.collection import Collection
from avloc.datasets.convert import import_collection
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import EVEN, ArrayFile, Clock, Track, Tracks
from avloc.formats.annotations import read_annotations
from avloc.formats.features import FeatureStore
from avloc.formats.labels import LabelTable, read_labels
from avloc.media.encode import write_video
from avloc.types import FeatureSequence
from console import avloc as run
from field_sets import make_ave, make_llp, make_unav, make_wtalc, save_objects


def test_ave_becomes_a_store(tmp_path: Path) -> None:
    done = run("convert", make_ave(tmp_path / "ave"), tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 7
    store = FeatureStore(tmp_path / "out/features")
    facts = store.describe()
    assert (len(store), facts.visual_dim, facts.audio_dim, facts.steps_s) == (7, 16, 8, (Fraction(1),))
    labels = {row.video_id: (row.labels, row.subset) for row in read_labels(tmp_path / "out/labels.csv").rows}
    assert labels["bbb"] == (("Dog",), "validation")
    assert labels["noisy_000"] == ((), "train")
    truth, report = read_annotations(tmp_path / "out/ground_truth.json")
    assert len(truth) == 5
    assert report.issues == ()
    again = run("convert", tmp_path / "ave", tmp_path / "out")
    assert "0 videos written, 7 already there, 0 failed" in again.stdout


def test_wtalc_in_float16_trains(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    from avloc.train.loop import fit

    root = make_wtalc(tmp_path)
    result = import_collection(open_collection(root), tmp_path / "out", dtype="float16")
    assert len(result.done) == 4
    size = sum(p.stat().st_size for p in (tmp_path / "out/features").glob("*"))
    assert size < 71 * 16 * 2 + 4 * 600
    settings = preset(
        "default",
        {"train.steps": 2, "model.modality": "visual", "model.embed_dim": 8, "train.holdout": 0, "train.batch_size": 2},
    )
    fit(tmp_path / "out/features", tmp_path / "out/labels.csv", tmp_path / "run", settings, False)
    assert (tmp_path / "run/record.json").is_file()


def test_features_beyond_the_cache_are_read_again_and_are_the_same(tmp_path: Path) -> None:
    from avloc.train.dataset import WeakDataset

    import_collection(open_collection(make_wtalc(tmp_path)), tmp_path / "out", dtype="float16")
    store = FeatureStore(tmp_path / "out/features")
    asked: list[str] = []

    def load(video: str) -> FeatureSequence:
        asked.append(video)
        return store.load(video)

    size = store.load("aaaaaaaaaaa").grid.count * 16 * 4
    labels = np.eye(4, dtype=np.float32)
    streamed = WeakDataset(store.ids, labels, "abcd", load, 0, 16, cache_bytes=size)
    whole = WeakDataset(store.ids, labels, "abcd", store.load, 0, 16)
    for step in range(2):
        one, other = (data.batch(np.arange(4), 8, (step,)) for data in (streamed, whole))
        np.testing.assert_array_equal(one.visual, other.visual)
    assert asked.count("aaaaaaaaaaa") == 1
    assert asked.count("ccccccccccc") == 2


def test_unav_on_a_grid_of_ones_choice(tmp_path: Path) -> None:
    make_unav(tmp_path / "u")
    options = ("--features", tmp_path / "u/av_features", "--stride-s", "8/25", "--window-s", "24/25")
    done = run("convert", tmp_path / "u/unav.json", tmp_path / "out", *options, "--step-s", "0.5", "--rule", "linear")
    assert done.returncode == 0, done.stderr
    store = FeatureStore(tmp_path / "out/features")
    facts = store.describe()
    assert (facts.visual_dim, facts.audio_dim, facts.steps_s) == (12, 4, (Fraction(1, 2),))
    assert set(store.ids) == {"-x_1", "y_rgb2", "zz"}
    assert "avloc train --features" in done.stdout


def test_llp_has_three_ground_truths(tmp_path: Path) -> None:
    import_collection(open_collection(make_llp(tmp_path / "l")), tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out").glob("*.json"))
    assert names == ["ground_truth.json", "ground_truth_audio.json", "ground_truth_visual.json"]
    audio = {v.video_id: v for v in read_annotations(tmp_path / "out/ground_truth_audio.json")[0]}
    assert audio["ddddddddddd_5_15"].instances[0].end_s == 6


def test_thumos_keeps_its_ambiguous_list(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path, urls=False)
    (root / "Ambiguous_test.txt").write_text("video_3  1.0 2.5\n")
    import_collection(open_collection(root), tmp_path / "out")
    assert (tmp_path / "out/ambiguous.txt").read_text() == "video_3 1 2.5\n"


def test_one_bad_video_costs_that_video(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 16)).astype("f4") for n in (20, 10, 30, 11)]
    arrays[1][3, 2] = np.nan
    save_objects(tmp_path / "Toy-I3D-JOINTFeatures.npy", arrays)
    done = run("convert", root, tmp_path / "out")
    assert done.returncode == 3
    assert "3 videos written, 0 already there, 1 failed" in done.stdout
    assert "bbbbbbb-_bb: I3D rgb+flow features have NaN or infinity in 1 of 10 rows" in done.stderr
    assert "bbbbbbb-_bb" in (tmp_path / "out/failures.csv").read_text()
    save_objects(tmp_path / "Toy-I3D-JOINTFeatures.npy", [a[:0] for a in arrays])
    done = run("convert", root, tmp_path / "none")
    assert (done.returncode, done.stderr.splitlines()[-1].startswith("error: no video could be read, 4 failed")) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    "name", ["../../evil", "/tmp/evil", "a/../../b", "..", "c:evil", "a\\b", "a\0b", "a\udcff", "a" * 250]
)
def test_names_of_videos_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", np.eye(3))
    tracks = Tracks((Track("rgb", "visual", {name: ArrayFile(tmp_path / "x.npy")}, Clock(Fraction(1))),))
    done = import_collection(Collection("toy", (), (), LabelTable(()), features=tracks), tmp_path / "a/b/out")
    assert done.done == ()
    assert re.search(r"cannot be a file name|a file name at most 255", done.failures[0].reason)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {
        *("x.npy", "failures.csv", ".avloc.lock", ".avloc.files")
    }


@pytest.mark.usefixtures("unchecked")
def test_features_alone_and_what_fits_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a_rgb.npy", np.eye(4))
    done = run("convert", tmp_path, tmp_path / "out", "--stride-s", "0.5")
    assert done.returncode == 0, done.stderr
    assert FeatureStore(tmp_path / "out/features").load("a").duration_s == 2.0
    assert EVEN.step_s is None
    for arguments, message in (
        (
            (tmp_path, tmp_path / "o", "--stride-s", "fast"),
            "--stride-s takes seconds such as 0.64 or 16/25, got 'fast'",
        ),
        ((tmp_path, tmp_path / "o", "--window-s", "1"), "--window-s needs --stride-s"),
        (
            (tmp_path, tmp_path / "o", "--stride-s", "1", "--rule", "max", "--step-s", "1"),
            "expected a resampling rule of mean",
        ),
        ((tmp_path, tmp_path / "o", "--dtype", "int8"), "--dtype takes float32 or float16"),
        ((tmp_path / "none", tmp_path / "o"), "expected a data set; it does not exist"),
    ):
        bad = run("convert", *arguments)
        assert bad.returncode == 2
        assert message in bad.stderr
        assert "Traceback" not in bad.stderr


def test_segments_of_other_tools_go_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("0.0\t1.5\tdog\n")
    done = run("convert", tmp_path / "v.txt", tmp_path / "truth.json")
    assert done.returncode == 0, done.stderr
    assert "1 segment of 1 video" in done.stdout


def test_segments_go_into_a_format_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("video,start_s,end_s,label,score\nv,0.0,1.5,dog,0.5\n")
    bad = run("convert", tmp_path / "v.csv", tmp_path / "v.xyz")
    assert (bad.returncode, "give --to one of csv, json" in bad.stderr) == (2, True)
    assert run("convert", tmp_path / "v.csv", tmp_path / "v.xyz", "--to", "vtt").returncode == 0
    assert (tmp_path / "v.xyz").read_text().startswith("WEBVTT")
    bad = run("convert", tmp_path / "v.csv", tmp_path / "v.otio")
    assert (bad.returncode, "give --videos FOLDER" in bad.stderr) == (2, True)
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 24, 12)
    done = run("convert", tmp_path / "v.csv", tmp_path / "v.otio", "--videos", tmp_path / "videos", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["segments"] == 1
    rated = run("convert", tmp_path / "v.csv", tmp_path / "v.otio", "--videos", tmp_path / "videos", "--fps-of", "v=24")
    assert (rated.returncode, '"rate": 24.0' in (tmp_path / "v.otio").read_text()) == (0, True), rated.stderr
    bad = run("convert", tmp_path / "v.csv", tmp_path / "v.otio", "--fps-of", "24")
    assert (bad.returncode, "give their folder with --videos" in bad.stderr) == (2, True)
    bad = run("convert", make_ave(tmp_path / "ave"), tmp_path / "out", "--videos", tmp_path / "videos")
    assert (bad.returncode, "--videos is for segments" in bad.stderr) == (2, True)


def test_annotated_videos_without_features_are_not_passed_over(tmp_path: Path) -> None:
    root = make_ave(tmp_path / "ave")
    (root / "visual_feature.h5").unlink()
    (root / "audio_feature.h5").unlink()
    done = run("convert", root, tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert "5 videos annotated, without features" in done.stdout
    assert "next:" not in done.stdout
