"""avloc's files round-trip; invalid ones are refused with a helpful message."""

from __future__ import annotations

import gc
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from avloc.datasets.ave import read_ave
from avloc.errors import FormatError, InputError
from avloc.formats.annotations import read_annotation_columns, read_annotations, write_annotations
from avloc.formats.detections import read_detection_columns, read_detections, write_segments_csv, write_segments_json
from avloc.formats.features import FeatureStore, load_features, save_features
from avloc.formats.labels import match_videos, read_labels
from avloc.formats.provenance import read_source, write_source
from avloc.formats.results import find_results
from avloc.system.atomic import atomic_path, atomic_write
from avloc.types import Detection, FeatureSequence, Instance, Provenance, SnippetGrid, VideoAnnotation

SHARED = Path(__file__).resolve().parents[2] / "shared"
AVE = SHARED / "real/annotations/ave/data"
ANNOTATIONS = SHARED / "real/annotations"
needs_shared = pytest.mark.skipif(not AVE.is_dir(), reason="needs ../shared")


def features(
    video_id: str = "v", rows: int = 4, visual: int = 3, audio: int | None = 2, **details: str
) -> FeatureSequence:
    rng = np.random.default_rng(len(video_id))
    grid = SnippetGrid.cover(rows * 0.64, 0.64, 0.96)
    sound = None if audio is None else rng.normal(size=(rows, audio)).astype(np.float32)
    source = Provenance({"visual": "resnet", "audio": "vggish"}, details=details)
    return FeatureSequence(
        video_id, rows * 0.64, grid, rng.normal(size=(rows, visual)).astype(np.float32), sound, source
    )


def write(path: Path, content: str | bytes | dict) -> Path:
    data = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- whole files ------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "a.txt"
    atomic_write(target, "first")

    def fail_half_way() -> None:
        with atomic_path(target) as part:
            part.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail_half_way()
    assert target.read_text() == "first"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]
    atomic_write(target, b"second")
    assert target.read_text() == "second"


def test_importing_formats_and_metrics_is_light() -> None:
    code = "import avloc.formats, avloc.metrics, sys; print([m for m in ('torch', 'h5py', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- features ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio", [2, None])
def test_features_read_back_the_same(tmp_path: Path, audio: int | None) -> None:
    original = features("видео 1", audio=audio, note='quotes " and ü')
    save_features(tmp_path / "v.safetensors", original)
    copy = load_features(tmp_path / "v.safetensors")
    assert (copy.video_id, copy.duration_s, copy.source) == (original.video_id, original.duration_s, original.source)
    assert copy.grid == original.grid
    assert copy.grid.step_s == Fraction(16, 25)
    np.testing.assert_array_equal(copy.visual, original.visual)
    assert (copy.audio is None) == (audio is None)
    assert copy.visual is not None
    assert copy.visual.dtype == np.float32


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"visual": "rgb+flow"},
        {"visual": "none", "audio": "vggish", "audio_weights": "a.pth sha256:0"},
        {"path": "v.mp4", "visual": "i3d", "audio": "none: no sound stream", "damage": "none", "visual_rate_hz": "16"},
    ],
)
def test_source_is_stored_as_before(facts: dict[str, str]) -> None:
    """Including key order: the JSON of the .npy layout is not sorted."""
    assert list(write_source(read_source(facts)).items()) == list(facts.items())


def test_source_says_why_a_modality_is_absent() -> None:
    source = read_source({"visual": "none", "audio": "none: no sound stream", "damage": "none"})
    assert source == Provenance({}, {"visual": "", "audio": "no sound stream"}, {"damage": "none"})


def test_float16_halves_the_file_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    original = features()
    save_features(tmp_path / "v.safetensors", original, dtype="float16")
    copy = load_features(tmp_path / "v.safetensors")
    assert copy.visual is not None
    assert original.visual is not None
    assert copy.visual.dtype == np.float32
    np.testing.assert_allclose(copy.visual, original.visual, rtol=1e-3)
    big = FeatureSequence("v", 1.0, SnippetGrid.cover(1, 1), np.array([[1e6]]), None)
    with pytest.raises(InputError, match="v: visual has values too large for float16"):
        save_features(tmp_path / "big.safetensors", big, dtype="float16")
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        save_features(tmp_path / "v.npz", original)


def broken_feature_file(path: Path, kind: str) -> None:
    good = {"avloc_features": "1", "video_id": "v", "duration_s": "2.0", "source": "{}"}
    good["grid"] = json.dumps({"start_s": "0", "step_s": "1", "length_s": "1", "count": 2})
    rows = np.zeros((2, 3), np.float32)
    if kind == "nan":
        rows[1, 1] = np.nan
    header = {
        "keys": {k: v for k, v in good.items() if k != "grid"},
        "schema": good | {"avloc_features": "9"},
        "grid": good | {"grid": '{"start_s": "0/0"}'},
        "duration": good | {"duration_s": "nan"},
    }.get(kind, good)
    tensors = {
        "rows": {"visual": np.zeros((3, 3), np.float32)},
        "flat": {"audio": np.zeros(2, np.float32)},
        "name": {"visual": rows, "flow": rows},
        "type": {"visual": np.zeros((2, 3), np.int64)},
    }.get(kind, {"visual": rows})
    save_file(tensors, path, metadata=header)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "visual has NaN or infinity in 1 rows, first 1; extract"),
        ("keys", "not a feature file of avloc: expected grid in its header"),
        ("schema", "expected schema '1', got '9'"),
        ("grid", "its header cannot be read"),
        ("duration", "its header cannot be read"),
        ("rows", r"expected visual of shape \(2, size\), .* 2 snippets, got \(3, 3\)"),
        ("flat", r"expected audio of shape \(2, size\), .* got \(2,\)"),
        ("name", "expected the tensors visual and/or audio, got flow, visual"),
        ("type", "visual must be F16, F32 or F64, got I64"),
    ],
)
def test_bad_feature_files_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "v.safetensors"
    broken_feature_file(path, kind)
    with pytest.raises(FormatError, match=rf"v\.safetensors: .*{message}"):
        load_features(path)


def test_what_is_no_feature_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"text\.safetensors: expected a safetensors file"):
        load_features(write(tmp_path / "text.safetensors", "hello, this is text"))
    save_features(tmp_path / "half.safetensors", features())
    whole = (tmp_path / "half.safetensors").read_bytes()
    write(tmp_path / "half.safetensors", whole[:-5])
    with pytest.raises(FormatError, match="got another format or a truncated file"):
        load_features(tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="it does not exist"):
        load_features(tmp_path / "none.safetensors")


def test_store_lists_loads_and_describes(tmp_path: Path) -> None:
    save_features(tmp_path / "b.safetensors", features("b", rows=5))
    save_features(tmp_path / "a.safetensors", features("a", audio=None))
    save_features(tmp_path / "deep/c.safetensors", features("c"))
    write(tmp_path / "notes.txt", "not a feature file")
    store = FeatureStore(tmp_path)
    assert store.ids == ("a", "b", "deep/c")
    assert "b" in store
    assert store.load("deep/c").video_id == "c"
    facts = store.describe()
    assert facts.lengths == {"a": 4, "b": 5, "deep/c": 4}
    assert (facts.visual_dim, facts.audio_dim, facts.visual_source, facts.audio_source) == (3, 2, "resnet", "vggish")
    assert (facts.without_audio, facts.without_visual, facts.steps_s) == (("a",), (), (Fraction(16, 25),))
    for name, step_s in (("eight", 8), ("one", 1)):  # a set of these numbers is not in order
        rows = np.ones((3, 2), np.float32)
        made = FeatureSequence(name, 3.0 * step_s, SnippetGrid.cover(3 * step_s, step_s), rows, None, Provenance())
        save_features(tmp_path / "mixed" / f"{name}.safetensors", made)
    assert FeatureStore(tmp_path / "mixed").describe().steps_s == (1, 8)
    with pytest.raises(InputError, match=r"no features of 'bb' among 3 videos\. Did you mean 'b'"):
        store.load("bb")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"visual": 7}, "expected one visual size .* a.safetensors has 3 and b.safetensors has 7"),
        ({"audio": 9}, "expected one audio size .* a.safetensors has 2 and b.safetensors has 9"),
    ],
)
def test_store_refuses_a_mixture_of_sizes(tmp_path: Path, other: dict, message: str) -> None:
    save_features(tmp_path / "a.safetensors", features("a"))
    save_features(tmp_path / "b.safetensors", features("b", **other))
    with pytest.raises(FormatError, match=message):
        FeatureStore(tmp_path).describe()


def test_store_refuses_a_mixture_of_backbones_and_wrong_names(tmp_path: Path) -> None:
    save_features(tmp_path / "a.safetensors", features("a"))
    original = features("b")
    other = replace(original, audio=None, source=Provenance({"visual": "i3d"}))
    save_features(tmp_path / "b.safetensors", other)
    with pytest.raises(FormatError, match=r"a\.safetensors has 'resnet' and b\.safetensors has 'i3d'"):
        FeatureStore(tmp_path).describe()
    (tmp_path / "b.safetensors").rename(tmp_path / "c.safetensors")
    with pytest.raises(FormatError, match="expected features of 'c', as the file is named, got those of 'b'"):
        FeatureStore(tmp_path).load("c")


def test_store_needs_a_folder_with_features(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder"):
        FeatureStore(tmp_path / "none")
    write(tmp_path / "a.npy", b"")
    with pytest.raises(InputError, match=r"found \.npy; create them with `avloc extract`"):
        FeatureStore(tmp_path)


# --- annotations ------------------------------------------------------------------------------------------------


def ground_truth(*segments: list, subset: str = "validation") -> dict:
    rows = [{"label": "x", "segment": segment} for segment in segments]
    return {"version": "t", "database": {"v": {"subset": subset, "duration": 20.0, "annotations": rows}}}


def test_annotations_read_back_the_same(tmp_path: Path) -> None:
    original = (
        VideoAnnotation("v", 20.25, "training", (Instance(0.1, 5.0, "läuft"), Instance(6.0, 7.5, "b"))),
        VideoAnnotation("w", 3.0, "testing", ()),
    )
    write_annotations(tmp_path / "gt.json", original)
    copy, report = read_annotations(tmp_path / "gt.json")
    assert copy == original
    assert report.notes() == ()
    assert read_annotations(tmp_path / "gt.json", "train")[0] == original[:1]
    with pytest.raises(InputError, match="annotated twice"):
        write_annotations(tmp_path / "gt.json", original * 2)


def test_odd_instances_are_reported(tmp_path: Path) -> None:
    content = ground_truth([1, 2], [3, 3], [9, 5], [1, 2.0004], [1, 2.5], [-1, 4], [-3, -1], [18, 22], [25, 30])
    path = write(tmp_path / "gt.json", content)
    (video,), report = read_annotations(path)
    assert [(i.start_s, i.end_s) for i in video.instances] == [(1, 2), (1, 2.5), (0, 4), (18, 22), (25, 30)]
    assert [(i.kind, i.action) for i in report.issues] == [
        ("zero-length", "dropped"),
        ("reversed", "dropped"),
        ("duplicate", "dropped"),
        ("starts before 0", "cut"),
        ("ends before 0", "dropped"),
        ("ends after the end", "kept"),
        ("starts after the end", "kept"),
    ]
    assert report.notes()[0] == "1 instance zero-length, dropped: v 'x' 3-3 s"
    assert report.notes(unchanged=True)[0] == "1 instance zero-length, left unchanged: v 'x' 3-3 s"
    columns = read_annotation_columns(path)
    assert columns["start_s"].tolist() == [1, 3, 9, 1, 1, -1, -3, 18, 25]


def test_instances_at_the_bounds_of_the_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "gt.json", ground_truth([0, 5], [0.001, 5], [0, 5.001], [0, 20], [20, 21]))
    (video,), report = read_annotations(path)
    assert len(video.instances) == 5  # a difference of a millisecond is no duplicate
    assert [(i.kind, i.start_s) for i in report.issues] == [("starts after the end", 20)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON; it cannot be parsed"),
        ("[1]", "expected a JSON object"),
        ("[" * 100_000, "expected JSON; it cannot be parsed"),
        ({"results": {}}, '"database".* this is a submission'),
        ({"database": {"v": 3}}, "video 'v': expected an object, got int"),
        ({"database": {"v": {"duration": "long"}}}, "video 'v': expected a duration in seconds, got 'long'"),
        ({"database": {"v": {"duration": 2, "annotations": 1}}}, "annotations must be a list, got int"),
        (ground_truth([1]), r"video 'v': a segment is \[start, end\] in seconds, got \[1\]"),
        (ground_truth(["1", 2]), "a segment is"),
        (ground_truth([True, 2]), "a segment is"),
        (ground_truth([1, None]), "a segment is"),
        (ground_truth([1, float("nan")]), "times must be finite"),
        ({"database": {"v": {"duration": 2, "annotations": [{"segment": [0, 1]}]}}}, 'expected {"label": text'),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, content: str | dict, message: str) -> None:
    path = write(tmp_path / "gt.json", content)
    with pytest.raises(FormatError, match=f"gt.json: .*{message}"):
        read_annotations(path)
    assert gc.isenabled()


def test_columns_refuse_the_same_rows_and_subsets_have_names(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="a segment is"):
        read_annotation_columns(write(tmp_path / "gt.json", ground_truth([1, 2], ["1", 2])))
    with pytest.raises(FormatError, match='"label": text'):
        read_annotation_columns(write(tmp_path / "gt.json", {"database": {"v": {"annotations": [7]}}}))
    path = write(tmp_path / "gt.json", ground_truth([1, 2], subset="val"))
    assert read_annotations(path, "val")[0][0].subset == "validation"
    with pytest.raises(InputError, match="no video in subset 'test'"):
        read_annotations(path, "test")
    with pytest.raises(InputError, match="it does not exist"):
        read_annotations(tmp_path / "other.json")


@needs_shared
def test_real_annotations() -> None:
    train, train_report = read_annotations(ANNOTATIONS / "anet12/activity_net.v1-2.rebuilt.json", "training")
    val, val_report = read_annotations(ANNOTATIONS / "anet12/activity_net.v1-2.rebuilt.json", "validation")
    assert (len(train), len(val)) == (4819, 2383)
    assert (len(train_report.of("zero-length")), len(val_report.of("zero-length"))) == (7, 3)
    assert (len(train_report.of("duplicate")), len(val_report.of("duplicate"))) == (27, 7)
    assert len(val_report.of("ends after the end")) == 58
    assert len(read_annotations(ANNOTATIONS / "unav100/unav100_annotations.json", "test")[0]) == 2167
    assert len(read_annotations(ANNOTATIONS / "thumos14/thumos14_wtalc.json", "validation")[0]) == 200


# --- labels -----------------------------------------------------------------------------------------------------


def rows(path: Path) -> list[tuple]:
    return [(row.video_id, row.labels, row.subset) for row in read_labels(path).rows]


@pytest.mark.parametrize(
    "text",
    [
        "video,labels,subset\na.mp4,dog;rain,train\nb,,val\nc.2,cat,test\n",
        "video,label,split\r\na,dog,train\r\na,rain,\r\nb.MKV,,validation\r\nc.2,cat,test\r\n",
        '\ufeffVideo;Labels;Subset\r\na;"dog;rain";Train\r\nb;;validation\r\nc.2;cat;testing\r\n',
        "sep=;\nvideo;labels;subset\na;dog;train\na;rain;train\n\n;;\nb;;validation\nc.2;cat;test",
        "labels\tsubset\tvideo\ndog; rain ;\ttraining\ta\n\tvalidation\tb\ncat\ttest\tc.2\n",
    ],
)
def test_labels_in_all_the_ways_that_people_write_them(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "labels.csv", text)
    assert rows(path) == [("a", ("dog", "rain"), "train"), ("b", (), "validation"), ("c.2", ("cat",), "test")]
    table = read_labels(path)
    assert table.classes == ("cat", "dog", "rain")
    assert [row.video_id for row in table.subset("validation")] == ["b"]
    assert len(table) == 3


def test_labels_without_subset_and_with_other_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "video,observer,labels\na,Anna,dog\n")
    assert rows(path) == [("a", ("dog",), "train")]
    assert read_labels(path).notes == ("ignored columns: 'observer'",)
    path = write(tmp_path / "l.csv", "video,labels,subset\na,dog,\n")
    assert read_labels(path).notes == ("1 video with an empty subset used for training, first 'a'",)


def test_repeated_rows_are_merged_and_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "video,labels\na,dog;cat\nb,\na,dog;cat\nb,\na,rain\n")
    assert rows(path) == [("a", ("dog", "cat", "rain"), "train"), ("b", (), "train")]
    assert read_labels(path).notes == (
        "line 4 repeats line 2 for 'a': merged",
        "line 5 repeats line 3 for 'b': merged",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a header `video,labels` or `video,labels,subset` in the first line, got ''"),
        ("a.mp4,dog\nb.mp4,cat\n", "expected a header .* got 'a.mp4,dog'; add one"),
        ("sep=,\nvideo,labels\na,dog\n,cat\n", "line 4: expected a video name"),
        ("video,labels\n", "expected one row per video after the header"),
        ("video,labels\n\na,dog\n,cat\n", "line 4: expected a video name"),
        ("video,labels,subset\na,dog,trian\n", "line 2: expected subset .* got 'trian'. Did you mean 'train'"),
        (
            "video,labels,subset\na,dog,train\nb,dog,test\na,cat,test\n",
            "'a' is in subset 'train' in line 2 and in 'test' in line 4",
        ),
        ("video,labels\na,dog\na,\n", "video 'a' has labels in only one of the lines 2 and 3"),
        ("video,labels\na,\na,dog\n", "video 'a' has labels in only one of the lines 2 and 3"),
        ("video,labels\na,background\n", "line 2: background is not a label; leave the cell empty"),
        (
            "video;labels\na;dog;cat\n",
            "line 2: expected 2 columns as in the header, got 3; quote cells that contain ';'",
        ),
        ("video,labels\na,dog\nb\n", "line 3: expected 2 columns as in the header, got 1"),
        ("video,labels\na,dog\n".encode("utf-16"), "got UTF-16 or binary data; save it as 'CSV UTF-8"),
        ("video,labels\na,dog\n".encode("utf-16-le"), "got UTF-16 or binary data"),
        (
            "video,labels\na,dog\nb,Möwe\n".encode("latin-1"),
            r"line 3: expected UTF-8 text, got the byte 0xf6 \(perhaps Latin-1",
        ),
        (b"PK\x03\x04rest of a workbook", "got an Excel workbook; save it as 'CSV UTF-8"),
    ],
)
def test_bad_labels_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(FormatError, match=f"labels.csv: .*{message}"):
        read_labels(write(tmp_path / "labels.csv", content))


def test_a_quoted_cell_may_span_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", 'video,labels,note\na,"dog;\ncat","two\nlines"\nb,dog,\nb,"x",,,9\n')
    with pytest.raises(FormatError, match="line 6: expected 3 columns as in the header, got 5"):
        read_labels(path)
    with pytest.raises(InputError, match="it does not exist"):
        read_labels(tmp_path / "none.csv")


def test_matching_labels_with_videos(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "video,labels\na,dog\nsub/b.mp4,cat\nwin\\c.braw,cat\nd.1,cat\ngone,cat\n")
    match = match_videos(read_labels(path), ["a", "b", "c", "d.1", "e"])
    assert {name: row.video_id for name, row in match.found.items()} == {
        "a": "a",
        "b": "sub/b",
        "c": "win\\c.braw",
        "d.1": "d.1",
    }
    assert (match.missing, match.unlabelled) == (("gone",), ("e",))
    path = write(tmp_path / "l.csv", "video,labels\nx/a,dog\ny/a,cat\n")
    with pytest.raises(InputError, match="'x/a' and 'y/a' both match the video 'a'"):
        match_videos(read_labels(path), ["a"])


@needs_shared
def test_labels_of_the_bench() -> None:
    table = read_labels(SHARED / "bench/ave10/labels.csv")
    assert (len(table.subset("train")), len(table.subset("test"))) == (300, 100)
    assert len(table.classes) == 8
    assert any(not row.labels for row in table.rows)


# --- detections -------------------------------------------------------------------------------------------------

DETECTIONS = {
    "v": (Detection(0.1234567, 5.0, 'say "hi", dog', 0.1 + 0.2), Detection(1.00001, 1.00002, "b", -3.0)),
    "w": (Detection(2, 3, "läuft", 1e-12),),
}


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_detections_read_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"segments.{kind}"
    {"csv": write_segments_csv, "json": write_segments_json}[kind](path, DETECTIONS)
    copy = read_detections(path)
    assert copy["v"][0] == Detection(0.123, 5.0, 'say "hi", dog', 0.1 + 0.2)
    assert copy["v"][1] == DETECTIONS["v"][1]  # would be empty with three decimals
    assert copy["w"] == DETECTIONS["w"]
    columns = read_detection_columns(path)
    assert columns["video"] == ["v", "v", "w"]
    assert columns["score"].tolist() == [0.1 + 0.2, -3.0, 1e-12]


def test_the_files_look_as_documented(tmp_path: Path) -> None:
    found = {"v": (Detection(0.5, 5, "dog", 0.25),), "empty": ()}
    write_segments_csv(tmp_path / "s.csv", found)
    assert (tmp_path / "s.csv").read_text() == "video,start_s,end_s,label,score\nv,0.500,5.000,dog,0.25\n"
    write_segments_json(tmp_path / "s.json", found, version="VERSION 1.2")
    assert json.loads((tmp_path / "s.json").read_text()) == {
        "version": "VERSION 1.2",
        "results": {"v": [{"label": "dog", "segment": [0.5, 5.0], "score": 0.25}], "empty": []},
        "external_data": {"used": False, "details": ""},
    }
    assert read_detections(tmp_path / "s.json") == found
    compressed = write(tmp_path / "s.json.gz", gzip.compress((tmp_path / "s.json").read_bytes()))
    assert read_detections(compressed) == found


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_no_detections_are_valid(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"segments.{kind}"
    {"csv": write_segments_csv, "json": write_segments_json}[kind](path, {})
    assert read_detections(path) == {}
    assert read_detection_columns(path)["score"].shape == (0,)


def test_a_leading_v_is_mended_where_the_names_are_known(tmp_path: Path) -> None:
    row = {"label": "x", "segment": [0, 1], "score": 1}
    path = write(tmp_path / "s.json", {"results": {"v_a": [row], "b": [row], "v_c": [row], "d": []}})
    assert list(read_detections(path)) == ["v_a", "b", "v_c", "d"]
    assert list(read_detections(path, ["a", "v_b", "v_c", "c"])) == ["a", "v_b", "v_c", "d"]
    assert read_detection_columns(path, ["a", "v_b"])["video"] == ["a", "v_b", "v_c"]
    path = write(tmp_path / "s.json", {"results": {"v_a": [row], "a": [row]}})
    with pytest.raises(FormatError, match="'v_a' and 'a' are the same video"):
        read_detections(path, ["a"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.json", {"database": {}}, 'expected ActivityNet\'s "results".* this is ground truth'),
        ("s.json", {"results": {"v": {}}}, "video 'v': expected a list, got dict"),
        ("s.json", {"results": {"v": [{"label": "x", "segment": [0, 1]}]}}, "a score is a number, got None"),
        ("s.json", {"results": {"v": [{"label": "x", "segment": [0, 1], "score": "1"}]}}, "a score is a number, got 1"),
        ("s.json", {"results": {"v": [{"label": "x", "segment": [1, 0], "score": 1}]}}, "label 'x': a segment needs"),
        ("s.json", {"results": {"v": [{"label": "x", "segment": [0, 1], "score": float("nan")}]}}, "must be finite"),
        ("s.json.gz", "not compressed", "expected JSON; it cannot be parsed"),
        ("s.csv", "video,start,end,label,score\n", r"expected the header .* \(no start_s, end_s\)"),
        ("s.csv", "", "got nothing"),
        ("s.csv", "video,start_s,end_s,label,score\nv,0,1,x\n", "line 2: expected 5 cells as in the header, got 4"),
        ("s.csv", "video,start_s,end_s,label,score\nv,0,1,x,high\n", "line 2: score must be a number, got 'high'"),
        ("s.csv", "video,start_s,end_s,label,score\nv,2,1,x,1\n", "video 'v', label 'x': a segment needs"),
    ],
)
def test_bad_detections_are_refused(tmp_path: Path, name: str, content: str | dict, message: str) -> None:
    with pytest.raises(FormatError, match=f"{name}: .*{message}"):
        read_detections(write(tmp_path / name, content))


def test_detections_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"from \.csv, \.json or \.json\.gz, got \.xml"):
        read_detections(tmp_path / "s.xml")


def test_results_are_found_as_a_file_a_folder_and_next_to_a_run(tmp_path: Path) -> None:
    home = tmp_path / "out" / "detections"
    (tmp_path / "out" / "run").mkdir(parents=True)
    for suffix in (".csv", ".json"):
        table = home / f"segments{suffix}"
        (write_segments_csv if suffix == ".csv" else write_segments_json)(table, {})
        for path in (home, tmp_path / "out", tmp_path / "out" / "run"):
            assert (find_results(path).table, find_results(path).name) == (table, "out")
        assert (find_results(table).table, find_results(table).name) == (table, "segments")
    with pytest.raises(InputError, match=r"expected detections .* it does not exist"):
        find_results(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected detections \(segments\.json or segments\.csv\) .* found none"):
        find_results(tmp_path)


# --- AVE --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ave(tmp_path: Path) -> Path:
    """Five videos in AVE's layout, with a repeated id and a zero-length event, and two noisy ones."""
    lines = ["Bell&aaa&good&0&10", "Dog&bbb&good&2&5", "Dog&aaa&good&5&10", "Bell&ccc&good&0&0", "Cat&ddd&good&1&3"]
    write(tmp_path / "Annotations.txt", "\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    arrays = {
        "audio_feature.h5": rng.normal(size=(5, 10, 8)),
        "visual_feature.h5": rng.normal(size=(5, 10, 7, 7, 16)).astype(np.float32),
        "audio_feature_noisy.h5": rng.normal(size=(2, 10, 8)),
    }
    for name, values in arrays.items():
        with h5py.File(tmp_path / name, "w") as file:
            file["avadataset"] = values
    for name, order in {"train": [3, 0], "val": [1], "test": [2, 4]}.items():
        with h5py.File(tmp_path / f"{name}_order.h5", "w") as file:
            file["order"] = np.array(order)
    return tmp_path


def test_ave_is_joined_and_read_by_row(ave: Path) -> None:
    data = read_ave(ave)
    assert data.ids == ("aaa_row0000", "bbb", "aaa_row0002", "ccc", "ddd", "noisy_000", "noisy_001")
    assert data.classes == ("Bell", "Dog", "Cat")
    assert [video.subset for video in data.annotations] == ["training", "validation", "testing", "training", "testing"]
    assert data.annotations[1].instances == (Instance(2, 5, "Dog"),)
    assert data.annotations[3].instances == ()
    assert [(row.video_id, row.labels) for row in data.labels.subset("train")] == [
        ("aaa_row0000", ("Bell",)),
        ("ccc", ("Bell",)),
        ("noisy_000", ()),
        ("noisy_001", ()),
    ]
    assert data.notes == ("ccc: zero-length event 'Bell' 0-0 s dropped, its label kept",)
    with h5py.File(ave / "visual_feature.h5") as file:
        expected = file["avadataset"][2].mean(axis=(1, 2))
    loaded = data.load("aaa_row0002")
    assert loaded.visual is not None
    assert loaded.audio is not None
    np.testing.assert_allclose(loaded.visual, expected, rtol=1e-6)
    assert (loaded.visual.dtype, loaded.audio.dtype) == (np.float32, np.float32)
    assert data.load("noisy_001").modalities == ("audio",)
    with pytest.raises(InputError, match=r"no video 'bbc' among 7\. Did you mean 'bbb'"):
        data.load("bbc")


def test_ave_without_feature_files_still_has_labels(ave: Path) -> None:
    for path in ave.glob("*_feature*.h5"):
        path.unlink()
    data = read_ave(ave)
    assert len(data.ids) == 5
    with pytest.raises(InputError, match=r"expected audio_feature\.h5 or visual_feature\.h5 for the features of 'bbb'"):
        data.load("bbb")


def test_ave_refuses_links_and_wrong_files(ave: Path) -> None:
    path = ave / "audio_feature.h5"
    elsewhere = path.rename(ave / "elsewhere.h5")

    def refuses(message: str) -> None:
        with pytest.raises(FormatError, match=rf"audio_feature\.h5: .*{message}"):
            read_ave(ave).load("aaa_row0000")

    with h5py.File(path, "w") as file:
        file["avadataset"] = h5py.ExternalLink(elsewhere.name, "avadataset")
    refuses(r"'avadataset' is a link \(ExternalLink\)")
    with h5py.File(path, "w") as file:
        file.create_dataset("avadataset", (5, 10, 8), "f4", external=[(str(ave / "raw.bin"), 0, 1600)])
    refuses("is stored in other files")
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((5, 10, 8), "f8")
        layout[:] = h5py.VirtualSource(elsewhere, "avadataset", (5, 10, 8))
        file.create_virtual_dataset("avadataset", layout)
    refuses("is stored in other files")
    for values, message in (
        (np.zeros((5, 9, 8)), r"expected float rows .* got float64 \(9, 8\)"),
        (np.zeros((5, 10, 8), int), "got int64"),
        (np.full((5, 10, 8), np.nan), "row 0 has NaN"),
    ):
        with h5py.File(path, "w") as file:
            file["avadataset"] = values
        refuses(message)
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(3)
    refuses("expected a dataset 'avadataset', got other")
    write(path, "text")
    refuses("expected an HDF5 file")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Dog&bbb&good&2", "line 2: expected class&id&quality&start&end"),
        ("Dog&bbb&good&two&3", "line 2: expected class&id"),
        ("Dog&bbb&good&5&2", "line 2: expected 0 <= start <= end <= 10, got 5 and 2"),
        ("Dog&bbb&good&5&12", "line 2: expected 0 <= start"),
    ],
)
def test_bad_ave_annotations_are_refused(ave: Path, line: str, message: str) -> None:
    write(ave / "Annotations.txt", f"Bell&aaa&good&0&10\n{line}\n")
    with pytest.raises(FormatError, match=message):
        read_ave(ave)


def test_bad_ave_subsets_and_rows_are_refused(ave: Path) -> None:
    text = (ave / "Annotations.txt").read_text()
    write(ave / "Annotations.txt", "Category&VideoID&Quality&StartTime&EndTime\n" + text)
    assert len(read_ave(ave).annotations) == 5
    write(ave / "Annotations.txt", text + "Cat&eee&good&1&3\n")
    data = read_ave(ave)
    assert "1 video in no subset" in data.notes
    with pytest.raises(FormatError, match="expected 6 rows, one per video, got 5"):
        data.load("bbb")
    for order, message in (
        ([1, 0], "row 0 is in training and again in validation"),
        ([9], r"expected row numbers 0\.\.5"),
    ):
        with h5py.File(ave / "val_order.h5", "w") as file:
            file["order"] = np.array(order)
        with pytest.raises(FormatError, match=message):
            read_ave(ave)


@needs_shared
def test_real_ave() -> None:
    data = read_ave(AVE)
    assert (data.ids[4143], data.ids[-1]) == ("noisy_000", "noisy_177")
    assert [len(data.labels.subset(name)) for name in ("train", "validation", "test")] == [3339 + 178, 402, 402]
    assert len(set(data.ids)) == 4143 + 178
    with h5py.File(AVE / "mil_labels.h5") as file:
        index = file["avadataset"][:].argmax(axis=1)
    by_id = {row.video_id: row.labels for row in data.labels.rows}
    assert [by_id[video.video_id] for video in data.annotations] == [(data.classes[i],) for i in index]
    with h5py.File(AVE / "audio_feature_noisy.h5") as file:
        np.testing.assert_array_equal(data.load("noisy_005").audio, file["avadataset"][5].astype(np.float32))
