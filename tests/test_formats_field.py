"""Readers of public data sets: the real annotation files, and generated features in the same layout."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.datasets.ave import read_ave
from avloc.datasets.ave_labels import ave_class_indices, compare_ave_labels
from avloc.datasets.collection import Interval, weak_labels
from avloc.datasets.folders import named_as, read_feature_folder
from avloc.datasets.llp import LLP_CLASSES, read_llp
from avloc.datasets.open import open_collection
from avloc.datasets.resample import resample
from avloc.datasets.tracks import EVEN, ArrayFile, Clock, Track, Tracks
from avloc.datasets.wtalc import read_ambiguous, read_wtalc
from avloc.errors import FormatError, InputError
from avloc.formats.annotations import read_annotations
from avloc.formats.labels import LabelRow, LabelTable, read_labels, write_labels
from avloc.types import Instance, SnippetGrid, VideoAnnotation
from field_sets import make_ave, make_llp, make_unav, make_wtalc, save_objects

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL = SHARED / "real/annotations"
needs_shared = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared")


# --- one grid ---------------------------------------------------------------------------------------------------------


def grid(count: int, step: str, start: str = "0", length: str | None = None) -> SnippetGrid:
    return SnippetGrid(Fraction(start), Fraction(step), Fraction(length or step), count)


def test_resampling_by_hand() -> None:
    rows = np.array([[0.0], [10.0], [20.0], [30.0]])
    half = grid(4, "1/2")  # 0-0.5, 0.5-1, ...
    assert resample(rows, half, grid(2, "1")).ravel().tolist() == [5, 25]
    assert resample(rows, half, grid(3, "3/4")).ravel().tolist() == pytest.approx([10 / 3, 50 / 3, 30])
    assert resample(rows, half, grid(8, "1/4")).ravel().tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    assert resample(rows, half, grid(2, "1"), "nearest").ravel().tolist() == [0, 20]  # a tie: the earlier
    assert resample(rows, half, grid(2, "1"), "linear").ravel().tolist() == [5, 25]
    assert resample(rows, half, grid(8, "1/4"), "linear").ravel().tolist() == [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]
    late = resample(rows, half, grid(4, "1"))  # the features end before the video
    assert late.ravel().tolist() == [5, 25, 30, 30]
    early = resample(rows, grid(4, "1", start="2"), grid(4, "1"))
    assert early.ravel().tolist() == [0, 0, 0, 10]
    wide = grid(4, "8/25", length="24/25")  # UnAV: the centre of row 0 is at 0.48 s, of cell 0 at 0.16 s
    assert resample(rows, wide, grid(5, "8/25")).ravel().tolist() == pytest.approx([0, 0, 10, 20, 30])
    with pytest.raises(InputError, match="rule of mean, nearest, linear, got 'max'"):
        resample(rows, half, half, "max")
    with pytest.raises(InputError, match="expected 3 rows, as in their grid, got 4"):
        resample(rows, grid(3, "1"), half)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 30), m=st.integers(1, 30), steps=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_resampling_keeps_constants_bounds_and_means(n: int, m: int, steps: tuple[int, int]) -> None:
    source, target = grid(n, f"{steps[0]}/25"), grid(m, f"{steps[1]}/25")
    rows = np.random.default_rng(n).normal(size=(n, 3))
    for rule in ("mean", "nearest", "linear"):
        got = resample(rows, source, target, rule)
        assert got.shape == (m, 3)
        assert got.dtype == np.float32
        assert (got <= rows.max(axis=0) + 1e-5).all()
        assert (got >= rows.min(axis=0) - 1e-5).all()
        np.testing.assert_allclose(resample(np.ones((n, 1)), source, target, rule), 1, rtol=1e-6)
    fine = grid(n * steps[1], f"{steps[0]}/{25 * steps[1]}")  # splitting and merging cells is the identity
    back = resample(resample(rows, source, fine), fine, source)
    np.testing.assert_allclose(back, rows, atol=1e-5)


def test_mean_is_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    rows, source, target = rng.normal(size=(23, 2)), grid(23, "0.27", start="0.4"), grid(17, "0.51")
    expected = []
    for k in range(17):
        start, end = (float(t) for t in target.cell(k))
        parts = [(max(0.0, min(end, 0.4 + 0.27 * (i + 1)) - max(start, 0.4 + 0.27 * i)), rows[i]) for i in range(23)]
        total = sum(weight for weight, _ in parts)
        nearest = 0 if end <= 0.4 else 22
        expected.append(sum(w * r for w, r in parts) / total if total > 1e-9 else rows[nearest])
    np.testing.assert_allclose(resample(rows, source, target), expected, atol=1e-6)


# --- W-TALC -----------------------------------------------------------------------------------------------------------


def test_wtalc_by_youtube_id_with_features_left_on_disk(tmp_path: Path) -> None:
    data = read_wtalc(make_wtalc(tmp_path))
    assert data.classes == ("dive", "jump")
    assert [v.video_id for v in data.annotations] == ["aaaaaaaaaaa", "bbbbbbb-_bb", "ccccccccccc", "ddddddddddd"]
    assert data.annotations[2].instances == (Instance(2, 4, "jump"), Instance(5.5, 19, "dive"))
    assert [i.kind for i in data.report.issues] == ["zero-length"]
    assert [(row.labels, row.subset) for row in data.labels.rows] == [
        (("jump",), "train"),
        (("dive",), "train"),
        (("jump", "dive"), "test"),
        (("dive",), "test"),
    ]
    assert "hold out part of train" in data.labels.notes[0]
    assert data.features is not None
    loaded = data.features.load("ccccccccccc", 19.2)
    assert loaded.visual is not None
    assert (loaded.visual.shape, loaded.grid.step_s, loaded.audio) == ((30, 16), Fraction(16, 25), None)
    expected = np.random.default_rng(0).normal(size=(20, 16)).astype("f4")
    np.testing.assert_array_equal(data.features.load("aaaaaaaaaaa").visual, expected)
    with pytest.raises(InputError, match="no features of 'x' among 4 videos"):
        data.features.load("x")


def test_wtalc_without_urls_and_with_sound_from_elsewhere(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path, urls=False)
    (tmp_path / "sound").mkdir()
    for video, rows in (("v_video_1", 12), ("video_3", 19)):
        np.save(tmp_path / "sound" / f"{video}.npy", np.arange(rows * 2.0).reshape(rows, 2))
    data = open_collection(root, audio=tmp_path / "sound", audio_clock=Clock(Fraction(1)))
    assert data.features is not None
    both = data.features.load("video_1", 12.8)
    assert both.modalities == ("audio", "visual")
    assert both.audio is not None
    assert both.audio.shape == (20, 2)
    assert both.audio[0].tolist() == [0, 1]
    np.testing.assert_allclose(both.audio[1], [0.4375 * 2, 0.4375 * 2 + 1])  # 0.64-1.28 s: 0.36 s of row 0, 0.28 s of 1
    assert data.features.load("video_2", 6.4).modalities == ("visual",)


def test_bad_wtalc_files_are_named(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path)

    def refused(message: str) -> None:
        with pytest.raises((FormatError, InputError), match=message):
            read_wtalc(root)

    save_objects(root / "labels.npy", [["jump"], ["dive"], ["jump", "dive"], ["dive", "dive"]])
    refused("video_1: expected as many labels as segments, got 1 and 2")
    save_objects(root / "labels.npy", [["jump", "fly"], ["dive"], ["jump", "dive"], ["dive", "dive"]])
    refused(r"video_1: expected a label of classlist.npy and \[start, end\], got 'fly'")
    save_objects(root / "labels.npy", [["jump"], ["dive"]])
    refused(r"labels.npy: expected 4 lists")
    (root / "labels.npy").unlink()
    refused("labels.npy: expected an array")
    make_wtalc(tmp_path / "b")
    root = tmp_path / "b" / "Toy-Annotations"
    np.save(root / "duration.npy", np.array([1.0, 2.0, -1.0, 3.0]))
    refused("expected 4 durations in seconds")
    np.save(root / "duration.npy", np.ones(4))
    save_objects(tmp_path / "b" / "Toy-I3D-JOINTFeatures.npy", [np.eye(16)] * 3)
    refused("expected 4 arrays, one per video of .*, got 3")
    np.save(root / "url.npy", np.array([b"https://youtu.be/aaaaaaaaaaa"] * 4))
    refused("duplicate video 'aaaaaaaaaaa'")
    root = tmp_path
    refused("expected W-TALC's annotations")


def test_ambiguous_stretches(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("video_test_1  0.0 1.4\n\nvideo_test_2 95.7 97.2\r\n")
    assert read_ambiguous(path) == (Interval("video_test_1", 0, 1.4), Interval("video_test_2", 95.7, 97.2))
    for line in ("video 1", "video 2 1", "video a b", "video 1 2 3", "video 1 nan"):
        path.write_text(f"video 0 1\n{line}\n")
        with pytest.raises(FormatError, match="line 2: expected `video start end` in seconds"):
            read_ambiguous(path)


@needs_shared
def test_real_wtalc_files_agree_with_activitynets_own() -> None:
    data = read_wtalc(REAL / "anet12/ActivityNet1.2-Annotations")
    truth, report = read_annotations(REAL / "anet12/activity_net.v1-2.rebuilt.json")
    by_id = {video.video_id: video for video in truth}
    assert len(data.annotations) == len(truth) == 7202
    for video in data.annotations:
        assert video.instances == by_id[video.video_id].instances
        assert video.subset == by_id[video.video_id].subset
    assert [len(data.labels.subset(s)) for s in ("train", "test")] == [4819, 2383]
    assert len(data.report.of("zero-length")) == len(report.of("zero-length")) == 10
    assert len(data.report.of("duplicate")) == 34


@needs_shared
def test_real_thumos() -> None:
    data = read_wtalc(REAL / "thumos14/Thumos14reduced-Annotations")
    assert [len(data.labels.subset(s)) for s in ("train", "test")] == [200, 212]
    assert sum(len(row.labels) > 1 for row in data.labels.rows) == 51
    assert len(data.ambiguous) == 99
    assert data.notes[0].startswith("28 videos with weak labels (labels_all.npy) other than the instances' labels")
    truth, _ = read_annotations(REAL / "thumos14/thumos14_wtalc.json")
    by_id = {video.video_id: video.instances for video in truth}
    assert all(by_id[v.video_id] == v.instances for v in data.annotations)


# --- LLP --------------------------------------------------------------------------------------------------------------


def test_llp_parts_and_features_on_one_second(tmp_path: Path) -> None:
    data = read_llp(make_llp(tmp_path))
    assert [(r.video_id[:2], r.labels, r.subset) for r in data.labels.rows] == [
        ("aa", ("Speech", "Dog"), "train"),
        ("bb", ("Car",), "train"),
        ("cc", ("Speech",), "validation"),
        ("dd", ("Dog", "Speech"), "test"),
        ("ee", ("Cat",), "test"),
    ]
    by_id = {v.video_id: v for v in data.annotations}
    assert by_id["ddddddddddd_5_15"].instances == (Instance(2, 8, "Dog"),)
    assert by_id["aaaaaaaaaaa_10_20"].instances == ()
    parts = {name: {v.video_id[:1]: v.instances for v in part} for name, part in data.parts.items()}
    assert parts["audio"]["d"] == (Instance(2, 6, "Dog"),)
    assert parts["visual"]["d"] == (Instance(5, 8, "Dog"),)
    assert data.report.notes()[0].startswith("1 instance zero-length, dropped")
    assert data.features is not None
    loaded = data.features.load("ddddddddddd_5_15", 10.0)
    assert loaded.visual is not None
    assert loaded.audio is not None
    assert (loaded.visual.shape, loaded.audio.shape, loaded.grid.step_s) == ((10, 8), (10, 6), 1)
    raw = np.load(tmp_path / "res152/ddddddddddd.npy")
    np.testing.assert_allclose(loaded.visual, raw.reshape(10, 8, 8).mean(axis=1), atol=1e-6)


def test_llp_seconds_that_touch_are_one_event(tmp_path: Path) -> None:
    root = make_llp(tmp_path)
    head = "filename\tonset\toffset\tevent_labels\n"
    (root / "AVVP_eval_audio.csv").write_text(f"{head}ccccccccccc_0_10\t0\t4\tSpeech\nccccccccccc_0_10\t6\t8\tSpeech\n")
    (root / "AVVP_eval_visual.csv").write_text(f"{head}ccccccccccc_0_10\t4\t5\tSpeech\nccccccccccc_0_10\t5\t6\tDog\n")
    (video,) = (v for v in read_llp(root).annotations if v.video_id[0] == "c")
    assert set(video.instances) == {Instance(0, 5, "Speech"), Instance(6, 8, "Speech"), Instance(5, 6, "Dog")}


def test_bad_llp_tables_are_named(tmp_path: Path) -> None:
    root = make_llp(tmp_path)
    for name, text, message in (
        ("AVVP_train.csv", "filename,event_labels\n", "expected the header filename<tab>event_labels"),
        ("AVVP_train.csv", "filename\tevent_labels\nx\n", "line 2: expected 2 tab-separated columns, got 1"),
        ("AVVP_train.csv", "filename\tevent_labels\nx\tFly\n", "line 2: expected one of LLP's 25 classes, got 'Fly'"),
        ("AVVP_train.csv", "filename\tevent_labels\nccccccccccc_0_10\tDog\n", "'ccccccccccc_0_10' is also in train"),
        ("AVVP_eval_audio.csv", "filename\tonset\toffset\tevent_labels\nx\t0\t11\tDog\n", "seconds in 0..10, got 0"),
        ("AVVP_eval_audio.csv", "filename\tonset\toffset\tevent_labels\nx\ta\t1\tDog\n", "seconds in 0..10, got a"),
    ):
        before = (root / name).read_text()
        (root / name).write_text(text)
        with pytest.raises(FormatError, match=message):
            read_llp(root)
        (root / name).write_text(before)
    with pytest.raises(InputError, match="found none of them"):
        read_llp(tmp_path / "none")


@needs_shared
def test_real_llp() -> None:
    data = read_llp(REAL / "llp")
    assert [len(data.labels.subset(s)) for s in ("train", "validation", "test")] == [10000, 649, 1200]
    assert {label for row in data.labels.rows for label in row.labels} == set(LLP_CLASSES)
    kinds = {kind: len(data.report.of(kind)) for kind in ("zero-length", "reversed", "duplicate")}
    assert kinds == {"zero-length": 4, "reversed": 1, "duplicate": 8}
    assert [sum(len(v.instances) for v in data.parts[p]) for p in ("audio", "visual")] == [
        4131 - 14 - 4 - 1 - 8,
        2495 - 11,
    ]


# --- AVE --------------------------------------------------------------------------------------------------------------


def test_ave_labels_are_rebuilt_and_compared(tmp_path: Path) -> None:
    root = make_ave(tmp_path)
    data = read_ave(root)
    with h5py.File(root / "labels.h5") as file:
        np.testing.assert_array_equal(ave_class_indices(data), file["avadataset"][:].argmax(axis=2))
    assert compare_ave_labels(data) == ()
    with h5py.File(root / "labels.h5", "r+") as file:
        file["avadataset"][1, 7] = np.eye(29)[1]
    with h5py.File(root / "mil_labels.h5", "w") as file:
        file["avadataset"] = np.zeros((4, 29))
    notes = compare_ave_labels(data)
    assert notes[0] == "labels.h5 disagrees with Annotations.txt in 1 video; Annotations.txt is used"
    assert notes[1] == "mil_labels.h5 has shape (4, 29), Annotations.txt 5 lines: not compared"


def test_ave_as_a_collection(tmp_path: Path) -> None:
    data = open_collection(make_ave(tmp_path))
    assert any(note.startswith("1 YouTube id in both train and test") for note in data.notes)
    assert data.features is not None
    assert len(data.features.ids) == 7
    loaded = data.features.load("aaa_row0002", 10.0)
    expected = read_ave(tmp_path).load("aaa_row0002")
    np.testing.assert_array_equal(loaded.visual, expected.visual)
    np.testing.assert_array_equal(loaded.audio, expected.audio)
    assert loaded.grid == expected.grid
    assert data.features.load("noisy_001").modalities == ("audio", "visual")
    with h5py.File(tmp_path / "audio_feature.h5", "w") as file:
        file["avadataset"] = np.zeros((4, 10, 8))
    with pytest.raises(FormatError, match="expected 5 rows, one per video, got 4"):
        open_collection(tmp_path)


def test_a_large_visual_file_is_read_by_row_and_never_as_float64(tmp_path: Path) -> None:
    make_ave(tmp_path)
    with h5py.File(tmp_path / "visual_feature.h5", "w") as file:
        file["avadataset"] = np.ones((5, 10, 7, 7, 512), dtype=np.float32)  # 1 MB per video
    data = open_collection(tmp_path)
    assert data.features is not None
    data.features.load("bbb", 10.0)  # warm imports and caches
    tracemalloc.start()
    for video in ("bbb", "ccc", "ddd"):
        data.features.load(video, 10.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6e6


@needs_shared
def test_real_ave_label_files_agree_with_the_list() -> None:
    data = read_ave(REAL / "ave/data")
    assert compare_ave_labels(data) == ()
    rebuilt = np.load(REAL / "ave/labels_reconstructed.npz")
    seconds = next(rebuilt[k] for k in rebuilt.files if rebuilt[k].shape in ((4143, 10), (4143, 10, 29)))
    own = ave_class_indices(data)
    np.testing.assert_array_equal(own, seconds.argmax(axis=2) if seconds.ndim == 3 else seconds)
    test = [k for k, v in enumerate(data.annotations) if v.subset == "testing"]
    assert (own[test] == 28).mean() == pytest.approx(0.178, abs=5e-4)


# --- folders of features ----------------------------------------------------------------------------------------------


def test_names_that_extractors_give(tmp_path: Path) -> None:
    names = ("i3d/a_rgb.npy", "i3d/a_flow.npy", "i3d/a_fps.npy", "i3d/a_timestamps_ms.npy", "vggish/a_vggish.npy")
    for name in (*names, "i3d/b_b_rgb.npy", "i3d/b_b_flow.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, np.arange(1, 13.0).reshape(4, 3))
    np.save(tmp_path / "i3d/a_timestamps_ms.npy", np.array([2560.0, 5120.0, 7680.0, 10240.0]))
    tracks = read_feature_folder(tmp_path)
    assert [(t.name, t.modality, tuple(t.places)) for t in tracks] == [
        ("rgb", "visual", ("a", "b_b")),
        ("flow", "visual", ("a", "b_b")),
        ("vggish", "audio", ("a",)),
    ]
    assert tracks[0].clock_of("a") == Clock(Fraction("2.56"))
    assert tracks[0].clock_of("b_b") == EVEN
    loaded = Tracks(tracks).load("a", 11.0)
    assert loaded.visual is not None
    assert (loaded.visual.shape, loaded.grid.step_s) == ((4, 6), Fraction("2.56"))
    assert loaded.source.backbones == {"visual": "rgb+flow", "audio": "vggish"}
    assert Tracks(tracks).load("b_b", 8.0).grid.step_s == 2
    with pytest.raises(InputError, match="b_b: the times of its rows are unknown; give the seconds"):
        Tracks(tracks).load("b_b")
    assert [t.name for t in read_feature_folder(tmp_path, tracks=("flow",))] == ["flow"]
    with pytest.raises(InputError, match=r"no track 'rbg'. Did you mean 'rgb'"):
        read_feature_folder(tmp_path, tracks=("rbg",))


def test_folders_by_kind_and_files_by_video(tmp_path: Path) -> None:
    values = np.arange(12 * 512, dtype=np.float16).reshape(12, 512)
    for name in ("train/rgb/x.npy", "train/flow/x.npy", "test/rgb/y.npy"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "a" / name, values)
    tracks = read_feature_folder(tmp_path / "a")
    assert [(t.name, tuple(t.places)) for t in tracks] == [("rgb", ("y", "x")), ("flow", ("x",))] or [
        (t.name, tuple(sorted(t.places))) for t in tracks
    ] == [("rgb", ("x", "y")), ("flow", ("x",))]
    other = tmp_path / "b"
    other.mkdir()
    np.save(other / "v_1.npy", values)
    np.savez(other / "v_2.npz", feature=values[None].repeat(3, axis=0), frame_cnt=64, video_name="v_2")
    torch.save(torch.from_numpy(values.astype(np.float32)), other / "3.pt")
    torch.save({"feats": torch.from_numpy(values.astype(np.float32)), "fps": 25}, other / "4.pt")
    (other / "5.pkl").write_bytes(pickle.dumps({"rgb": values, "n": 4}))
    with h5py.File(other / "6.h5", "w") as file:
        file["c3d_features"] = values
    (track,) = named_as(read_feature_folder(other), ["1", "v_2", "v_3", "4", "5", "6"])
    assert set(track.places) == {"1", "v_2", "v_3", "4", "5", "6"} or set(track.places) == {
        "1",
        "v_2",
        "3",
        "4",
        "5",
        "6",
    }
    for video in track.places:
        np.testing.assert_array_equal(track.read(video), values.astype(np.float32))
    np.save(other / "1.npy", values)
    (tmp_path / "b/rgb").mkdir()
    np.save(other / "rgb/a.npy", values)
    np.save(other / "a_rgb.npy", values)
    with pytest.raises(FormatError, match="duplicate rgb features of 'a', also in"):
        read_feature_folder(other)


def test_one_h5_for_all_videos(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["v_a/c3d_features"] = np.ones((5, 2))
        file["v_b"] = np.zeros((3, 2))
        file["v_c"] = h5py.ExternalLink("other.h5", "x")
    (track,) = named_as(read_feature_folder(tmp_path / "f.h5"), ["a", "b", "c"])
    assert track.read("a").shape == (5, 2)
    with pytest.raises(FormatError, match="'v_c' is a link"):
        track.read("c")
    with h5py.File(tmp_path / "g.h5", "w") as file:
        for name, size in (("rgb", 3), ("flow", 3), ("vggish", 2)):
            file[f"a/{name}"] = np.ones((4, size))
    loaded = Tracks(read_feature_folder(tmp_path / "g.h5", Clock(Fraction(1)))).load("a")
    assert loaded.visual is not None
    assert loaded.audio is not None
    assert (loaded.visual.shape, loaded.audio.shape, loaded.duration_s) == ((4, 6), (4, 2), 4.0)


def test_arrays_that_are_no_features_are_named(tmp_path: Path) -> None:
    for k, (values, message) in enumerate(
        [
            (np.array([["a", "b"]]), "v: rgb features are <U1; expected numbers"),
            (np.arange(3.0), r"have shape \(3,\); expected \(rows, size\)"),
            (np.zeros((0, 4)), r"have shape \(0, 4\)"),
            (np.zeros((11, 4, 4)), r"have shape \(11, 4, 4\)"),
            (np.array([[1.0, np.nan], [0, 1]]), "have NaN or infinity in 1 of 2 rows"),
        ]
    ):
        path = tmp_path / f"{k}.npy"
        np.save(path, values)
        with pytest.raises(FormatError, match=message):
            Track("rgb", "visual", {"v": ArrayFile(path)}).read("v")
    np.savez(tmp_path / "a.npz", x=np.eye(2), y=np.eye(2))
    with pytest.raises(FormatError, match=r"expected one array, or one called feature, feats, rgb, ..., got x, y"):
        ArrayFile(tmp_path / "a.npz").read()
    assert ArrayFile(tmp_path / "a.npz", "y").read().shape == (2, 2)
    with pytest.raises(FormatError, match="expected an array 'z', got x, y"):
        ArrayFile(tmp_path / "a.npz", "z").read()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected feature files .* found nothing"):
        read_feature_folder(tmp_path / "empty")
    with pytest.raises(InputError, match=r"expected a folder of feature files or one .h5; it does not exist"):
        read_feature_folder(tmp_path / "none")


def test_unav_side_by_side_on_one_grid(tmp_path: Path) -> None:
    clock = Clock(Fraction(8, 25), Fraction(24, 25))
    data = open_collection(make_unav(tmp_path), [tmp_path / "av_features"], clock=clock)
    assert [row.subset for row in data.labels.rows] == ["train", "validation", "test"]
    assert data.features is not None
    loaded = data.features.load("-x_1", data.durations_s["-x_1"])
    rgb, flow, vggish = (np.load(tmp_path / f"av_features/-x_1_{n}.npy") for n in ("rgb", "flow", "vggish"))
    assert loaded.visual is not None
    np.testing.assert_allclose(loaded.visual[:, :6], rgb, rtol=1e-6)
    np.testing.assert_allclose(loaded.visual[:29, 6:], flow, rtol=1e-6)
    np.testing.assert_allclose(
        loaded.visual[29, 6:], flow[28], rtol=1e-6
    )  # the missing last row repeats the one before
    np.testing.assert_allclose(loaded.audio, vggish[:30], rtol=1e-6)
    assert loaded.grid == SnippetGrid(Fraction(0), Fraction(8, 25), Fraction(24, 25), 30)
    assert isinstance(data.features, Tracks)
    whole = data.features.onto(Fraction(1), "mean").load("-x_1", data.durations_s["-x_1"])
    assert (whole.grid.step_s, whole.grid.count) == (1, 10)


# --- opening and weak labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stated_s", "length_s"), [(9.5, 9.5), (9.0, 10.0), (12.0, 12.0), (None, 10.0)])
def test_a_stated_duration_counts_if_it_reaches_the_last_row(stated_s: float | None, length_s: float) -> None:
    class Rows:
        def read(self) -> np.ndarray:
            return np.ones((10, 4), "f4")

    tracks = Tracks((Track("rgb", "visual", {"v": Rows()}, Clock(Fraction(1))),))
    features = tracks.load("v", stated_s)
    assert (features.duration_s, features.grid.count) == (length_s, 10)


def test_what_is_no_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a data set; it does not exist"):
        open_collection(tmp_path / "none")
    (tmp_path / "x.doc").write_text("hello")
    with pytest.raises(InputError, match=r"expected a data set: a folder, ActivityNet's .json, or features in .h5"):
        open_collection(tmp_path / "x.doc")
    with pytest.raises(InputError, match="expected feature files"):
        open_collection(tmp_path)
    with pytest.raises(InputError, match="it contains its features"):
        open_collection(make_ave(tmp_path / "ave"), ["x"])


def test_the_folder_above_will_do(tmp_path: Path) -> None:
    make_ave(tmp_path / "AVE" / "data")
    assert open_collection(tmp_path / "AVE").name == "AVE"
    make_llp(tmp_path / "AVE" / "llp")
    with pytest.raises(InputError, match="expected one data set, got 2; give one of data, llp"):
        open_collection(tmp_path / "AVE")
    np.save(tmp_path / "x.npy", np.eye(2))
    with pytest.raises(InputError, match=r"a folder, ActivityNet's \.json, or features in \.h5"):
        open_collection(tmp_path / "x.npy")


def annotated(video: str, subset: str, *labels: str) -> VideoAnnotation:
    return VideoAnnotation(video, 9.0, subset, tuple(Instance(k, k + 1, label) for k, label in enumerate(labels)))


def test_subsets_as_training_needs_them() -> None:
    train, val, test = (
        annotated("a", "training", "x", "x", "y"),
        annotated("b", "validation", "x"),
        annotated("c", "testing"),
    )
    activitynet = weak_labels([train, val, test])
    assert [(r.video_id, r.subset) for r in activitynet.rows] == [("a", "train"), ("b", "test")]
    assert activitynet.rows[0].labels == ("x", "y")
    assert "1 video of subsets without labels left out" in activitynet.notes[1]
    unav = weak_labels([train, val, annotated("c", "testing", "y")])
    assert [r.subset for r in unav.rows] == ["train", "validation", "test"]
    assert unav.notes == ()
    thumos = weak_labels([val, annotated("c", "testing", "y")])
    assert [r.subset for r in thumos.rows] == ["train", "test"]
    strange = weak_labels([train, val, annotated("c", "fold 1", "y"), annotated("d", "", "y")])
    assert [(r.video_id, r.subset) for r in strange.rows] == [("a", "train"), ("b", "test"), ("d", "train")]
    assert (
        "1 video left out of the weak labels: expected subset training, validation or testing, got fold 1"
        in strange.notes[1]
    )


@pytest.mark.parametrize("spelt", ["Test", "TESTING", " test ", "testing"])
def test_subsets_in_any_spelling(tmp_path: Path, spelt: str) -> None:
    entry = {"duration": 9.0, "subset": spelt, "annotations": [{"label": "x", "segment": [1, 2]}]}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"database": {"a": entry}}), encoding="utf-8")
    assert read_annotations(path)[0][0].subset == "testing"
    assert len(read_annotations(path, "Test")[0]) == 1


def test_labels_written_read_back(tmp_path: Path) -> None:
    rows = (
        LabelRow("a,b", ("x", "y, z"), "train"),
        LabelRow("c", (), "validation"),
        LabelRow("d", ('say "hi"',), "test"),
    )
    write_labels(tmp_path / "labels.csv", LabelTable(rows))
    assert read_labels(tmp_path / "labels.csv").rows == rows
    for label in ("a;b", "Background", " "):
        with pytest.raises(InputError, match="cannot be written to"):
            write_labels(tmp_path / "labels.csv", LabelTable((LabelRow("a", (label,), "train"),)))
