"""Feature arrays that people bring: which axis is time, whose file it is, what lies in a file. Nothing is guessed."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest

from avloc.datasets.axes import Layout, Rows, choose_axes, parse_axes
from avloc.datasets.containers import AUDIO, ORDER, VISUAL
from avloc.datasets.convert import import_collection
from avloc.datasets.doctor import examine
from avloc.datasets.folders import read_feature_folder
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import Clock, Tracks
from avloc.errors import AvlocError, ConfigError, FormatError, InputError
from avloc.features import layout as layouts
from avloc.formats.features import FeatureStore
from avloc.types import FeatureSequence, Provenance, SnippetGrid
from console import avloc

TWENTY_SECONDS = Rows(20, 20, sure=False)


def rows_and_channels(*shape: int, t: int, c: int) -> np.ndarray:
    """An array whose value is 100 t + c at every position, up to a term that the other axes average away."""
    index = np.indices(shape)
    rest = sum(index[k] - (shape[k] - 1) / 2 for k in range(len(shape)) if k not in (t, c))
    return (100 * index[t] + index[c] + rest).astype(np.float32)


def expected(rows: int, size: int) -> np.ndarray:
    return (100 * np.arange(rows)[:, None] + np.arange(size)).astype(np.float32)


def annotations(folder: Path, videos: dict[str, float]) -> Path:
    """ActivityNet's JSON of videos and their durations."""
    instance = {"label": "a", "segment": [1.0, 2.0]}
    database = {
        v: {"subset": "training", "duration": duration_s, "annotations": [instance]} for v, duration_s in videos.items()
    }
    (folder / "ann.json").write_text(json.dumps({"database": database}))
    return folder / "ann.json"


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ([(20, 16, 7, 7), (24, 16, 7, 7)], "tchw"),
        ([(16, 20, 7, 7), (16, 24, 7, 7)], "cthw"),
        ([(20, 16, 1, 1), (24, 16, 1, 1)], "tc11"),
        ([(1, 16, 20, 1, 1), (1, 16, 24, 1, 1)], "1ct11"),
        ([(10, 1, 16), (12, 1, 16)], "t1c"),
        ([(10, 20, 16), (10, 24, 16)], "ntc"),
        ([(10, 20, 16)] * 9 + [(10, 24, 16)], "ntc"),
        ([(20, 10, 16), (24, 10, 16)], "tnc"),
        ([(64, 20), (64, 24)], "ct"),
        ([(64, 20), (80, 20)], "tc"),
        ([(20, 7, 7, 512)], "thwc"),
        ([(20, 512, 7, 7)], "tchw"),
        ([(20, 2048, 1, 1)], "tc11"),
        ([(20, 1, 1024)], "t1c"),
        ([(10, 20, 1024)], "ntc"),
        ([(20, 16)], "tc"),
        ([(4, 4)], "tc"),
        ([(1, 1, 1024)], "t1c"),
        ([(1, 1, 20)], "t1c"),
        ([(20, 1)], "tc"),
    ],
)
def test_axes_told_by_the_other_files_and_by_known_sizes(shapes: list, axes: str) -> None:
    layout = choose_axes(shapes, [None] * len(shapes))
    assert isinstance(layout, Layout), layout
    assert layout.axes == axes
    t, c = axes.index("t"), axes.index("c")
    shape = shapes[0]
    np.testing.assert_allclose(
        layout.apply(rows_and_channels(*shape, t=t, c=c)), expected(shape[t], shape[c]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("shapes", "rows", "name", "reason"),
    [
        ([(20, 16, 7, 7)], None, "", "it could be tchw or cthw; nothing in the data tells which"),
        ([(20, 16, 1, 1)], None, "", "it could be tc11 or ct11"),
        ([(10, 1, 1024)], None, "", "it could be t1c or ntc"),
        ([(10, 10, 1024)] * 2, None, "", "it could be tnc or ntc"),
        ([(10, 1, 16)], TWENTY_SECONDS, "", "it could be t1c or ntc or c1t"),
        ([(7, 7, 7, 512)], None, "", "it could be thwc or hwtc"),
        ([(20, 16, 12)], TWENTY_SECONDS, "", "no layout fits this shape"),
        ([(64, 20)], TWENTY_SECONDS, "", "it could be ct (t fits one row per second), which is not certain"),
        ([(1024, 57)], None, "", "it could be ct (c has a published size), which is not certain"),
        ([(64, 20), (64, 24), (64, 24)], None, "", "it could be ct"),
        ([(10, 1, 16)] * 9 + [(10, 1, 17)], None, "", "it could be c1t"),  # one damaged file is no evidence
        ([(20, 1, 1)], None, "", "it could be"),
        ([(50, 1024)], Rows(1020, 1030, True), "rgb", "contradictory: tc by c has a published size and ct by t fits"),
    ],
)
def test_what_cannot_be_told_is_refused(shapes: list, rows: Rows | None, name: str, reason: str) -> None:
    refusal = choose_axes(shapes, [rows] * len(shapes), name)
    assert isinstance(refusal, str)
    assert reason in refusal


@pytest.mark.parametrize(
    ("shape", "rows", "name", "axes"),
    [
        ((20, 16, 7, 7), TWENTY_SECONDS, "", "tchw"),
        ((20, 16, 1, 1), TWENTY_SECONDS, "", "tc11"),
        ((20, 16), TWENTY_SECONDS, "", "tc"),
        ((1024, 20), TWENTY_SECONDS, "", "ct"),
        ((64, 20), Rows(17, 23, True), "", "ct"),
        ((10, 1, 16), Rows(8, 12, True), "", "t1c"),
        ((10, 1, 128), Rows(10, 10, False), "vggish", "t1c"),
        ((1024, 57), None, "rgb", "ct"),
        ((128, 12), None, "vggish", "ct"),
        ((128, 1024), Rows(128, 128, True), "rgb", "tc"),
        ((50, 1024), Rows(1024, 1024, False), "", "tc"),  # one row per second is only supposed
    ],
)
def test_axes_told_by_durations_and_names(shape: tuple, rows: Rows | None, name: str, axes: str) -> None:
    layout = choose_axes([shape], [rows], name)
    assert isinstance(layout, Layout), layout
    assert layout.axes == axes


def test_given_axes() -> None:
    assert parse_axes("") == {}
    assert parse_axes("tcHW, rgb=CT") == {"4": "tchw", "rgb": "ct"}
    for text in ("thw", "tcx", "tcc", "rgb=", "tc,ct"):
        with pytest.raises(ConfigError, match="--axes"):
            parse_axes(text)


def converted(folder: Path, *options: object) -> tuple[int, str, str]:
    done = avloc("convert", folder / "ann.json", folder / "out", "--features", folder / "f", *options)
    return done.returncode, done.stdout, done.stderr


def test_convert_says_the_layout_and_refuses_in_one_line(tmp_path: Path) -> None:
    annotations(tmp_path, {"v1": 20.0})
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f/v1.npy", rows_and_channels(20, 16, 7, 7, t=0, c=1))
    code, out, err = converted(tmp_path)
    assert (code, err) == (0, "")
    assert "visual features (f): axes tchw, averaged over h and w (t fits one row per second)" in out
    written = FeatureStore(tmp_path / "out/features").load("v1").visual
    np.testing.assert_allclose(written, expected(20, 16), rtol=1e-6)
    np.save(tmp_path / "f/v1.npy", rows_and_channels(64, 20, t=1, c=0))
    code, out, err = converted(tmp_path, "--overwrite")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "visual features (f) of 2 axes: it could be ct" in err
    assert "--axes tc" in err
    code, out, err = converted(tmp_path, "--overwrite", "--axes", "ct")
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(FeatureStore(tmp_path / "out/features").load("v1").visual, expected(20, 64))
    np.save(tmp_path / "f/v1.npy", expected(31, 16))
    code, out, err = converted(tmp_path, "--overwrite")
    assert (code, err) == (0, "")
    assert "visual features (f): axes tc (the usual order, which nothing confirms)" in out
    code, out, err = converted(tmp_path, "--overwrite", "--axes", "tchw")
    assert (code, err) == (2, "error: --axes tchw is for arrays of 4 axes; there is none, but arrays of 2 axes\n")


def test_doctor_says_the_layout_of_each_track_and_a_swapped_file_costs_itself(tmp_path: Path) -> None:
    path = annotations(tmp_path, {"a": 20.0, "b": 30.0, "c": 40.0})
    for kind, size in (("rgb", 1024), ("vggish", 128)):
        (tmp_path / "f" / kind).mkdir(parents=True)
        for video, rows in (("a", 25), ("b", 38), ("c", 50)):
            np.save(tmp_path / "f" / kind / f"{video}.npy", np.random.default_rng(rows).normal(size=(rows, size)))
    np.save(tmp_path / "f/rgb/c.npy", np.ones((1024, 50)))
    np.save(tmp_path / "f/vggish/b.npy", np.ones((38, 1, 128)))
    report = examine(open_collection(path, [tmp_path / "f"]))
    assert report.layouts == (
        "rgb features (rgb): axes tc (the videos differ along t only and c has a published size)",
        "vggish features (vggish): axes tc (the videos differ along t only and c has a published size)",
        "vggish features (vggish): axes t1c (c has a published size)",
    )
    errors = [finding.text for finding in report.findings if finding.kind == "error"]
    assert errors[0] == "1 video with unusable features: c"
    assert "have shape (1024, 50); expected (rows, size): it looks like ct, the other files are tc" in errors[1]
    done = import_collection(open_collection(path, [tmp_path / "f"]), tmp_path / "out", Fraction(4, 5))
    assert (done.done, [failure.video_id for failure in done.failures]) == (("a", "b"), ["c"])


def test_timestamps_tell_the_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a_rgb.npy", rows_and_channels(64, 20, t=1, c=0))
    np.save(tmp_path / "a_timestamps_ms.npy", 640 * np.arange(1, 21))
    (track,) = read_feature_folder(tmp_path)
    np.testing.assert_array_equal(track.read("a"), expected(20, 64))


@pytest.mark.parametrize("name", ["goal_clip", "water_flow", "dog-audio", "a_fps", "x_timestamps_ms", "baby_ast"])
def test_a_name_in_the_annotations_wins_over_its_ending(tmp_path: Path, name: str) -> None:
    path = annotations(tmp_path, {name: 20.0, "other": 20.0})
    (tmp_path / "f").mkdir()
    np.save(tmp_path / f"f/{name}.npy", expected(20, 16))
    np.save(tmp_path / "f/other_rgb.npy", expected(20, 8))
    data = open_collection(path, [tmp_path / "f"])
    assert data.features is not None
    loaded = data.features.load(name, 20.0)
    assert (loaded.source.backbones, loaded.audio) == ({"visual": "features"}, None)
    np.testing.assert_array_equal(loaded.visual, expected(20, 16))
    assert data.features.load("other", 20.0).source.backbones == {"visual": "rgb"}


def test_a_name_with_an_ending_and_files_of_both_videos(tmp_path: Path) -> None:
    path = annotations(tmp_path, {"dog": 20.0, "dog_rgb": 20.0})
    (tmp_path / "f").mkdir()
    for name, size in (("dog_rgb", 8), ("dog_flow", 9), ("dog_rgb_rgb", 8), ("dog_rgb_flow", 9)):
        np.save(tmp_path / f"f/{name}.npy", expected(20, size))
    tracks = open_collection(path, [tmp_path / "f"]).features
    assert isinstance(tracks, Tracks)
    assert [(t.name, sorted(t.places)) for t in tracks.tracks] == [(k, ["dog", "dog_rgb"]) for k in ("rgb", "flow")]


# --- extract --layout npy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visual", "size", "audio"),
    [
        ("appearance", 584, "logmel"),
        ("i3d", 2048, "vggish-pca"),
        ("i3d-flow-dis", 1024, "efficientat-mn04"),
        ("clip:openai/clip-vit-large-patch14", 768, "ast:someone/model"),
        ("someones_own", 7, "pe-a-frame"),
    ],
)
def test_npy_that_extract_writes_is_read_back(tmp_path: Path, visual: str, size: int, audio: str) -> None:
    rng = np.random.default_rng(0)
    grid = SnippetGrid.cover(12.3, Fraction(16, 25))
    arrays = [rng.normal(size=(grid.count, n)).astype("f4") for n in (size, 6)]
    source = Provenance({"visual": visual, "audio": audio}, {}, {"visual_rate_hz": "25"})
    written = [FeatureSequence(name, 12.3, grid, *arrays, source) for name in ("a", "b_rgb")]
    for features in written:
        layouts.save(tmp_path / "N", features, "npy", "float32")
    import_collection(open_collection(tmp_path / "N"), tmp_path / "out")
    store = FeatureStore(tmp_path / "out/features")
    assert store.ids == ("a", "b_rgb")
    for features in written:
        back = store.load(features.video_id)
        details = {key: text for key, text in back.source.details.items() if key != "conversion"}
        assert (back.grid, back.duration_s, replace(back.source, details=details)) == (grid, 12.3, source)
        np.testing.assert_array_equal(back.visual, features.visual)
        np.testing.assert_array_equal(back.audio, features.audio)
    path = annotations(tmp_path, {"a": 12.3, "b_rgb": 12.3})
    data = open_collection(path, [tmp_path / "N"])
    assert data.features is not None
    assert isinstance(data.features, Tracks)
    assert {track.clock_of("a").rows for track in data.features.tracks} == {grid.count}
    loaded = data.features.load("b_rgb", 12.3)
    assert loaded.grid == grid
    np.testing.assert_array_equal(loaded.audio, arrays[1])
    np.testing.assert_array_equal(loaded.visual, arrays[0])


def test_npy_files_besides_the_described_ones_are_reported_and_keys_stay_inside(tmp_path: Path) -> None:
    grid = SnippetGrid.cover(4, 1)
    folder = tmp_path / "N"
    layouts.save(
        folder, FeatureSequence("a", 4, grid, np.eye(4), None, Provenance({"visual": "i3d"})), "npy", "float32"
    )
    np.save(folder / "z_rgb.npy", np.eye(4))
    data = open_collection(folder)
    assert data.notes == ("1 feature file without a .json left out, convert them on their own: z_rgb.npy",)
    np.save(tmp_path / "N_x.npy", np.eye(4))
    facts = json.loads((folder / "a.json").read_text())
    (folder / "a.json").write_text(json.dumps({**facts, "keys": {"visual": ["/../../N_x"]}}))
    assert data.features is not None
    with pytest.raises(FormatError, match="the key"):
        data.features.load("a")


def test_every_backbone_has_a_track(tmp_path: Path) -> None:
    from avloc.features.backbones import BACKBONES, card

    for name in BACKBONES:
        facts = card(name)
        for key in layouts._parts(name, np.zeros((1, facts.size))):
            assert key in (VISUAL if facts.modality == "visual" else AUDIO), key


# --- files of several arrays ----------------------------------------------------------------------------------------


def groups(video: str) -> dict[str, np.ndarray]:
    k = len(video)
    return {
        f"{video}/i3d_features/rgb": expected(10 + k, 6),
        f"{video}/i3d_features/flow": expected(10 + k, 5),
        f"{video}/vggish_features": expected(12 + k, 4),
        f"{video}/fps": np.array(25.0),
    }


def nested(arrays: dict[str, np.ndarray]) -> dict:
    tree: dict = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        node = tree
        for part in folders:
            node = node.setdefault(part, {})
        node[last] = array
    return tree


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    import torch

    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(nested(arrays)))
    elif path.suffix == ".npy":
        np.save(path, np.array(nested(arrays), dtype=object))
    else:
        torch.save(_tensors(nested(arrays)), path)
    return path


def _tensors(tree: dict) -> dict:
    import torch

    return {k: _tensors(v) if isinstance(v, dict) else torch.from_numpy(v) for k, v in tree.items()}


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".pkl", ".npy", ".pt"])
@pytest.mark.parametrize("first", ["video", "track"])
def test_one_file_with_groups_of_tracks(tmp_path: Path, suffix: str, first: str) -> None:
    if first == "video":
        arrays = {**groups("a"), **groups("v_b")}
    else:
        both = {**groups("a"), **groups("v_b")}
        arrays = {f"{n.split('/')[-1]}/{n.split('/')[0]}": x for n, x in both.items() if x.ndim > 1}
    path = write_arrays(tmp_path / f"all{suffix}", arrays)
    alone = read_feature_folder(path)
    assert [(t.name, sorted(t.places)) for t in alone] == [(k, ["a", "v_b"]) for k in ("rgb", "flow", "vggish")]
    truth = annotations(tmp_path, {"a": 11.0, "b": 13.0})
    data = open_collection(truth, [path], clock=Clock(Fraction(1)))
    assert isinstance(data.features, Tracks)
    assert [(t.name, t.modality) for t in data.features.tracks] == [
        ("rgb", "visual"),
        ("flow", "visual"),
        ("vggish", "audio"),
    ]
    loaded = data.features.load("b", 13.0)
    np.testing.assert_array_equal(loaded.visual, np.concatenate([expected(13, 6), expected(13, 5)], axis=1))
    np.testing.assert_array_equal(loaded.audio, expected(15, 4)[:13])


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".pkl", ".pt"])
def test_a_file_per_video_with_several_tracks(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "f").mkdir()
    for video in ("a", "bb"):
        arrays = {name.partition("/")[2]: array for name, array in groups(video).items()}
        write_arrays(tmp_path / f"f/{video}{suffix}", arrays)
    tracks = read_feature_folder(tmp_path / "f", Clock(Fraction(1)))
    assert [(t.name, sorted(t.places)) for t in tracks] == [(k, ["a", "bb"]) for k in ("rgb", "flow", "vggish")]
    loaded = Tracks(tracks).load("bb")
    assert loaded.visual is not None
    assert loaded.audio is not None
    np.testing.assert_array_equal(loaded.visual[:, :6], expected(12, 6))
    np.testing.assert_array_equal(loaded.audio, expected(14, 4)[:12])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a/x": np.eye(3), "a/y": np.eye(3)}, "got several in 'a': a/x, a/y"),
        ({"avadataset": np.zeros((5, 10, 7, 7, 2))}, "give the folder with its Annotations.txt"),
        ({"a": np.zeros(3)}, "expected arrays .rows, size. by video; it has none"),
    ],
)
def test_files_of_arrays_that_are_refused(tmp_path: Path, arrays: dict, words: str) -> None:
    path = write_arrays(tmp_path / "x.h5", arrays)
    with pytest.raises((FormatError, InputError), match=words):
        open_collection(path)
    np.save(tmp_path / "one.npy", np.eye(3))
    with pytest.raises(FormatError, match="give the folder with a file per video"):
        read_feature_folder(tmp_path / "one.npy")


def test_groups_that_contain_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avloc.formats.untrusted.hdf5.MOST_NAMES", 2000)
    monkeypatch.setattr("avloc.datasets.places.MOST_NAMES", 2000)
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        for k in range(30):
            file[f"g{k}"] = file["/"]
    loop: dict = {}
    loop |= {f"g{k}": loop for k in range(30)}
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(loop))
    for name, reason in (("loop.h5", "it has none"), ("loop.pkl", "a dict that contains itself")):
        with pytest.raises(AvlocError, match=reason):
            read_feature_folder(tmp_path / name)


def test_tracks_have_one_modality() -> None:
    assert len(set(ORDER)) == len(VISUAL) + len(AUDIO)
