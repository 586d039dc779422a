"""avloc doctor summarizes a data set and finds its problems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avloc.datasets.collection import Collection, weak_labels
from avloc.datasets.convert import import_collection
from avloc.datasets.doctor import DataReport, examine
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import Clock
from avloc.types import FeatureSequence, Instance, Provenance, SnippetGrid, VideoAnnotation
from console import avloc
from field_sets import make_ave, make_llp, make_unav, make_wtalc, save_objects

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL = SHARED / "real/annotations"
needs_shared = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared")


def texts(report: DataReport, kind: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.kind == kind]


def test_a_sound_data_set(tmp_path: Path) -> None:
    report = examine(open_collection(make_ave(tmp_path)))
    assert report.sound
    assert (report.classes, dict(report.videos), dict(report.instances)) == (
        3,
        {"training": 2, "validation": 1, "testing": 2},
        {"training": 1, "validation": 1, "testing": 2},
    )
    assert dict(report.labelled) == {"train": 4, "validation": 1, "test": 2}
    assert report.foreground == pytest.approx((10 + 3 + 5 + 2) / 40)
    assert (report.features["visual"].videos, report.features["visual"].size) == (7, 16)
    assert report.features["audio"].rows == (10, 10, 10)
    assert any("zero-length event" in text for text in texts(report, "note"))
    assert texts(report, "warning") == [
        "2 classes absent from train: Cat, Dog",
        "1 class absent from test: Bell",
    ]


def test_foreground_counts_overlaps_once_and_ends_with_the_video() -> None:
    instances = (Instance(1, 5, "a"), Instance(2, 3, "b"), Instance(4, 6, "b"), Instance(9, 12, "a"))
    videos = (VideoAnnotation("v", 10.0, "", instances), VideoAnnotation("w", 10.0, "", ()))
    report = examine(Collection("toy", ("a", "b"), videos, weak_labels(videos)))
    assert report.foreground == pytest.approx(0.6)


def test_lengths_differ_by_more_than_two_rows_and_five_percent() -> None:
    sizes = {"long": (1000.0, 990), "short": (10.0, 9), "cut": (10.0, 7), "half": (1000.0, 500)}

    class Given:
        ids = tuple(sizes)

        def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence:
            length_s, count = sizes[video_id]
            rows = np.random.default_rng(count).normal(size=(count, 4)).astype("f4")
            return FeatureSequence(video_id, length_s, SnippetGrid.cover(count, 1), rows, None, Provenance())

    videos = tuple(VideoAnnotation(v, s, "training", (Instance(0, 1, "a"),)) for v, (s, _) in sizes.items())
    report = examine(Collection("toy", ("a",), videos, weak_labels(videos), features=Given()))
    assert texts(report, "warning") == [
        "2 videos differing in duration from the features by over 5 % and 2 rows: cut, half"
    ]


def test_everything_that_can_be_wrong_with_features(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path)
    rng = np.random.default_rng(0)
    good = rng.normal(size=(20, 16)).astype("f4")
    bad = good.copy()
    bad[3] = np.inf
    save_objects(tmp_path / "Toy-I3D-JOINTFeatures.npy", [good, bad, rng.normal(size=(16, 30)), np.ones((3, 16), "f4")])
    report = examine(open_collection(root))
    assert not report.sound
    assert texts(report, "error") == [
        "2 videos with unusable features: bbbbbbb-_bb, ccccccccccc",
        "first reason: bbbbbbb-_bb: I3D rgb+flow features have NaN or infinity in 1 of 20 rows",
    ]
    warnings = texts(report, "warning")
    assert any(text.startswith("1 instance zero-length") for text in warnings)
    assert "1 video with constant features: ddddddddddd (visual)" in warnings
    assert "1 video differing in duration from the features by over 5 % and 2 rows: ddddddddddd" in warnings
    save_objects(tmp_path / "Toy-I3D-JOINTFeatures.npy", [good, good[:10], rng.normal(size=(30, 20)), good[:11]])
    assert texts(examine(open_collection(root)), "error") == [
        "1 video with visual features of another size than 16 (rows and columns swapped?): ccccccccccc"
    ]
    save_objects(tmp_path / "Toy-I3D-JOINTFeatures.npy", [good, good, good, good])
    assert any(
        text.startswith("1 set of videos with identical features: aaaaaaaaaaa = bbbbbbb-_bb")
        for text in texts(examine(open_collection(root)), "warning")
    )


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    source = make_unav(tmp_path)
    folder = tmp_path / "av_features"
    for path in folder.glob("zz_*"):
        path.unlink()
    for path in list(folder.glob("y_rgb2_*")):
        path.rename(path.with_name(path.name.replace("y_rgb2", "other")))
    clock = Clock(*map(__import__("fractions").Fraction, ("8/25", "24/25")))
    report = examine(open_collection(source, [folder], clock=clock))
    assert texts(report, "error") == ["2 labelled videos without features: y_rgb2, zz"]
    assert "1 video with features but in no table: other" in texts(report, "warning")
    for path in list(folder.glob("-x_1_*")):
        path.rename(path.with_name(path.name.replace("-x_1", "clip1")))
    report = examine(open_collection(source, [folder], clock=clock))
    assert texts(report, "error")[1].startswith("no video name matches: tables have e.g. '-x_1', features e.g. 'clip1'")


def test_our_own_folder_after_convert(tmp_path: Path) -> None:
    import_collection(open_collection(make_llp(tmp_path / "l")), tmp_path / "out")
    report = examine(open_collection(tmp_path / "out"))
    assert report.sound
    assert report.features["visual"].size == 8
    assert sum(report.instances.values()) == 3
    (tmp_path / "out/features/aaaaaaaaaaa_10_20.safetensors").write_bytes(b"half")
    report = examine(open_collection(tmp_path / "out"))
    assert texts(report, "error")[0] == "1 video with unusable features: aaaaaaaaaaa_10_20"


def test_quick_looks_at_some(tmp_path: Path) -> None:
    assert examine(open_collection(make_ave(tmp_path)), limit=3).read == 3


def test_the_command(tmp_path: Path) -> None:
    make_ave(tmp_path / "ave")
    done = avloc("doctor", tmp_path / "ave", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["features"]["audio"]["videos"] == 7
    (tmp_path / "ave/visual_feature.h5").unlink()
    (tmp_path / "ave/audio_feature.h5").unlink()
    done = avloc("doctor", tmp_path / "ave")
    assert done.returncode == 3
    assert "error: 5 labelled videos without features" in done.stdout
    (tmp_path / "ave/train_order.h5").write_text("no")
    done = avloc("doctor", tmp_path / "ave")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "train_order.h5: expected an HDF5 file" in done.stderr


def test_annotations_alone_are_called_no_more_than_that(tmp_path: Path) -> None:
    inner = tmp_path / "truth"
    inner.mkdir()
    video = {"subset": "training", "duration": 9.0, "annotations": [{"label": "dog", "segment": [1, 2]}]}
    (inner / "truth.json").write_text(json.dumps({"database": {"a": video}}))
    done = avloc("doctor", inner / "truth.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "no errors in the annotations; no features were found"
    done = avloc("doctor", inner)
    assert done.returncode == 2
    assert f"give the .json file: {inner / 'truth.json'}" in done.stderr


@needs_shared
@pytest.mark.parametrize(
    ("path", "classes", "videos", "instances"),
    [
        ("ave/data", 28, (3339, 402, 402), (3338, 402, 402)),
        ("llp", 25, (10000, 649, 1200), (0, 1420, 2638)),
        ("anet12/ActivityNet1.2-Annotations", 100, (4819, 2383), (7117, 3572)),
        ("anet12/activity_net.v1-2.rebuilt.json", 100, (4819, 2383), (7117, 3572)),
        ("anet13/activity_net.v1-3.full.json", 200, (10024, 4926), (15370, 7630)),
        ("thumos14/Thumos14reduced-Annotations", 20, (200, 212), (3007, 3358)),
        ("unav100/unav100_annotations.json", 100, (6489, 2134, 2167), (18123, 6036, 5900)),
    ],
)
def test_real_counts_that_the_docs_promise(path: str, classes: int, videos: tuple, instances: tuple) -> None:
    report = examine(open_collection(REAL / path))
    assert report.classes == classes
    assert tuple(report.videos.values()) == videos
    assert tuple(report.instances.values()) == instances
