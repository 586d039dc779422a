"""One name in two Unicode forms is one video and one class, wherever it is read; paths stay as they are."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

import odd_media as odd
from avloc.config import ExtractConfig, TrainConfig
from avloc.datasets.doctor import examine
from avloc.datasets.folders import read_feature_folder
from avloc.datasets.open import open_collection
from avloc.errors import FormatError, InputError, with_neighbours
from avloc.evaluate.detection import evaluate_files
from avloc.evaluate.reference import read_blocked
from avloc.features.folder import extract_all
from avloc.features.layout import load_npy
from avloc.features.manifest import manifest_path, read_manifest, write_manifest
from avloc.formats.annotations import read_annotations
from avloc.formats.detections import read_detections, write_segments_csv, write_segments_json
from avloc.formats.features import FeatureStore, load_features, save_features
from avloc.formats.labels import match_videos, read_labels
from avloc.formats.results import find_results
from avloc.interchange.convert import convert, read_segments
from avloc.media.find import find_media, named_media
from avloc.report.serve.corrections import save_corrections
from avloc.report.sources import video_files
from avloc.train.prepare import prepare
from avloc.types import Detection, FeatureSequence, SnippetGrid
from avloc.workflow import match_labels

NFC, NFD = normalize("NFC", "Käuzchen"), normalize("NFD", "Käuzchen")
OWL, OWL_NFD = normalize("NFC", "Uhu-Rüf"), normalize("NFD", "Uhu-Rüf")
OPTIONS = ExtractConfig(visual="appearance", audio=None, fps=2.0)


def video(path: Path, seconds: int = 2) -> Path:
    frames = [np.roll(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3), 5 * k, 1) for k in range(2 * seconds)]
    path.parent.mkdir(exist_ok=True)
    return odd.write_video(path, frames, rate=2, codec="ffv1")


def features(video_id: str) -> FeatureSequence:
    return FeatureSequence(video_id, 4.0, SnippetGrid.cover(4, 1), np.ones((4, 2)), np.ones((4, 3)))


def truth(path: Path, video_id: str, label: str, escaped: bool = False) -> Path:
    entry = {"subset": "testing", "duration": 4.0, "annotations": [{"label": label, "segment": [1, 2]}]}
    path.write_text(json.dumps({"database": {video_id: entry}}, ensure_ascii=escaped), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def forms_differ() -> None:
    assert NFC != NFD
    assert OWL != OWL_NFD


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFD, NFC), (NFC, NFD)])
def test_labels_files_and_features_meet(tmp_path: Path, on_disk: str, in_table: str) -> None:
    path = video(tmp_path / "v" / f"{on_disk}.mkv")
    (tmp_path / "labels.csv").write_text(f"video,labels\n{in_table}.mkv,{OWL_NFD}\nother,{OWL}\n", encoding="utf-8")
    table, match = match_labels(tmp_path / "labels.csv", [str(tmp_path / "v")])
    assert list(match.found) == [NFC]
    assert table.classes == (OWL,)
    assert match.missing == ("other",)
    assert named_media(tmp_path / "v") == {NFC: path}  # the path itself is byte for byte that of the disk
    out = tmp_path / "out"
    assert extract_all([path], out, OPTIONS).done == (NFC,)
    assert [os.path.basename(p) for p in out.glob("*.safetensors")] == [f"{NFC}.safetensors"]
    assert read_manifest(out)[NFC].path == str(path)
    assert extract_all([path], out, OPTIONS).skipped == (NFC,)
    data = prepare(out, tmp_path / "labels.csv", TrainConfig(holdout=0))
    assert (data.train.ids, data.train.classes) == ([NFC], (OWL,))


@pytest.mark.parametrize("layout", ["safetensors", "npy"])
def test_features_written_under_a_decomposed_name_are_read_and_not_made_again(tmp_path: Path, layout: str) -> None:
    path, out = video(tmp_path / "v" / f"{NFD}.mkv"), tmp_path / "out"
    extract_all([path], out, OPTIONS, layout=layout)
    for file in [*out.iterdir()]:  # as earlier versions wrote them
        file.rename(out / normalize("NFD", file.name))
    if layout == "safetensors":
        save_features(out / f"{NFD}.safetensors", replace(load_features(out / f"{NFD}.safetensors"), video_id=NFD))
        store = FeatureStore(out)
        assert store.ids == (NFC,)
        assert store.load(NFC).video_id == store.load(NFD).video_id == NFC
        assert store.describe().lengths == {NFC: 2}
    else:
        assert load_npy(out, NFC).visual is not None
    write_manifest(manifest_path(out), [replace(read_manifest(out)[NFC], video=NFD, note="as found")])
    assert read_manifest(out)[NFC].note == "as found"
    before = sorted(os.listdir(out))
    assert extract_all([path], out, OPTIONS, layout=layout).skipped == (NFC,)
    assert sorted(os.listdir(out)) == before


def test_two_files_that_differ_only_in_form_are_one_clear_line(tmp_path: Path) -> None:
    for form in (NFC, NFD):
        video(tmp_path / "v" / f"{form}.mkv")
        save_features(tmp_path / "f" / f"{form}.safetensors", features(form))
    with pytest.raises(InputError, match="have the same name, written in two Unicode forms, and would be the same"):
        find_media(tmp_path / "v")
    with pytest.raises(FormatError, match=f"{NFC}.safetensors is there twice, the name written in two Unicode forms"):
        FeatureStore(tmp_path / "f")
    both = {form: {"subset": "testing", "duration": 1, "annotations": []} for form in (NFC, NFD)}
    (tmp_path / "gt.json").write_text(json.dumps({"database": both}))
    with pytest.raises(FormatError, match=f"'{NFC}' is there twice, written in two Unicode forms; keep one"):
        read_annotations(tmp_path / "gt.json")


def test_the_same_stem_in_two_forms_and_folders_gets_both_folders(tmp_path: Path) -> None:
    video(tmp_path / "a" / f"{NFC}.mkv")
    video(tmp_path / "b" / f"{NFD}.mkv")
    assert list(named_media(tmp_path)) == [f"a/{NFC}", f"b/{NFC}"]


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_detections_meet_ground_truth(tmp_path: Path, suffix: str, escaped: bool) -> None:
    gt = truth(tmp_path / "gt.json", NFD, OWL_NFD, escaped)
    write = write_segments_json if suffix == ".json" else write_segments_csv
    write(tmp_path / f"found{suffix}", {NFC: [Detection(1, 2, OWL, 0.9)]})
    result = evaluate_files(tmp_path / f"found{suffix}", gt, None)
    assert result.scores.classes == (OWL,)
    assert result.scores.average_mean_ap == 1
    write(tmp_path / f"other{suffix}", {NFD: [Detection(1, 2, OWL_NFD, 0.9)]})
    assert read_detections(tmp_path / f"other{suffix}") == {NFC: (Detection(1, 2, OWL, 0.9),)}
    assert evaluate_files(tmp_path / f"other{suffix}", gt, None).scores.average_mean_ap == 1


def test_exports_results_and_corrections_meet_media(tmp_path: Path) -> None:
    path = video(tmp_path / "videos" / f"{NFC}.mkv", 4)
    folder = tmp_path / "detections"
    folder.mkdir()
    write_segments_csv(folder / "segments.csv", {NFD: [Detection(1, 2, OWL_NFD, 0.9)]})
    (folder / "videos.csv").write_text(f"video,path\n{NFD},{path}\n", encoding="utf-8")
    run = find_results(folder).read()
    assert run.videos() == (NFC,)
    assert run.paths == {NFC: path}
    assert find_results(folder).localized([NFC]) == (NFC,)
    assert video_files(tmp_path / "videos", run) == {NFC: path}
    convert(folder / "segments.csv", tmp_path / "x.boris", media=named_media(tmp_path / "videos"))  # counts frames
    (back,) = read_segments(tmp_path / "x.boris")
    assert (back.video_id, back.labels) == (NFC, (OWL,))
    for name in (f"{NFD}.eaf", f"{NFD}.txt", f"{NFD}.vtt", "x.via.json"):
        convert(folder / "segments.csv", tmp_path / name)
        (back,) = read_segments(tmp_path / name)
        assert (back.video_id, back.labels) == (NFC, (OWL,))
    project = (tmp_path / "x.boris").read_text(encoding="utf-8")
    (tmp_path / "x.boris").write_text(project.replace(OWL, OWL_NFD), encoding="utf-8")
    assert read_segments(tmp_path / "x.boris")[0].labels == (OWL,)
    saved = truth(tmp_path / "corrections.json", NFD, OWL_NFD)
    save_corrections(truth(tmp_path / "posted.json", NFC, OWL, escaped=True).read_bytes(), saved)
    (annotation,) = read_annotations(saved)[0]
    assert (annotation.video_id, annotation.instances[0].label) == (NFC, OWL)
    (tmp_path / "blocked.json").write_text(json.dumps([NFD]))
    assert read_blocked(tmp_path / "blocked.json") == (NFC,)


def test_annotations_meet_features_of_other_tools(tmp_path: Path) -> None:
    truth(tmp_path / "gt.json", NFC, OWL)
    for name in (f"{NFD}_rgb.npy", f"{NFD}_vggish.npy"):
        (tmp_path / "f").mkdir(exist_ok=True)
        np.save(tmp_path / "f" / name, np.random.default_rng(0).normal(size=(4, 3)))
    assert {video for track in read_feature_folder(tmp_path / "f") for video in track.places} == {NFC}
    collection = open_collection(tmp_path / "gt.json", [tmp_path / "f"])
    report = examine(collection)
    assert report.read == 1
    assert not [finding for finding in report.findings if finding.kind == "error"]


def test_a_neighbour_never_looks_like_the_name_itself() -> None:
    assert with_neighbours([f"{NFC}\u200b"], [NFC]) == f"K\\xe4uzchen\\u200b (did you mean '{NFC}'?)"
    assert with_neighbours(["Kauzchen"], [NFC]) == f"Kauzchen (did you mean '{NFC}'?)"


def test_labels_joined_by_a_comma_are_hinted_at(tmp_path: Path) -> None:
    def notes(*cells: str) -> list[str]:
        rows = "".join(f'v{k},"{cell}"\n' for k, cell in enumerate(cells))
        (tmp_path / "labels.csv").write_text(f"video,labels\n{rows}", encoding="utf-8")
        table = read_labels(tmp_path / "labels.csv")
        assert match_videos(table, ["v0"]).found["v0"].labels == (cells[0],)  # never split
        return list(table.notes)

    hint = "'dog,rain' counts as one class; separate the labels of a video by ;, as in dog;rain"
    assert notes("dog,rain", "dog", "rain") == [hint]
    assert notes("dog,rain", "dog") == [hint]
    assert notes("dog,rain", "rain, dog")[0] == hint
    assert notes("Guitar, acoustic", "Guitar, electric", "Drum") == []
