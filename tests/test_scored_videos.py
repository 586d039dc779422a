"""Which videos are scored: whole subsets, with every video in every denominator."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.evaluate.compare import compare_files
from avloc.evaluate.detection import diagnose_files, evaluate_files
from avloc.evaluate.snippets import evaluate_snippets, snippet_hits
from avloc.formats.activations import save_activations
from avloc.formats.detections import write_segments_csv, write_segments_json
from avloc.types import ActivationSequence, Detection, Instance, SnippetGrid, VideoAnnotation

FOUND = (Detection(1.0, 4.0, "x", 0.9),)


def write_truth(path: Path, subsets: dict[str, str]) -> Path:
    """One instance of x from 1 to 4 s in each of these videos; a subset "" is not written."""
    videos = {
        video: {"duration": 9.0, "annotations": [{"label": "x", "segment": [1.0, 4.0]}]}
        | ({"subset": subset} if subset else {})
        for video, subset in subsets.items()
    }
    path.write_text(json.dumps({"database": videos}), encoding="utf-8")
    return path


def activations(video: str, rows: int = 9, foreground: slice = slice(1, 4)) -> ActivationSequence:
    probs = np.tile([0.9, 0.1], (rows, 1))
    probs[foreground] = [0.1, 0.9]
    grid = SnippetGrid(Fraction(0), Fraction(1), Fraction(1), rows)
    return ActivationSequence(video, float(rows), grid, ("x",), probs, np.array([0.9]))


def test_a_video_that_the_detections_do_not_name_is_missed(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", {"a": "validation", "b": "validation"})
    write_segments_json(tmp_path / "found.json", {"a": FOUND})
    for subset in (None, "validation"):
        result = evaluate_files(tmp_path / "found.json", truth, subset)
        assert result.scores.average_mean_ap == 0.5
        assert result.notes[0] == "1 of 2 scored videos are not in the detections: their instances count as missed"
    diagnosis, notes = diagnose_files(tmp_path / "found.json", truth)
    assert (diagnosis.average_mean_ap, diagnosis.missed) == (0.5, 0.5)
    assert "1 of 2 scored videos" in notes[0]


def test_the_scored_videos_are_the_same_for_every_file_of_one_result(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", dict.fromkeys("abcde", "testing"))
    folder = tmp_path / "found"
    write_segments_json(folder / "segments.json", {"a": FOUND, "b": ()})
    write_segments_csv(folder / "segments.csv", {"a": FOUND, "b": ()})
    (folder / "videos.csv").write_text("video,path\na,\nb,\n", encoding="utf-8")
    (folder / "failures.csv").write_text("video,path,reason\nc,c.mp4,broken\n", encoding="utf-8")
    for given in (folder, folder / "segments.json", folder / "segments.csv"):
        result = evaluate_files(given, truth)
        assert result.scores.average_mean_ap == pytest.approx(1 / 5)
        assert "2 of 5 scored videos are not in the detections" in result.notes[0]
    (tmp_path / "alone.csv").write_bytes((folder / "segments.csv").read_bytes())
    assert evaluate_files(tmp_path / "alone.csv", truth).scores.average_mean_ap == pytest.approx(1 / 5)


def test_the_subset_of_the_detections_is_scored(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", {"a": "testing", "b": "testing", "c": "training", "d": "validation"})
    write_segments_json(tmp_path / "found.json", {"a": FOUND, "b": FOUND})
    result = evaluate_files(tmp_path / "found.json", truth)
    assert result.scores.average_mean_ap == 1
    choice = "scored subset 'testing' (2 videos), which holds the detections' videos; choose others with --subset"
    assert result.notes == (choice,)
    assert (result.to_dict()["subsets"], result.to_dict()["videos"]) == (["testing"], 2)


@pytest.mark.parametrize(
    ("subsets", "scored"),
    [
        (("training", "validation", "testing"), ("validation",)),
        (("training", "testing"), ("testing",)),
        (("fold1", "fold2"), ("fold1", "fold2")),
    ],
)
def test_of_several_subsets_the_held_out_one_is_scored(
    subsets: tuple[str, ...], scored: tuple[str, ...], tmp_path: Path
) -> None:
    videos = {f"{subset}{k}": subset for subset in subsets for k in range(2)}
    truth = write_truth(tmp_path / "truth.json", videos)
    write_segments_json(tmp_path / "found.json", dict.fromkeys(videos, FOUND))
    result = evaluate_files(tmp_path / "found.json", truth)
    assert (result.subsets, result.videos) == (scored, 2 * len(scored))
    assert result.scores.average_mean_ap == 1
    assert f"the detections' videos are of subsets '{subsets[0]}'" in result.notes[0]
    assert ("left out" in result.notes[1]) if len(result.notes) > 1 else scored == subsets


def test_a_validation_subset_without_annotations_is_not_chosen(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", {"a": "validation", "b": "testing"})
    content = json.loads(truth.read_text(encoding="utf-8"))
    content["database"]["a"]["annotations"] = []
    truth.write_text(json.dumps(content), encoding="utf-8")
    write_segments_json(tmp_path / "found.json", {"a": FOUND, "b": FOUND})
    assert evaluate_files(tmp_path / "found.json", truth).subsets == ("testing",)


def test_ground_truth_without_subsets_is_scored_whole(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", dict.fromkeys("abcd", ""))
    write_segments_json(tmp_path / "found.json", {"a": FOUND})
    result = evaluate_files(tmp_path / "found.json", truth)
    assert result.scores.average_mean_ap == 0.25
    assert result.notes[0] == "the ground truth names no subsets: all 4 videos scored"


def test_detections_in_other_subsets_are_left_out_and_said_once(tmp_path: Path) -> None:
    videos = {f"t{k}": "training" for k in range(5)} | {"a": "testing", "b": "testing"}
    truth = write_truth(tmp_path / "truth.json", videos)
    strong = (Detection(1.0, 4.0, "x", 0.99),)
    write_segments_json(tmp_path / "found.json", {v: FOUND if s == "testing" else strong for v, s in videos.items()})
    result = evaluate_files(tmp_path / "found.json", truth, "testing")
    assert result.scores.average_mean_ap == 1  # ranked first, the others would leave 2 of 7
    assert result.notes == ("left out 5 detections in 5 videos not scored, of subset 'training'",)
    diagnosis, notes = diagnose_files(tmp_path / "found.json", truth, "testing")
    assert (diagnosis.average_mean_ap, notes) == (1, result.notes)
    compared = compare_files(tmp_path / "found.json", tmp_path / "found.json", truth, "testing", draws=100)
    assert compared.first["average mAP"] == 1
    assert compared.notes == (f"{tmp_path / 'found.json'}: {result.notes[0]}",)
    unknown = {"of no subset": strong, "a": FOUND, "b": FOUND}
    write_segments_json(tmp_path / "found.json", unknown)
    kept = evaluate_files(tmp_path / "found.json", truth, "testing")
    assert kept.scores.average_mean_ap == pytest.approx(2 / 3)  # in no video of the ground truth: a false positive
    compared = compare_files(tmp_path / "found.json", tmp_path / "found.json", truth, "testing", draws=100)
    assert compared.first["average mAP"] == pytest.approx(2 / 3)


def test_the_command_says_which_videos_were_scored(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", {"a": "validation", "b": "validation", "c": "training"})
    write_segments_json(tmp_path / "found.json", {"a": FOUND, "c": FOUND})
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "found.json"), str(truth)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "the detections' videos are of subsets 'validation', 'training'" in said
    assert said.count("left out 1 detection") == 1
    assert "1 of 2 scored videos are not in the detections" in said


def test_a_video_without_activations_stays_in_the_snippet_scores(tmp_path: Path) -> None:
    truth = [VideoAnnotation(v, 9.0, "testing", (Instance(1, 4, "x"),)) for v in "ab"]
    result = evaluate_snippets([activations("a")], truth)
    assert result is not None
    assert result.missing == 1
    assert result.snippets.confusion.tolist() == [[12, 0], [3, 3]]  # all background in b
    assert result.events.mean_f1 == pytest.approx(2 / 3)
    right, total = snippet_hits([activations("a")], truth)
    assert (right.tolist(), total.tolist()) == ([9, 6], [9, 9])
    write_truth(tmp_path / "truth.json", dict.fromkeys("ab", "testing"))
    write_segments_json(tmp_path / "found" / "segments.json", {"a": FOUND})
    save_activations(tmp_path / "found" / "scores" / "a.safetensors", activations("a"))
    scored = evaluate_files(tmp_path / "found", tmp_path / "truth.json")
    assert scored.to_dict()["snippet_accuracy"] == pytest.approx(15 / 18)
    assert "1 scored video without activations" in scored.notes[-1]
