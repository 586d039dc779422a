"""avloc convert again into the same folder, onto one step, with the grid of a frame, and from BSN's files."""

from __future__ import annotations

import json
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.datasets.axes import Layout
from avloc.datasets.convert import Imported, import_collection
from avloc.datasets.doctor import examine
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import Clock, Tracks
from avloc.errors import InputError
from avloc.formats.annotations import read_annotation_columns, read_annotations
from avloc.formats.features import FeatureStore, load_features
from field_sets import make_ave, make_llp, make_wtalc
from road_sets import make_thumos


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}


@pytest.mark.parametrize(
    ("opened", "options", "message"),
    [
        ({}, {"step_s": Fraction(1)}, "converted with step_s=own; requested step_s=1. Use another OUT, or --overwrite"),
        ({}, {"rule": "linear"}, "converted with rule=mean; requested rule=linear"),
        ({}, {"dtype": "float16"}, "converted with dtype=float32; requested dtype=float16"),
        ({"clock": Clock(Fraction(1, 2))}, {}, "converted with stride_s=none; requested stride_s=1/2"),
        ({"axes": {"2": "ct"}}, {}, "converted with axes=none; requested axes=2=ct"),
    ],
)
def test_changed_options_are_named_and_never_mix(
    tmp_path: Path, opened: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    root, out = make_wtalc(tmp_path), tmp_path / "out"
    assert len(import_collection(open_collection(root), out).done) == 4
    before = files(out)
    with pytest.raises(InputError, match="converted with") as caught:
        import_collection(open_collection(root, **opened), out, **options)
    assert message in str(caught.value)
    assert files(out) == before
    again = import_collection(open_collection(root, **opened), out, **options, overwrite=True)
    assert (len(again.done), len(again.notes)) == (4, 1)
    assert len(import_collection(open_collection(root, **opened), out, **options).skipped) == 4


def test_another_data_set_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_collection(open_collection(make_ave(tmp_path / "ave")), out, grid=True)
    llp = open_collection(make_llp(tmp_path / "llp"))
    with pytest.raises(InputError, match=r"converted with data=AVE; requested data=LLP"):
        import_collection(llp, out)
    import_collection(llp, out, overwrite=True)
    assert set(FeatureStore(out / "features").ids) == set(llp.durations_s)
    assert not list((out / "features_grid").rglob("*.safetensors"))


def test_a_stopped_overwrite_is_not_continued_with_the_old_options(tmp_path: Path) -> None:
    root, out = make_wtalc(tmp_path), tmp_path / "out"
    import_collection(open_collection(root), out)

    def stop(done: int, total: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_collection(open_collection(root), out, dtype="float16", overwrite=True, progress=stop)
    with pytest.raises(InputError, match="converted with dtype=float16"):
        import_collection(open_collection(root), out)
    assert len(import_collection(open_collection(root), out, dtype="float16").done) == 3


def test_a_damaged_file_is_converted_again_and_foreign_files_stay(tmp_path: Path) -> None:
    root, out = make_wtalc(tmp_path), tmp_path / "out"
    import_collection(open_collection(root), out)
    (out / "features/aaaaaaaaaaa.safetensors").write_bytes(b"half")
    again = import_collection(open_collection(root), out)
    assert (again.done, len(again.skipped)) == (("aaaaaaaaaaa",), 3)
    (out / "features/mine.safetensors").write_bytes(b"someone's")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"mine\.safetensors.*use another OUT"):
            import_collection(open_collection(root), out, overwrite=overwrite)
    assert (out / "features/mine.safetensors").read_bytes() == b"someone's"


def test_features_are_not_converted_onto_themselves(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_collection(open_collection(make_wtalc(tmp_path)), out)
    before = files(out)
    with pytest.raises(InputError, match="expected another output folder"):
        import_collection(open_collection(out), out, dtype="float16", overwrite=True)
    assert files(out) == before


LENGTHS_S = {"a": 20.3, "b": 31.0, "c": 44.9, "d": 25.5, "e": 37.7}


def given(tmp_path: Path, rows: dict[str, int], lengths_s: dict[str, float] = LENGTHS_S) -> tuple[Path, Path]:
    """ActivityNet's JSON and a folder rgb/ with these numbers of rows."""
    database = {
        name: {"subset": "training", "duration": s, "annotations": [{"label": "x", "segment": [1, 5]}]}
        for name, s in lengths_s.items()
    }
    (tmp_path / "truth.json").write_text(json.dumps({"version": "mine", "database": database}))
    (tmp_path / "f/rgb").mkdir(parents=True)
    for name, count in rows.items():
        np.save(tmp_path / f"f/rgb/{name}.npy", np.random.default_rng(count).normal(size=(count, 1024)))
    return tmp_path / "truth.json", tmp_path / "f"


def converted(tmp_path: Path, rows: dict[str, int], *options: Any) -> tuple[Imported, list[float]]:
    truth, folder = given(tmp_path, rows)
    done = import_collection(open_collection(truth, [folder]), tmp_path / "out", *options)
    return done, [float(step) for step in FeatureStore(tmp_path / "out/features").describe().steps_s]


def test_durations_tell_16_frames_at_25_fps(tmp_path: Path) -> None:
    rows = {name: int(s / 0.64) for name, s in LENGTHS_S.items()}
    done, steps_s = converted(tmp_path, {**rows, "d": rows["d"] + 40})  # one wrong duration, as in THUMOS14
    assert (len(done.done), steps_s) == (5, [0.64])
    notes = open_collection(tmp_path / "truth.json", [tmp_path / "f"]).notes
    assert any("rgb features: 0.64 s between rows (16 frames at 25 fps)" in note for note in notes)


def test_a_step_for_each_video_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    truth, folder = given(tmp_path, dict.fromkeys(LENGTHS_S, 100))
    data = open_collection(truth, [folder])
    with pytest.raises(InputError, match=r"got 0\.2 to 0\.45 s per row.*--stride-s 16/25.*--step-s 0\.31"):
        import_collection(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert any("features of 5 steps, 0.203 to 0.449 s per row" in f.text for f in examine(data).findings)
    assert len(import_collection(data, tmp_path / "out", Fraction(1)).done) == 5


def test_one_video_of_another_step_costs_itself(tmp_path: Path) -> None:
    truth, folder = given(tmp_path, dict.fromkeys(LENGTHS_S, 40), dict.fromkeys(LENGTHS_S, 20.0))
    np.save(folder / "rgb/d.npy", np.random.default_rng(1).normal(size=(80, 1024)))
    done = import_collection(open_collection(truth, [folder]), tmp_path / "out")
    assert done.done == ("a", "b", "c", "e")
    assert "expected 0.5 s per row, as in the other videos, got 0.25 s" in done.failures[0].reason


def test_the_grid_is_flattened_row_by_row(tmp_path: Path) -> None:
    import h5py

    import_collection(open_collection(make_ave(tmp_path / "ave")), tmp_path / "out", grid=True, dtype="float16")
    with h5py.File(tmp_path / "ave/visual_feature.h5") as file:
        frames = file["avadataset"][1]
    grid, pooled = (load_features(tmp_path / f"out/{name}/bbb.safetensors") for name in ("features_grid", "features"))
    assert grid.visual is not None
    assert pooled.visual is not None
    np.testing.assert_allclose(grid.visual.reshape(10, 7, 7, 16), frames, atol=2e-3)
    np.testing.assert_allclose(grid.visual.reshape(10, 49, 16).mean(1), pooled.visual, atol=2e-3)
    np.testing.assert_array_equal(grid.audio, pooled.audio)
    assert len(FeatureStore(tmp_path / "out/features_grid")) == len(FeatureStore(tmp_path / "out/features")) == 7
    with pytest.raises(InputError, match=r"--grid needs .* positions in the frame"):
        import_collection(open_collection(make_wtalc(tmp_path)), tmp_path / "none", grid=True)
    with pytest.raises(InputError, match=r"--grid is for features of other projects"):
        import_collection(open_collection(tmp_path / "out"), tmp_path / "none", grid=True)


def test_positions_come_in_the_same_order_from_any_layout() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3, 2, 2)).astype("f4")  # t c h w
    flat = Layout("tchw", "given").apply(values, positions=True)
    np.testing.assert_array_equal(flat, values.transpose(0, 2, 3, 1).reshape(5, 12))
    crops = np.stack([values, values + 1], axis=1)
    np.testing.assert_allclose(Layout("tnchw", "given").apply(crops, positions=True), flat + 0.5, rtol=1e-5)


def test_the_grid_added_later_leaves_the_pooled_features(tmp_path: Path) -> None:
    data, out = open_collection(make_ave(tmp_path / "ave")), tmp_path / "out"
    import_collection(data, out)
    before = files(out / "features")
    assert len(import_collection(data, out, grid=True).done) == 7
    assert files(out / "features") == before
    assert len(import_collection(data, out, grid=True).skipped) == 7


def bsn(folder: Path, table: bool = True) -> Path:
    rows = [{"segment": [0.01, 64.83], "label": "Ballet"}]
    facts = {"duration_second": 82.73, "duration_frame": 2479, "feature_frame": 2464, "annotations": rows}
    path = folder / "anet_anno_action.json"
    path.write_text(json.dumps({"v_QOlSCBRmfWY": facts, "v_ehGHCYKzyZ8": {**facts, "duration_second": 61.5}}))
    if table:
        (folder / "video_info_new.csv").write_text(
            "video,numFrame,seconds,fps,rfps,subset,featureFrame\n"
            "v_QOlSCBRmfWY,2479,82.73,30.0,29.96,training,2464\nv_ehGHCYKzyZ8,1000,61.5,30.0,29.9,validation,990\n"
        )
    return path


def test_bsn_json_is_activitynet(tmp_path: Path) -> None:
    path = bsn(tmp_path)
    annotations, _ = read_annotations(path)
    assert [(a.video_id, a.duration_s, a.subset) for a in annotations] == [
        ("QOlSCBRmfWY", 82.73, "training"),
        ("ehGHCYKzyZ8", 61.5, "validation"),
    ]
    assert read_annotation_columns(path, "val")["label"] == ["Ballet"]
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f/v_QOlSCBRmfWY.npy", np.eye(129, 2048))
    np.save(tmp_path / "f/v_ehGHCYKzyZ8.npy", np.eye(96, 2048))
    data = open_collection(path, [tmp_path / "f"])
    assert {row.video_id: row.subset for row in data.labels.rows} == {"QOlSCBRmfWY": "train", "ehGHCYKzyZ8": "test"}
    assert data.preset == "activitynet"
    assert set(import_collection(data, tmp_path / "out").done) == {"QOlSCBRmfWY", "ehGHCYKzyZ8"}


def test_bsn_without_its_table_says_that_all_videos_are_train(tmp_path: Path) -> None:
    data = open_collection(bsn(tmp_path, table=False))
    assert {row.subset for row in data.labels.rows} == {"train"}
    assert any("no subsets are named: all 2 videos are used as train" in note for note in data.labels.notes)


def test_bsn_csv_features_are_named_in_the_refusal(tmp_path: Path) -> None:
    folder = tmp_path / "csv_mean_100"
    folder.mkdir()
    (folder / "v_QOlSCBRmfWY.csv").write_text("f0,f1\n0.1,0.2\n")
    with pytest.raises(InputError, match=r"found \.csv; save each table \(as of BSN's csv_mean_100\) as \.npy"):
        open_collection(bsn(tmp_path), [folder])


def test_wtalcs_annotations_with_a_folder_of_features_keep_its_step(tmp_path: Path) -> None:
    make_thumos(tmp_path)
    data = open_collection(tmp_path / "Thumos14reduced-Annotations", [tmp_path / "features"])
    assert data.preset == "thumos14"
    assert isinstance(data.features, Tracks)
    assert [track.name for track in data.features.tracks] == ["rgb", "flow"]
    assert data.features.common_step() == Fraction(16, 25)


def test_the_next_commands_are_those_of_the_data_set(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path / "my sets")
    done = CliRunner().invoke(app, ["convert", str(root), str(tmp_path / "my out")])
    commands = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("  avloc")]
    features = str(tmp_path / "my out/features")
    train = ["--features", features, "--labels", str(tmp_path / "my out/labels.csv"), "--preset", "activitynet"]
    assert commands == [
        ["avloc", "train", *train, "--set", "model.modality=visual", "-o", "run"],
        ["avloc", "localize", "run", features, "--subset", "test", "-o", "detections"],
        ["avloc", "evaluate", "detections", str(root), "--subset", "validation"],
    ]
