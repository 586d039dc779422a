"""Metrics that papers report: event F1 with collars, OV-AVEBench's mean, calibration, frame scores for PSDS.

Expected values come from the published programs, run on the problems below (the command is beside each), or by hand.
Where sed_eval or sed_scores_eval is installed (published without wheels, so not in the dev extra), they are compared
directly: pip install sed_eval sed_scores_eval.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.errors import AvlocError, FormatError, InputError
from avloc.evaluate.detection import diagnose_files, evaluate_files
from avloc.evaluate.further import FurtherOptions
from avloc.figures import diagnosis_figure
from avloc.formats.activations import save_activations
from avloc.formats.annotations import write_annotations
from avloc.formats.detections import write_segments_json
from avloc.interchange.sed_scores import write_sed_scores
from avloc.metrics import calibration, collar_f1, diagnose, open_vocabulary_scores
from avloc.metrics.collars import _most_pairs
from avloc.types import ActivationSequence, Detection, Instance, SnippetGrid, VideoAnnotation

CLASSES = ("bark", "drum", "train")

# --- event F1 with collars ----------------------------------------------------------------------------------------


def collar_problem() -> tuple[dict[str, tuple[Detection, ...]], list[VideoAnnotation]]:
    """Four videos of events on a grid of 0.1 s, crowded enough for several candidates per event."""
    rng = np.random.default_rng(11)
    found, truth = {}, []
    for video in ("a", "b", "c", "d"):
        starts = np.round(rng.uniform(0, 4, 6), 1)
        ends = np.round(starts + rng.uniform(0.3, 2, 6), 1)
        labels = rng.choice(CLASSES, 6)
        events = tuple(Instance(*row) for row in zip(starts.tolist(), ends.tolist(), labels.tolist(), strict=True))
        truth.append(VideoAnnotation(video, 9.0, "testing", events))
        near = np.abs(np.round(rng.normal(0, 0.25, (6, 2)), 1))
        found[video] = tuple(
            Detection(i.start_s + a, max(i.end_s + b, i.start_s + a + 0.1), i.label, 0.5)
            for i, (a, b) in zip(events[1:], near.tolist(), strict=False)
        )
    return found, truth


def sed_eval_events(rows: Sequence[Detection] | Sequence[Instance], video: str) -> list[dict]:
    return [{"file": video, "event_onset": r.start_s, "event_offset": r.end_s, "event_label": r.label} for r in rows]


@pytest.mark.parametrize(
    ("collar_s", "share", "expected"),
    # sed_eval 0.2.1: EventBasedMetrics(CLASSES, t_collar=collar_s, percentage_of_length=share), the same problem;
    # true positives, detections and instances per class, micro F1, class-wise average F1
    [
        (0.2, 0.2, ([3, 2, 3], [9, 5, 6], [10, 6, 8], 0.3636363636363636, 0.3693324219640009)),
        (0.2, 0.5, ([3, 5, 3], [9, 5, 6], [10, 6, 8], 0.5, 0.5511506037821827)),
        (0.5, 0.0, ([9, 5, 6], [9, 5, 6], [10, 6, 8], 0.9090909090909091, 0.9045340624287993)),
    ],
)
def test_collar_f1_agrees_with_sed_eval(collar_s: float, share: float, expected: tuple) -> None:
    found, truth = collar_problem()
    scores = collar_f1(found, truth, collar_s, share)
    claims, events = scores.true_positives + scores.false_positives, scores.true_positives + scores.false_negatives
    assert (scores.true_positives.tolist(), claims.tolist(), events.tolist()) == expected[:3]
    assert (scores.micro_f1, scores.mean_f1) == pytest.approx(expected[3:])


@pytest.mark.parametrize(("collar_s", "share"), [(0.2, 0.2), (0.2, 0.5), (0.5, 0.0)])
def test_collar_f1_against_the_package(collar_s: float, share: float) -> None:
    sed_eval = pytest.importorskip("sed_eval")
    container = pytest.importorskip("dcase_util").containers.MetaDataContainer
    found, truth = collar_problem()
    theirs = sed_eval.sound_event.EventBasedMetrics(list(CLASSES), t_collar=collar_s, percentage_of_length=share)
    for video in truth:
        rows = (sed_eval_events(side, video.video_id) for side in (video.instances, found[video.video_id]))
        theirs.evaluate(*map(container, rows))
    ours = collar_f1(found, truth, collar_s, share)
    results = theirs.results()
    assert [theirs.class_wise[c]["Ntp"] for c in CLASSES] == ours.true_positives.tolist()
    assert results["overall"]["f_measure"]["f_measure"] == pytest.approx(ours.micro_f1)
    assert results["class_wise_average"]["f_measure"]["f_measure"] == pytest.approx(ours.mean_f1)


def test_collars_by_hand() -> None:
    truth = [VideoAnnotation("v", 60.0, "", (Instance(10, 20, "x"), Instance(30, 31, "x"), Instance(40, 50, "y")))]
    found = {
        "v": (
            Detection(10.2, 22, "x", 0.1),  # onset on the collar, offset on 20 % of 10 s: correct
            Detection(10.1, 19, "x", 0.9),  # the same instance again: false
            Detection(30, 31.25, "x", 0.9),  # 20 % of 1 s is 0.2 s: false
            Detection(40, 50, "z", 0.9),  # a class without instances: false
        ),
        "elsewhere": (Detection(1, 2, "x", 0.9),),  # a video without instances: false
    }
    scores = collar_f1(found, truth)
    assert scores.classes == ("x", "y", "z")
    assert scores.true_positives.tolist() == [1, 0, 0]
    assert scores.false_positives.tolist() == [3, 0, 1]
    assert scores.false_negatives.tolist() == [1, 1, 0]
    assert scores.mean_f1 == pytest.approx((2 / 6 + 0 + 0) / 3)  # y, never detected, counts
    assert (scores.micro_f1, scores.precision, scores.recall) == pytest.approx((2 / 8, 1 / 5, 1 / 3))
    assert collar_f1(found, truth, 0.2, 0.3).true_positives.tolist() == [2, 0, 0]
    with pytest.raises(InputError, match="expected a collar >= 0 s"):
        collar_f1(found, truth, -0.1)


def test_as_many_pairs_as_possible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        near = rng.random((4, 5)) < 0.35
        best = max(
            sum(bool(near[r, c]) for r, c in zip(rows, columns, strict=True))
            for rows in combinations(range(4), 4)
            for columns in permutations(range(5), 4)
        )
        assert _most_pairs(near) == best
    assert _most_pairs(np.tri(1200, 1200, dtype=bool)[::-1]) == 1200  # no recursion


# --- OV-AVEBench ----------------------------------------------------------------------------------------------------


def test_open_vocabulary_agrees_with_the_authors_program() -> None:
    """segment_level and event_level of OV-AVEL's utils/eval_metrics.py on the same problem, means over videos."""
    rng = np.random.default_rng(5)
    predicted, true = [], []
    for _ in range(6):
        p, t = rng.integers(0, 4, 10), rng.integers(0, 4, 10)
        predicted.append(np.where(rng.random(10) < 0.6, t, p))
        true.append(t)
    scores = open_vocabulary_scores(predicted, true, CLASSES)
    assert (scores.accuracy, scores.segment_f1, scores.event_f1) == pytest.approx(
        (0.65, 0.6324404761904762, 0.6611111111111111)
    )
    assert scores.average == pytest.approx(np.mean([scores.accuracy, scores.segment_f1, scores.event_f1]))


def test_open_vocabulary_by_hand() -> None:
    true = [np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 0])]
    predicted = [np.array([1, 1, 0, 0, 0]), np.array([0, 0, 0, 0, 2])]
    scores = open_vocabulary_scores(predicted, true, CLASSES)
    assert scores.accuracy == pytest.approx(7 / 10)
    # bark 2 of 4: F1 2/3, background 1 hit, 2 false: 1/2; then background 8/9, drum 0
    assert scores.segment_f1 == pytest.approx(np.mean([np.mean([2 / 3, 1 / 2]), np.mean([8 / 9, 0])]))
    # bark IoU 1/2: found; background IoU 1/3: not; then background IoU 4/5: found, drum false
    assert scores.event_f1 == pytest.approx(np.mean([np.mean([1, 0]), np.mean([1, 0])]))
    with pytest.raises(InputError, match="no video to score"):
        open_vocabulary_scores([], [], CLASSES)


# --- calibration ----------------------------------------------------------------------------------------------------


def test_calibration_by_hand() -> None:
    confidence = np.array([0.0, 0.1, 0.7, 0.65, 1.0])
    found = calibration(confidence, np.array([False, True, True, False, True]))
    assert found.counts.tolist() == [2, 0, 0, 0, 0, 0, 2, 0, 0, 1]  # 0.1 and 0.7 end their bins
    np.testing.assert_allclose(found.confidence[[0, 6, 9]], [0.05, 0.675, 1.0])
    np.testing.assert_allclose(found.correct[[0, 6, 9]], [0.5, 0.5, 1.0])
    assert found.error == pytest.approx((2 * 0.45 + 2 * 0.175 + 0) / 5)
    assert calibration(confidence, confidence > 0.5, bins=1).error == pytest.approx(abs(3 / 5 - confidence.mean()))
    facts = calibration(np.array([0.3]), np.array([True])).to_dict()
    assert facts["ece"] == pytest.approx(0.7)
    assert facts["bins"][2]["count"] == 1
    assert facts["bins"][0]["confidence"] is None
    for bad in ([1.2], [-0.1], [np.nan]):
        with pytest.raises(InputError, match="these scores are not probabilities"):
            calibration(np.array(bad), np.array([True]))


def test_a_calibrated_model_has_no_error_and_a_confident_one_has() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(size=40_000)
    correct = rng.uniform(size=40_000) < confidence
    assert calibration(confidence, correct).error < 0.01
    assert calibration(np.sqrt(confidence), correct).error == pytest.approx(2 / 3 - 1 / 2, abs=0.01)


def test_diagnosis_has_a_reliability_diagram(tmp_path: Path) -> None:
    truth = [VideoAnnotation("a", 30.0, "validation", (Instance(0, 10, "x"), Instance(20, 30, "x")))]
    found = {"a": (Detection(0, 10, "x", 0.95), Detection(0, 9, "x", 0.85), Detection(20, 30, "x", 0.35))}
    result = diagnose(found, truth)
    assert result.calibration is not None
    assert result.calibration.error == pytest.approx((0.05 + 0.85 + 0.65) / 3)
    figure = diagnosis_figure(result.to_dict())
    assert len(figure.axes) == 4
    assert "ECE 51.7 %" in figure.axes[3].get_title(loc="left")
    assert [round(bar.get_height(), 2) for bar in figure.axes[3].patches] == [1.0, 0.0, 1.0]
    loose = {"a": (Detection(0, 10, "x", 7.5),)}
    assert diagnose(loose, truth).calibration is None
    write_annotations(tmp_path / "truth.json", truth)
    write_segments_json(tmp_path / "found.json", found)
    done = CliRunner().invoke(app, ["diagnose", str(tmp_path / "found.json"), str(tmp_path / "truth.json")])
    assert "expected calibration error of detections: 51.7 (10 bins" in " ".join(done.output.split())
    assert (
        diagnose_files(tmp_path / "found.json", tmp_path / "truth.json")[0].to_dict()["calibration"]["bins"][9]["count"]
        == 1
    )


# --- the command ----------------------------------------------------------------------------------------------------


def activations(video: str, pattern: str, classes: Sequence[str] = CLASSES) -> ActivationSequence:
    """One snippet of 1 s per letter: "." is background, a digit the class, each with probability 0.9."""
    probs = np.full((len(pattern), 1 + len(classes)), 0.1 / len(classes))
    probs[np.arange(len(pattern)), [0 if c == "." else 1 + int(c) for c in pattern]] = 0.9
    grid = SnippetGrid(Fraction(0), Fraction(1), Fraction(1), len(pattern))
    return ActivationSequence(video, len(pattern) + 0.25, grid, tuple(classes), probs, np.zeros(len(classes)))


def write_result(folder: Path) -> tuple[Path, Path]:
    """Three videos of 10.25 s, the last without activations."""
    truth = [
        VideoAnnotation(
            "a", 10.25, "testing", (Instance(2, 5, "bark"), Instance(5, 6, "bark"), Instance(7, 9, "drum"))
        ),
        VideoAnnotation("b.v2", 10.25, "testing", ()),
        VideoAnnotation("c", 10.25, "testing", (Instance(0, 3, "whistle"),)),
    ]
    write_annotations(folder / "truth.json", truth)
    found = {
        "a": (Detection(2, 6, "bark", 0.8), Detection(7, 9, "drum", 0.6), Detection(1, 2, "drum", 0.1)),
        "b.v2": (),
    }
    write_segments_json(folder / "out" / "segments.json", found)
    for seen in (activations("a", "..0000.11."), activations("b.v2", "..........")):
        save_activations(folder / "out" / "scores" / f"{seen.video_id}.safetensors", seen)
    return folder / "out", folder / "truth.json"


def test_the_command_prints_further_metrics(tmp_path: Path) -> None:
    out, truth = write_result(tmp_path)
    command = [
        "evaluate",
        str(out),
        str(truth),
        "--metrics",
        "all",
        "--min-score",
        "0.3",
        "-o",
        str(tmp_path / "s.json"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "event F1 of detections scoring at least 0.3, collar 0.2 s, offset 20 % of the length: micro 33.3" in said
    assert "OV-AVEBench: accuracy 90.0" in said  # 27 of 30: the 3 snippets of whistle are missed
    facts = json.loads((tmp_path / "s.json").read_text())
    # drum is found; bark 2-6 is neither 2-5 nor 5-6; whistle is missed
    assert facts["collar_events"]["f1"] == {"bark": 0.0, "drum": 1.0, "whistle": 0.0}
    assert facts["collar_events"]["recall"] == pytest.approx(1 / 4)
    assert facts["ov_ave"]["accuracy"] == pytest.approx(0.9)
    assert facts["detection_calibration"]["ece"] == pytest.approx((0.8 - 0.8 * 0 - 0.8 + 0.2 + 0.4 + 0.1) / 3)
    assert facts["snippet_calibration"]["ece"] == pytest.approx(0.1)  # 20 snippets at 0.9, all correct
    plain = json.loads(CliRunner().invoke(app, [*command[:3], "--json"]).stdout)
    assert not {"collar_events", "ov_ave", "detection_calibration"} & set(plain)
    for wrong in (["--metrics", "event"], ["--min-score", "0.3"], ["--visual", str(out), "--metrics", "all"]):
        assert isinstance(CliRunner().invoke(app, [*command[:3], *wrong]).exception, AvlocError)
    (out / "run.yaml").write_text("config: {localize: {decode: contrast}}")
    assert "scoring at least 0.3" in CliRunner().invoke(app, [*command[:3], "--metrics", "events"]).output


def test_metrics_that_need_activations_say_so(tmp_path: Path) -> None:
    out, truth = write_result(tmp_path)
    result = evaluate_files(out / "segments.json", truth, further=FurtherOptions.parse("ov-ave, calibration"))
    assert "ov-ave: there are no activations beside the detections" in result.notes
    assert "ov_ave" not in result.to_dict()
    with pytest.raises(InputError, match="--sed-scores needs activations"):
        evaluate_files(out / "segments.json", truth, sed_scores=tmp_path / "psds")
    with pytest.raises(InputError, match=r"unknown metric 'event'.*Did you mean 'events'"):
        FurtherOptions.parse("event")


# --- frame scores for PSDS ------------------------------------------------------------------------------------------


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_frame_scores_and_events(tmp_path: Path) -> None:
    out, truth = write_result(tmp_path)
    done = CliRunner().invoke(app, ["evaluate", str(out), str(truth), "--sed-scores", str(tmp_path / "psds")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "frame scores of 1 video without activations are 0: c" in said
    assert "frame scores without 1 class without events: train" in said
    rows = read_table(tmp_path / "psds" / "scores" / "a.tsv")
    assert list(rows[0]) == ["onset", "offset", "bark", "drum", "whistle"]  # no event of train
    assert [row["onset"] for row in rows[1:]] == [row["offset"] for row in rows[:-1]]
    assert (rows[0]["onset"], rows[-1]["offset"]) == ("0.0", "10.25")  # the tail belongs to the last snippet
    assert [float(row["bark"]) > 0.5 for row in rows] == [c == "0" for c in "..0000.11."]
    assert {row["whistle"] for row in rows} == {"0.0"}
    missing = read_table(tmp_path / "psds" / "scores" / "c.tsv")
    assert [list(row.values()) for row in missing] == [["0.0", "10.25", "0.0", "0.0", "0.0"]]
    events = [tuple(row.values()) for row in read_table(tmp_path / "psds" / "ground_truth.tsv")]
    assert events == [
        ("a.wav", "2.0", "6.0", "bark"),  # adjacent events of a class are one
        ("a.wav", "7.0", "9.0", "drum"),
        ("b.v2.wav", "", "", ""),
        ("c.wav", "0.0", "3.0", "whistle"),
    ]
    assert read_table(tmp_path / "psds" / "durations.tsv")[1] == {"filename": "b.v2.wav", "duration": "10.25"}


@pytest.mark.parametrize("name", ["onset", "NA", "a\tb", 'say "x"', "back\\slash"])
def test_a_class_that_the_table_cannot_hold_is_named(name: str, tmp_path: Path) -> None:
    truth = [VideoAnnotation("a", 3.0, "", (Instance(0, 1, name),))]
    with pytest.raises(FormatError, match="cannot be written for sed_scores_eval"):
        write_sed_scores(tmp_path, [activations("a", "..0")], truth)


def test_frame_scores_of_an_earlier_call_are_removed(tmp_path: Path) -> None:
    for video in ("a", "b"):
        events = (Instance(0, 1, "bark"),)
        write_sed_scores(tmp_path, [activations(video, "..0")], [VideoAnnotation(video, 3.0, "", events)])
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["b.tsv"]
    with pytest.raises(InputError, match="activations with the same classes"):
        write_sed_scores(tmp_path, [activations("c", "..0")], [VideoAnnotation("b", 3.0, "", events)])
    with pytest.raises(InputError, match="at least one event"):
        write_sed_scores(tmp_path, [activations("b", "..0")], [VideoAnnotation("b", 3.0, "", ())])


def test_sed_scores_eval_reads_them(tmp_path: Path) -> None:
    """Perfect scores have PSDS 1; its collar-based F1 is ours of the runs above the threshold."""
    package = pytest.importorskip("sed_scores_eval")
    out, truth = write_result(tmp_path)
    evaluate_files(out, truth, sed_scores=tmp_path / "psds")
    files = [str(tmp_path / "psds" / name) for name in ("scores", "ground_truth.tsv", "durations.tsv")]
    score, single, *_ = package.intersection_based.psds(*files, dtc_threshold=0.7, gtc_threshold=0.7)
    assert score == pytest.approx(2 / 3)
    assert single == pytest.approx({"bark": 1.0, "drum": 1.0, "whistle": 0.0})
    f1 = package.collar_based.fscore(*files[:2], 0.5, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2)[0]
    events = (Instance(2, 6, "bark"), Instance(7, 9, "drum"))
    videos = [VideoAnnotation("a", 10.25, "", events), VideoAnnotation("c", 10.25, "", (Instance(0, 3, "whistle"),))]
    ours = collar_f1({"a": (Detection(2, 6, "bark", 0.9), Detection(7, 9, "drum", 0.9))}, videos)
    assert {c: f1[c] for c in ours.classes} == pytest.approx(dict(zip(ours.classes, ours.f1, strict=True)))
