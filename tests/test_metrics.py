"""Metrics: agreement with other implementations, and properties of the scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.datasets.ave import read_ave
from avloc.errors import InputError
from avloc.formats.annotations import read_annotation_columns, read_annotations
from avloc.formats.detections import read_detection_columns
from avloc.metrics import (
    T_IOU_THRESHOLDS,
    SegmentTable,
    detection_counts,
    detection_scores,
    event_f1,
    rasterise,
    snippet_accuracy,
    t_iou,
    video_average_precision,
    whole_video_detections,
)
from avloc.types import Detection, Instance, SnippetGrid, VideoAnnotation
from benchmarks.speed.components import generate, naive_scores

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
ANET12 = SHARED / "real/annotations/anet12/activity_net.v1-2.rebuilt.json"
EDGE_CASES = json.loads((GOLDEN / "anet_edge_cases.json").read_text())["cases"]
needs_shared = pytest.mark.skipif(not ANET12.is_file(), reason="needs ../shared")


def table(rows: list[tuple]) -> SegmentTable:
    """From (video, label, start, end[, score])."""
    numbers = np.array([(*row[2:], 0.0)[:3] for row in rows], dtype=np.float64).reshape(-1, 3)
    return SegmentTable.from_columns([r[0] for r in rows], [r[1] for r in rows], *numbers.T)


def edge_case(name: str) -> tuple[SegmentTable, SegmentTable]:
    case = EDGE_CASES[name]
    truth = [
        (video, row["label"], *row["segment"])
        for video, entry in case["ground_truth"]["database"].items()
        for row in entry["annotations"]
    ]
    found = [
        (video, row["label"], *row["segment"], row["score"])
        for video, rows in case["prediction"]["results"].items()
        for row in rows
    ]
    return table(found), table(truth)


# --- t-IoU ------------------------------------------------------------------------------------------------------


def test_t_iou_by_hand() -> None:
    a = np.array([[0.0, 10.0], [5.0, 5.0], [9.0, 5.0]])
    b = np.array([[5.0, 15.0], [10.0, 20.0], [5.0, 5.0], [0.0, 10.0]])
    assert t_iou(a, b).tolist() == [[1 / 3, 0.0, 0.0, 1.0], [0.0] * 4, [0.0] * 4]


def test_t_iou_is_defined_for_everything() -> None:
    odd = np.array([[0, 0], [5, 1], [np.nan, 3], [0, np.inf], [-np.inf, np.inf], [-3, 7]], dtype=np.float64)
    result = t_iou(odd, odd)
    assert np.isfinite(result).all()
    assert (np.diagonal(result)[:-1] == 0).all()
    assert result[-1, -1] == 1


segments = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), max_size=8).map(
    lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 2)
)


@given(segments, segments)
@settings(max_examples=100, deadline=None)
def test_t_iou_is_symmetric_and_between_0_and_1(a: np.ndarray, b: np.ndarray) -> None:
    result = t_iou(a, b)
    assert (result == t_iou(b, a).T).all()
    assert ((result >= 0) & (result <= 1)).all()
    proper = a[a[:, 1] > a[:, 0]]
    assert (np.diagonal(t_iou(proper, proper)) == 1).all()


# --- detection scores: parity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EDGE_CASES))
def test_edge_cases_agree_with_the_toolkit(name: str) -> None:
    scores = detection_scores(*edge_case(name), as_toolkit=True)
    expected = EDGE_CASES[name]["anet"]["ap"]
    assert set(scores.classes) == set(expected)
    np.testing.assert_allclose(scores.ap.T, [expected[label] for label in scores.classes], atol=1e-12)


@pytest.mark.parametrize("name", sorted(EDGE_CASES))
def test_by_default_only_the_division_by_zero_differs(name: str) -> None:
    scores = detection_scores(*edge_case(name))
    if name in (
        "zero_length_gt",
        "reversed_gt",
    ):  # ours: such an instance is never matched, its detection is a false positive
        np.testing.assert_allclose(scores.ap, 0.25)
    else:
        assert scores.average_mean_ap == pytest.approx(EDGE_CASES[name]["anet"]["average_mAP"], abs=1e-12)


@needs_shared
@pytest.mark.parametrize("name", ["sample12", "sample13", "synth20", "synth200"])
def test_agrees_with_the_toolkit_on_activitynet(name: str) -> None:
    expected = json.loads((SHARED / f"golden/anet_{name}.json").read_text())
    truth = read_annotation_columns(SHARED / "real" / expected["ground_truth"], "validation")
    path = SHARED / f"golden/anet_pred_{name}.json"
    found = read_detection_columns(path if path.is_file() else path.with_suffix(".json.gz"))
    scores = detection_scores(
        SegmentTable.from_columns(**found), SegmentTable.from_columns(**truth), as_toolkit=name.startswith("sample")
    )
    assert set(scores.classes) == set(expected["ap_per_class"])
    np.testing.assert_allclose(scores.ap.T, [expected["ap_per_class"][c] for c in scores.classes], atol=1e-9)
    assert scores.average_mean_ap == pytest.approx(expected["average_mAP"], abs=1e-9)


@needs_shared
def test_agrees_with_opentad_after_our_cleaning() -> None:
    truth, _ = read_annotations(ANET12, "validation")
    found = SegmentTable.from_columns(**read_detection_columns(SHARED / "golden/anet_pred_synth20.json"))
    expected = json.loads((SHARED / "golden/opentad_synth20.json").read_text())
    np.testing.assert_allclose(detection_scores(found, truth).mean_ap, expected["mAP"], atol=1e-9)


@needs_shared
def test_trivial_baseline_of_activitynet() -> None:
    annotations, _ = read_annotations(ANET12, "validation")
    truth = SegmentTable.from_columns(**read_annotation_columns(ANET12, "validation"))
    scores = detection_scores(whole_video_detections(annotations), truth)
    assert scores.average_mean_ap == pytest.approx(0.204, abs=5e-4)
    assert scores.at(0.5) == pytest.approx(0.361, abs=5e-4)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_plain_loop(seed: int) -> None:
    found, truth = generate(videos=40, classes=5, per_video=30, seed=seed)
    crowded = replace(truth, video=truth.video // 4)  # several instances a video, overlapping: locking matters
    found = replace(found, video=found.video // 4, score=np.round(found.score, 2))  # ties too
    thresholds = (0.05, 0.3, *T_IOU_THRESHOLDS)
    scores = detection_scores(found, crowded, thresholds)
    expected = naive_scores(found, crowded, thresholds)
    np.testing.assert_allclose(scores.ap.T, [expected[label] for label in scores.classes], atol=1e-12)
    assert 0.05 < scores.average_mean_ap < 0.95


# --- detection scores: rules and odd input ----------------------------------------------------------------------


def test_a_detection_may_take_its_second_choice() -> None:
    truth = table([("v", "x", 0, 10), ("v", "x", 2, 12)])
    found = table([("v", "x", 0, 10, 0.9), ("v", "x", 0.5, 10, 0.8)])
    assert detection_scores(found, truth, [0.5]).ap.tolist() == [[1.0]]
    assert detection_scores(found, truth, [0.75]).ap.tolist() == [[0.5]]


def test_precision_is_taken_from_its_envelope() -> None:
    truth = table([("v", "x", 0, 10), ("w", "x", 0, 10)])
    found = table([("v", "x", 50, 60, 0.9), ("v", "x", 0, 10, 0.8), ("w", "x", 0, 10, 0.7)])
    assert detection_scores(found, truth, [0.5]).ap.item() == pytest.approx(2 / 3)


def test_a_missed_class_stays_in_the_mean_and_a_foreign_one_does_not_enter() -> None:
    truth = table([("v", "x", 0, 10), ("v", "y", 0, 10)])
    scores = detection_scores(table([("v", "x", 0, 10, 1), ("v", "z", 0, 10, 1)]), truth)
    assert scores.classes == ("x", "y")
    assert scores.average_mean_ap == 0.5


def test_equal_scores_are_ranked_as_they_come() -> None:
    truth = table([("v", "x", 0, 10)])
    right, wrong = ("v", "x", 0, 10, 0.5), ("u", "x", 0, 10, 0.5)
    assert detection_scores(table([right, wrong]), truth).average_mean_ap == 1.0
    assert detection_scores(table([wrong, right]), truth).average_mean_ap == 0.5


def test_odd_detections_have_a_score_and_are_counted() -> None:
    truth = table([("v", "x", 0, 10), ("v", "x", 30, 30), ("v", "x", 8, 4), ("v", "x", 0, math.nan)])
    found = table(
        [
            ("v", "x", 0, 10, math.nan),
            ("v", "x", 30, 30, 0.9),
            ("v", "x", 4, 8, 0.8),
            ("nowhere", "x", 0, 10, 0.7),
            ("v", "x", 10, 0, 0.6),
            ("v", "x", 0, math.inf, 0.5),
            ("v", "typo", 0, 10, 0.9),
            ("elsewhere", "typo", 0, 10, 0.9),
        ]
    )
    assert detection_scores(found, truth, [0.5]).ap.item() == pytest.approx(1 / 6 / 4)  # the NaN comes sixth
    counts = detection_counts(found, truth)
    assert counts.detections == 8
    assert counts.unmatched_videos == {"nowhere": 1, "elsewhere": 1}
    assert counts.unknown_labels == {"typo": 2}
    assert (counts.zero_length, counts.reversed, counts.non_finite, counts.nan_scores) == (1, 1, 1, 1)
    assert (counts.instances_zero_length, counts.instances_reversed, counts.instances_non_finite) == (1, 1, 1)
    notes = "\n".join(counts.notes())
    assert "2 detections in videos without ground truth, false positives (2: 'nowhere', 'elsewhere')" in notes
    assert "1 detection with a NaN score, ranked last" in notes
    assert len(counts.notes()) == 9


def test_good_input_has_no_notes() -> None:
    truth = table([("v", "x", 0, 10)])
    assert detection_counts(truth, truth).notes() == ()


def test_no_detections_score_zero() -> None:
    annotations = [VideoAnnotation("v", 20.0, "validation", (Instance(0, 10, "x"),))]
    assert detection_scores({}, annotations).average_mean_ap == 0.0
    assert detection_scores({"v": ()}, annotations).ap.shape == (10, 1)


def test_no_ground_truth_and_bad_thresholds_are_errors() -> None:
    with pytest.raises(InputError, match="no instance to score against"):
        detection_scores({}, [VideoAnnotation("v", 20.0, "validation", ())])
    truth = table([("v", "x", 0, 10)])
    for bad in ([0.0], [1.5], [], [math.nan]):
        with pytest.raises(InputError, match=r"must lie in \(0, 1\]"):
            detection_scores(truth, truth, bad)


def test_whole_video_detections_from_either_source() -> None:
    annotations = [VideoAnnotation("v", 20.0, "validation", (Instance(0, 5, "x"), Instance(6, 9, "x")))]
    expected = {"v": (Detection(0.0, 20.0, "x", 1.0),)}
    assert whole_video_detections(annotations) == expected
    assert whole_video_detections({"v": 20.0, "w": 3.0}, {"v": ["x"]}) == expected
    with pytest.raises(InputError, match="pass labels"):
        whole_video_detections({"v": 20.0})
    with pytest.raises(InputError, match="no duration, first 'w'"):
        whole_video_detections({"v": 20.0}, {"w": ["x"]})


# --- detection scores: properties -------------------------------------------------------------------------------

times = st.integers(0, 24).map(lambda eighths: eighths / 8)  # exact under shifts


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[tuple], list[tuple]]:
    """(detections without ties, truth), small and crowded."""
    spans = st.tuples(times, times).filter(lambda s: s[0] != s[1]).map(sorted)
    places = st.tuples(st.sampled_from("uvw"), st.sampled_from("xy"), spans)
    truth = [(v, c, *span) for v, c, span in draw(st.lists(places, min_size=1, max_size=8))]
    claims = draw(st.lists(places, max_size=14))
    scores = draw(st.permutations(range(len(claims))))
    return [(v, c, *span, score / 16) for (v, c, span), score in zip(claims, scores, strict=True)], truth


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_scores_do_not_depend_on_order_names_or_the_clock(problem: tuple, random: object) -> None:
    found, truth = problem
    base = detection_scores(table(found), table(truth), (0.3, 0.5, 0.8))
    shuffled = detection_scores(
        table(random.sample(found, len(found))),  # type: ignore[attr-defined]
        table(random.sample(truth, len(truth))),  # type: ignore[attr-defined]
        (0.3, 0.5, 0.8),
    )
    assert (shuffled.ap == base.ap).all()
    later = detection_scores(
        table([(v, c, a + 64, b + 64, s) for v, c, a, b, s in found]),
        table([(v, c, a + 64, b + 64) for v, c, a, b in truth]),
        (0.3, 0.5, 0.8),
    )
    assert (later.ap == base.ap).all()
    names = {"u": "w", "v": "u", "w": "v", "x": "y", "y": "x"}
    renamed = detection_scores(
        table([(names[v], names[c], *rest) for v, c, *rest in found]),
        table([(names[v], names[c], *rest) for v, c, *rest in truth]),
        (0.3, 0.5, 0.8),
    )
    assert dict(zip(renamed.classes, renamed.ap.T.tolist(), strict=True)) == {
        names[c]: ap for c, ap in zip(base.classes, base.ap.T.tolist(), strict=True)
    }


@given(problems())
@settings(max_examples=60, deadline=None)
def test_perfect_detections_score_1_and_stricter_thresholds_do_not_raise_the_score(problem: tuple) -> None:
    found, truth = problem
    distinct = list(dict.fromkeys(truth))
    claims = [(*row, 1 / (1 + i)) for i, row in enumerate(distinct)]
    assert (detection_scores(table(claims), table(distinct)).ap == 1).all()
    mean_ap = detection_scores(table(found), table(truth)).mean_ap
    assert (np.diff(mean_ap) <= 1e-12).all()
    assert ((mean_ap >= 0) & (mean_ap <= 1)).all()


@given(problems())
@settings(max_examples=60, deadline=None)
def test_deferred_acceptance_is_the_plain_loop(problem: tuple) -> None:
    found, truth = map(table, problem)
    thresholds = (0.1, 0.25, 0.5, 0.75)
    scores = detection_scores(found, truth, thresholds)
    expected = naive_scores(found, truth, thresholds)
    np.testing.assert_allclose(scores.ap.T, [expected[c] for c in scores.classes], atol=1e-12)


# --- snippets ---------------------------------------------------------------------------------------------------


def test_snippet_scores_by_hand() -> None:
    true = [np.array([0, 0, 1, 1, 2]), np.array([2, 0])]
    predicted = [np.array([0, 1, 1, 2, 2]), np.array([0, 0])]
    scores = snippet_accuracy(predicted, true, ["a", "b", "c"])
    assert scores.confusion[:3, :3].tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert scores.accuracy == pytest.approx(4 / 7)
    assert scores.background_recall == pytest.approx(2 / 3)
    assert scores.foreground_recall == pytest.approx(2 / 4)
    np.testing.assert_allclose(scores.recall, [2 / 3, 0.5, 0.5, np.nan])


def test_snippet_scores_of_nothing_are_nan() -> None:
    scores = snippet_accuracy([np.array([1])], [np.array([1])], ["a"])
    assert scores.accuracy == 1.0
    assert math.isnan(scores.background_recall)


def test_snippets_must_match() -> None:
    three, two = np.array([0, 1, 1]), np.array([0, 1])
    with pytest.raises(InputError, match="1 videos predicted, 2 with ground truth"):
        snippet_accuracy([three], [three, two], ["a"])
    with pytest.raises(InputError, match="video 0: 2 snippets predicted, ground truth has 3"):
        event_f1([two], [three], ["a"])
    with pytest.raises(InputError, match=r"predicted classes must lie in 0\.\.1, got 0\.\.2"):
        snippet_accuracy([np.array([0, 2])], [two], ["a"])
    with pytest.raises(InputError, match="threshold must lie"):
        event_f1([two], [two], ["a"], 0.0)


def test_event_f1_by_hand() -> None:
    true = [np.array([1, 1, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 0])]
    predicted = [np.array([1, 1, 1, 1, 1, 0, 2, 2]), np.array([0, 1, 0, 0])]
    # video 0: one run of 5 over true runs of 2 and 2 (IoU 2/5 and 1/6): false, and two misses; class 2 right.
    scores = event_f1(predicted, true, ["a", "b", "c"])
    assert scores.true_positives.tolist() == [0, 1, 0]
    assert scores.false_positives.tolist() == [2, 0, 0]
    assert scores.false_negatives.tolist() == [2, 0, 0]
    np.testing.assert_allclose(scores.f1, [0.0, 1.0, np.nan])
    assert scores.mean_f1 == 0.5


def test_an_event_is_found_once() -> None:
    true, predicted = [np.array([1, 1, 1, 1])], [np.array([1, 1, 0, 1])]
    scores = event_f1(predicted, true, ["a"])  # IoU 1/2 counts, 1/4 does not
    assert (scores.true_positives[0], scores.false_positives[0], scores.false_negatives[0]) == (1, 1, 0)
    halves = event_f1([np.array([1, 0, 1])], [np.array([1, 1, 1])], ["a"], 0.3)
    assert (halves.true_positives[0], halves.false_positives[0]) == (1, 1)
    covering = event_f1([np.array([1, 1, 1])], [np.array([1, 0, 1])], ["a"], 0.3)
    assert (covering.true_positives[0], covering.false_negatives[0]) == (1, 1)
    assert math.isnan(event_f1([np.zeros(3, int)], [np.zeros(3, int)], ["a"]).mean_f1)


def test_rasterise_goes_by_cell_centres_and_lets_the_shortest_win() -> None:
    grid = SnippetGrid.cover(6, 1)
    video = VideoAnnotation("v", 6.0, "", (Instance(2.5, 3.5, "b"), Instance(0.6, 5.5, "a"), Instance(3.1, 3.4, "b")))
    assert rasterise(video, grid, ["a", "b"]).tolist() == [0, 1, 2, 1, 1, 0]
    tied = (Instance(1, 4, "b"), Instance(0, 3, "b"), Instance(0, 3, "a"))
    for instances in (tied, tied[::-1]):
        assert rasterise(VideoAnnotation("v", 6.0, "", instances), grid, ["a", "b"]).tolist() == [1, 1, 1, 2, 0, 0]
    with pytest.raises(InputError, match="v: label 'b' is not among the classes"):
        rasterise(video, grid, ["a"])


@needs_shared
def test_constant_class_and_background_on_ave() -> None:
    data = read_ave(SHARED / "real/annotations/ave/data")
    grid = SnippetGrid.cover(10, 1)
    true = [rasterise(video, grid, data.classes) for video in data.annotations]
    rebuilt = np.load(SHARED / "real/annotations/ave/labels_reconstructed.npz")["labels"].argmax(-1)
    assert (np.where(rebuilt == 28, 0, rebuilt + 1) == np.stack(true)).all()
    test = [rows for rows, video in zip(true, data.annotations, strict=True) if video.subset == "testing"]
    constant = snippet_accuracy([np.full(10, rows.max()) for rows in test], test, data.classes)
    assert len(test) == 402
    assert constant.accuracy == pytest.approx(0.822, abs=5e-4)
    assert constant.background_recall == 0.0
    assert snippet_accuracy([rows * 0 for rows in test], test, data.classes).accuracy == pytest.approx(0.178, abs=5e-4)


# --- video-level average precision ------------------------------------------------------------------------------


def test_video_average_precision_agrees_with_wtalc() -> None:
    golden = np.load(GOLDEN / "wtalc_classification_map.npz", allow_pickle=False)
    result = video_average_precision(golden["confidence"], golden["labels"])
    assert result.mean_ap == pytest.approx(float(golden["mAP"]) / 100, abs=1e-7)  # it is float32


def test_video_average_precision_with_ties_and_missing_classes() -> None:
    scores = np.array([[0.5, 0.9, 0.1], [0.5, 0.1, 0.2], [0.5, 0.5, 0.3], [0.5, 0.4, 0.4]])
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
    result = video_average_precision(scores, labels)
    np.testing.assert_allclose(result.ap, [0.25, 1.0, np.nan])
    assert result.mean_ap == pytest.approx(0.625)
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(video_average_precision(scores[order], labels[order]).ap, result.ap)


def test_video_average_precision_refuses_nan_and_nothing() -> None:
    with pytest.raises(InputError, match="NaN for 1 videos"):
        video_average_precision(np.array([[np.nan], [1.0]]), np.array([[1], [0]]))
    with pytest.raises(InputError, match="at least one positive"):
        video_average_precision(np.zeros((2, 1)), np.zeros((2, 1)))
