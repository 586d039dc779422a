"""Protocols of single data sets against their own programs, and `avloc evaluate` on their files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from avloc.datasets.wtalc import read_wtalc
from avloc.errors import FormatError, InputError
from avloc.evaluate.compare import compare_files
from avloc.evaluate.detection import diagnose_files, evaluate_files
from avloc.evaluate.parsing import evaluate_parsing
from avloc.evaluate.protocols import PROTOCOLS, find_protocol, prepare
from avloc.evaluate.reference import read_blocked, read_reference
from avloc.formats.annotations import read_annotation_columns
from avloc.formats.detections import read_detection_columns, write_segments_csv, write_segments_json
from avloc.metrics import (
    SegmentTable,
    detection_scores,
    empty_rows,
    parsing_scores,
    repeated_rows,
    touching_rows,
    video_average_precision,
    without_videos,
    wtalc_classification_map,
    wtalc_detection_map,
)
from avloc.types import Detection, Instance, VideoAnnotation
from console import avloc
from field_sets import make_ave, make_llp, make_wtalc

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).resolve().parents[2] / "shared"
ANET12 = SHARED / "real/annotations/anet12/activity_net.v1-2.rebuilt.json"
EDGE_CASES = json.loads((GOLDEN / "anet_edge_cases.json").read_text())["cases"]
needs_shared = pytest.mark.skipif(not ANET12.is_file(), reason="needs ../shared")


def table(rows: list[tuple]) -> SegmentTable:
    numbers = np.array([(*row[2:], 0.0)[:3] for row in rows], dtype=np.float64).reshape(-1, 3)
    return SegmentTable.from_columns([r[0] for r in rows], [r[1] for r in rows], *numbers.T)


def rows_of(table_: SegmentTable) -> list[tuple]:
    columns = (table_.video, table_.label, table_.start_s, table_.end_s)
    return [
        (table_.videos[v], table_.labels[c], s, e) for v, c, s, e in zip(*(x.tolist() for x in columns), strict=True)
    ]


# --- OpenTAD's and other options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EDGE_CASES))
def test_opentad_on_edge_cases(name: str, tmp_path: Path) -> None:
    case = EDGE_CASES[name]
    (tmp_path / "truth.json").write_text(json.dumps(case["ground_truth"]))
    (tmp_path / "found.json").write_text(json.dumps(case["prediction"]))
    result = evaluate_files(tmp_path / "found.json", tmp_path / "truth.json", "validation", protocol="opentad")
    np.testing.assert_allclose(result.scores.mean_ap, case["opentad"]["mAP"], atol=1e-9)


@needs_shared
@pytest.mark.parametrize("name", ["sample12", "sample13", "synth20", "synth200"])
def test_opentad_on_activitynet(name: str) -> None:
    expected = json.loads((SHARED / f"golden/opentad_{name}.json").read_text())
    path = SHARED / f"golden/anet_pred_{name}.json"
    columns = read_detection_columns(path if path.is_file() else path.with_suffix(".json.gz"))
    truth = SegmentTable.from_columns(
        **read_annotation_columns(SHARED / "real" / expected["ground_truth"], "validation")
    )
    found, truth, _ = prepare(SegmentTable.from_columns(**columns), truth, PROTOCOLS["opentad"])
    assert len(truth) == expected["n_gt"]
    if name.startswith("sample"):  # all scores are equal, and argsort()[::-1] of equals takes the last first
        found = found.take(np.arange(len(found))[::-1])
    np.testing.assert_allclose(detection_scores(found, truth).mean_ap, expected["mAP"], atol=1e-9)


def test_what_is_taken_out_is_counted(tmp_path: Path) -> None:
    truth = table(
        [("a", "x", 0, 10), ("a", "x", 0.0005, 10.0005), ("a", "y", 0, 10), ("b", "x", 5, 5), ("b", "x", 9, 2)]
    )
    assert repeated_rows(truth).tolist() == [False, True, False, False, False]
    assert empty_rows(truth).tolist() == [False, False, False, True, True]
    assert empty_rows(table([("a", "x", np.nan, 1)])).tolist() == [True]
    found = table([("a", "x", 0, 10, 0.5), ("b", "x", 2, 4, 0.5), ("c", "x", 2, 4, 0.5)])
    assert touching_rows(found, [("b", 3.9, 9), ("a", 10, 12), ("z", 0, 9)]).tolist() == [False, True, False]
    assert rows_of(without_videos(found, {"a", "zz"})) == [("b", "x", 2, 4), ("c", "x", 2, 4)]
    left, kept, notes = prepare(found, truth, PROTOCOLS["opentad"], ("c",), read_reference_stretch(tmp_path))
    assert (len(left), len(kept)) == (1, 2)
    assert notes == (
        "left out 1 detection and 0 instances in 1 blocked video",
        "left out 1 detection overlapping 1 ambiguous segment",
        "left out 1 repeated instance (opentad)",
        "left out 2 zero-length or reversed instances (opentad)",
    )
    with pytest.raises(InputError, match=r"there is no protocol 'opentat'. Did you mean 'opentad'"):
        find_protocol("opentat")


def read_reference_stretch(tmp_path: Path) -> tuple:
    from avloc.datasets.wtalc import read_ambiguous

    (tmp_path / "a.txt").write_text("b 3.9 9\n")
    return read_ambiguous(tmp_path / "a.txt")


def test_thresholds_of_the_protocols() -> None:
    assert PROTOCOLS["unav"].t_iou == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert PROTOCOLS["thumos14"].t_iou == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert PROTOCOLS["activitynet"].t_iou == tuple(np.linspace(0.5, 0.95, 10))


def test_lists_of_blocked_videos(tmp_path: Path) -> None:
    for name, text in (("a.json", '["x", "y"]'), ("b.json", '{"x": 1, "y": 2}'), ("c.txt", "x\n\ny\r\n")):
        (tmp_path / name).write_text(text)
        assert read_blocked(tmp_path / name) == ("x", "y")
    for text in ("[1]", "3", "[", "null"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(FormatError, match=r"a.json: expected"):
            read_blocked(tmp_path / "a.json")


# --- W-TALC -----------------------------------------------------------------------------------------------------------


@needs_shared
def test_wtalc_detection_map_agrees_with_its_program() -> None:
    data = read_wtalc(SHARED / "golden/wtalc_det_ann")
    stored = np.load(SHARED / "golden/wtalc_detection_map.npz")
    cuts = np.split(stored["scores"], np.cumsum(stored["lengths"])[:-1])
    logits = dict(zip(stored["videos"].tolist(), cuts, strict=True))
    expected = {float(t): value for t, value in json.loads(str(stored["mAP"])).items()}
    scores = wtalc_detection_map(logits, data.annotations, data.classes, tuple(expected))
    np.testing.assert_allclose(100 * scores.mean_ap, list(expected.values()), atol=1e-6)


def naive_wtalc(logits: dict, truth: list, classes: list, threshold: float, ambiguous: list) -> float:
    """A plain loop from the description: sets of snippets, one detection at a time."""
    factor, total = 25 / 16, []
    for c, name in enumerate(classes):
        instances = [(v, set(range(round(s * factor), round(e * factor)))) for v, label, s, e in truth if label == name]
        claims = []
        for video, curves in logits.items():
            curve = curves[:, c]
            score = np.mean(sorted(curve, reverse=True)[: len(curve) // 8]) if len(curve) >= 8 else -1
            if score <= 0:
                continue
            level = (max(curve) + min(curve)) / 2
            first = None
            for i in range(len(curve) + 1):
                high = i < len(curve) and curve[i] > level
                if high and first is None:
                    first = i
                if not high and first is not None:
                    if i - first >= 2:
                        claims.append((video, set(range(first, i)), max(curve[first:i]) + 0.7 * score))
                    first = None
        for video, s, e in ambiguous:
            hidden = set(range(round(s * factor), round(e * factor)))
            claims = [x for x in claims if x[0] != video or not x[1] & hidden]
        if not claims:
            return 0.0
        found, ap, left = 0, 0.0, list(instances)
        for rank, (video, claimed, _) in enumerate(sorted(claims, key=lambda x: -x[2]), start=1):
            for item in left:
                if item[0] == video and len(item[1] & claimed) / len(item[1] | claimed) >= threshold:
                    left.remove(item)
                    found += 1
                    ap += found / rank
                    break
        total.append(ap / len(instances))
    return float(np.mean(total))


@pytest.mark.parametrize("seed", range(5))
def test_wtalc_detection_map_is_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = ["x", "y"]
    logits, truth = {}, []
    for k in range(12):
        length = int(rng.integers(6, 60))
        smooth = np.convolve(rng.normal(0.4, 1.5, length + 8), np.ones(9) / 3, "valid")
        logits[f"v{k}"] = np.stack([smooth, -smooth + 1], axis=1)
        for _ in range(int(rng.integers(1, 4))):
            start = float(rng.uniform(0, length * 16 / 25 - 2))
            truth.append((f"v{k}", classes[int(rng.integers(2))], start, start + float(rng.uniform(0.5, 12))))
    truth += [("v0", "x", 3.0, 3.0), ("gone", "y", 0.0, 5.0)]  # no length; no logits
    ambiguous = [("v1", 2.0, 6.0), ("v2", 0.0, 1.0)]
    ordered = {video: logits[video] for video in dict.fromkeys(row[0] for row in truth) if video in logits}
    scores = wtalc_detection_map(logits, table(truth), classes, (0.1, 0.3, 0.5), ambiguous=ambiguous)
    expected = [naive_wtalc(ordered, truth, classes, t, ambiguous) for t in (0.1, 0.3, 0.5)]
    np.testing.assert_allclose(scores.mean_ap, expected, atol=1e-9)
    assert 0 < scores.mean_ap[0] < 1


def test_wtalc_is_zero_when_a_class_is_never_claimed() -> None:
    curve = np.concatenate([np.full(8, -1.0), np.full(8, 5.0)])
    truth = table([("a", "x", 8 * 0.64, 16 * 0.64), ("a", "y", 0, 1)])
    one = wtalc_detection_map({"a": np.stack([curve, curve], axis=1)}, table([truth_row(truth, 0)]), ["x", "y"])
    assert one.mean_ap.tolist() == [1.0] * 5
    never = wtalc_detection_map({"a": np.stack([curve, -np.ones(16)], axis=1)}, truth, ["x", "y"])
    assert never.mean_ap.tolist() == [0.0] * 5
    for logits, classes, message in (
        ({"a": np.ones((9, 3))}, ["x", "y"], r"a: expected logits with a column per class \(2\), got 3"),
        ({"a": np.ones((9, 1))}, ["x"], "the ground truth has class 'y'"),
    ):
        with pytest.raises(InputError, match=message):
            wtalc_detection_map(logits, truth, classes)
    with pytest.raises(InputError, match="no instance to score against"):
        wtalc_detection_map({}, table([]), ["x"])


def truth_row(truth: SegmentTable, row: int) -> tuple:
    return rows_of(truth)[row]


def test_wtalc_classification_map_agrees_with_its_program() -> None:
    stored = np.load(GOLDEN / "wtalc_classification_map.npz")
    value = wtalc_classification_map(stored["confidence"], stored["labels"])
    assert 100 * value == pytest.approx(float(stored["mAP"]), abs=1e-6)
    ours = video_average_precision(stored["confidence"], stored["labels"]).mean_ap
    assert value == pytest.approx(ours, abs=1e-9)  # no ties there: the two differ in nothing else
    with pytest.raises(InputError, match="no video has class 1"):
        wtalc_classification_map(np.ones((3, 2)), np.array([[1, 0], [1, 0], [0, 0]]))


# --- LLP --------------------------------------------------------------------------------------------------------------


def test_parsing_scores_agree_with_avvp() -> None:
    stored = np.load(GOLDEN / "avvp_parsing.npz")
    shape = tuple(stored["shape"].tolist())
    unpacked = (np.unpackbits(stored[k])[: np.prod(shape)].reshape(shape) for k in KINDS)
    scores = parsing_scores(*(values.astype(bool) for values in unpacked))
    for level, values in (("segment", scores.segment), ("event", scores.event)):
        ours = [values.audio, values.visual, values.audio_visual, values.event_average]
        np.testing.assert_allclose(ours, stored[level], atol=1e-12)
    assert scores.segment.type_average == pytest.approx(stored["segment"][:3].mean())


KINDS = ("audio", "visual", "true_audio", "true_visual")


def test_parsing_scores_by_hand() -> None:
    def seconds(*spans: tuple[int, int, int]) -> np.ndarray:
        values = np.zeros((1, 10, 2), dtype=bool)
        for c, first, stop in spans:
            values[0, first:stop, c] = True
        return values

    truth_a, truth_v = seconds((0, 0, 4)), seconds((0, 2, 6))
    scores = parsing_scores(seconds((0, 0, 2), (0, 8, 9)), seconds((0, 2, 6), (1, 0, 5)), truth_a, truth_v)
    assert scores.segment.audio == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert scores.segment.visual == pytest.approx((1 + 0) / 2)  # class 1 is claimed and false
    assert scores.segment.audio_visual == 0  # truth 2-4 s, claim nothing in common
    assert scores.event.audio == pytest.approx(2 / (2 + 1))  # 0-2 has IoU 0.5 with 0-4; 8-9 is false
    assert scores.event.event_average == pytest.approx((2 * 2 / (2 * 2 + 1) + 0) / 2)
    nothing = seconds()
    assert parsing_scores(nothing, nothing, nothing, nothing).to_dict()["event_type_average"] == 1
    with pytest.raises(InputError, match="no video to score"):
        parsing_scores(*[np.zeros((0, 10, 2), dtype=bool)] * 4)


def test_llp_from_files(tmp_path: Path) -> None:
    root = make_llp(tmp_path / "l")
    heard = {"ddddddddddd_5_15": (Detection(2, 6, "Dog", 0.5), Detection(0, 9, "Cat", 0.2))}
    seen = {"ddddddddddd_5_15": (Detection(5.4, 8, "Dog", 0.9),), "eeeeeeeeeee_0_10": (Detection(0, 10, "Cat", 0.6),)}
    write_segments_csv(tmp_path / "heard.csv", heard)
    write_segments_json(tmp_path / "seen.json", seen)
    scores = evaluate_parsing(tmp_path / "heard.csv", tmp_path / "seen.json", root)
    assert scores.segment.audio == 1  # a score of 0.5 counts
    assert scores.event.visual == 1
    weaker = evaluate_parsing(tmp_path / "heard.csv", tmp_path / "seen.json", root, min_score=0.1)
    assert weaker.segment.audio == pytest.approx((1 / 2 + 1) / 2)
    done = avloc("evaluate", tmp_path / "heard.csv", root, "--visual", tmp_path / "seen.json", "--json")
    assert json.loads(done.stdout)["segment_audio"] == 1
    assert "Type@AV" in done.stderr
    notes: list[str] = []
    write_segments_json(tmp_path / "more.json", {**seen, "aaaaaaaaaaa_0_10": (Detection(0, 10, "Dog", 0.9),)})
    more = evaluate_parsing(tmp_path / "heard.csv", tmp_path / "more.json", root, notes=notes)
    assert (more, notes) == (scores, [f"{tmp_path / 'more.json'}: left out 1 detection in 1 video not scored"])
    write_segments_json(tmp_path / "other.json", {"aaaaaaaaaaa_0_10": (Detection(0, 10, "Dog", 0.9),)})
    with pytest.raises(InputError, match=r"other.json names none of the 2 videos scored: e.g. 'aaaaaaaaaaa_0_10'"):
        evaluate_parsing(tmp_path / "heard.csv", tmp_path / "other.json", root)
    with pytest.raises(InputError, match=r"no video in subset 'training'|LLP has validation and testing"):
        evaluate_parsing(tmp_path / "heard.csv", tmp_path / "seen.json", root, "nowhere")
    write_segments_csv(tmp_path / "heard.csv", {"ddddddddddd_5_15": (Detection(0, 1, "dog", 0.9),)})
    with pytest.raises(InputError, match=r"label 'dog' is not one of LLP's classes. Did you mean 'Dog'"):
        evaluate_parsing(tmp_path / "heard.csv", tmp_path / "seen.json", root)


# --- the command on files of all kinds --------------------------------------------------------------------------------


def test_ground_truth_may_be_a_data_set(tmp_path: Path) -> None:
    root = make_wtalc(tmp_path, urls=False)
    (root / "Ambiguous_test.txt").write_text("video_3 5.0 6.0\n")
    found = {
        "video_3": (Detection(2, 4, "jump", 0.9), Detection(5.5, 19, "dive", 0.8)),
        "video_4": (Detection(2, 3, "dive", 0.7),),
    }
    write_segments_json(tmp_path / "found.json", found)
    result = evaluate_files(tmp_path / "found.json", root, "validation", protocol="thumos14")
    assert result.scores.t_iou.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert dict(zip(result.scores.classes, result.scores.ap[0], strict=True)) == {"dive": 0.5, "jump": 1.0}
    assert any("left out 1 detection overlapping 1 ambiguous segment" in note for note in result.notes)
    assert result.trivial.t_iou.tolist() == result.scores.t_iou.tolist()
    compared = compare_files(tmp_path / "found.json", tmp_path / "found.json", root, "validation", "thumos14", 100)
    assert compared.first["average mAP"] == pytest.approx(result.scores.average_mean_ap)


def test_subsets_together(tmp_path: Path) -> None:
    root = make_ave(tmp_path / "ave")
    write_segments_json(tmp_path / "found.json", {"bbb": (Detection(2, 5, "Dog", 0.9),), "ddd": ()})
    both = evaluate_files(tmp_path / "found.json", root, "validation,testing")
    assert dict(zip(both.scores.classes, both.scores.ap[0], strict=True)) == {"Cat": 0, "Dog": 0.5}
    assert both.never_found == ("Cat",)
    assert (both.subsets, both.videos) == (("validation", "testing"), 3)
    with pytest.raises(InputError, match=r"no video in subset 'testin'. Did you mean 'testing'"):
        evaluate_files(tmp_path / "found.json", root, "validation,testin")


def test_another_data_set_is_an_error_and_not_a_score_of_zero(tmp_path: Path) -> None:
    root = make_ave(tmp_path / "ave")
    write_segments_json(tmp_path / "found.json", {"zzz": (Detection(2, 5, "Dog", 0.9),)})
    with pytest.raises(InputError, match=r"have no video in common: detections name e.g. 'zzz', .* e.g. 'bbb'"):
        evaluate_files(tmp_path / "found.json", root, "validation")
    with pytest.raises(InputError, match="have no video in common"):
        diagnose_files(tmp_path / "found.json", root)
    write_segments_json(tmp_path / "found.json", {})
    assert evaluate_files(tmp_path / "found.json", root).scores.average_mean_ap == 0


def test_ground_truth_in_a_tools_format(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("1.0\t3.0\tdog\n5.0\t6.0\tdog\n")
    write_segments_csv(tmp_path / "found.csv", {"v": (Detection(1, 3, "dog", 0.9),)})
    assert evaluate_files(tmp_path / "found.csv", tmp_path / "v.txt").scores.average_mean_ap == 0.5
    assert read_reference(tmp_path / "v.txt").ids == ("v",)


def test_the_command_writes_tables_and_json(tmp_path: Path) -> None:
    truth = {"database": {"a": {"subset": "validation", "duration": 9.0, "annotations": []}}}
    truth["database"]["a"]["annotations"] = [{"label": "x", "segment": [0, 5]}, {"label": "x", "segment": [6, 6]}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    odd = [
        {"label": "x", "segment": [0, 5], "score": 0.9},
        {"label": "x", "segment": [8, 2], "score": 0.8},
        {"label": "x", "segment": [2, 2], "score": float("nan")},
        {"label": "zebra", "segment": [2, 3], "score": 0.1},
    ]
    found = {"results": {"a": odd, "elsewhere": [{"label": "x", "segment": [0, 1], "score": 0.95}]}}
    (tmp_path / "found.json").write_text(json.dumps(found))
    done = avloc("evaluate", tmp_path / "found.json", tmp_path / "truth.json", "-o", tmp_path / "s.json", "--per-class")
    assert done.returncode == 0, done.stderr
    for note in (
        "1 detection in videos without ground truth, false positives (1: 'elsewhere')",
        "1 detection with labels absent from the ground truth, not scored (1: 'zebra')",
        "1 detection with end = start, false positives",
        "1 detection with end < start, false positives",
        "1 detection with a NaN score, ranked last",
        "1 instance with end = start, never matched",
        "1 instance zero-length, left unchanged: a 'x' 6-6 s",
    ):
        assert note in done.stdout
    _, notes = diagnose_files(tmp_path / "found.json", tmp_path / "truth.json")
    assert "1 instance zero-length, dropped: a 'x' 6-6 s" in notes
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["ap"]["x"] == [0.25] * 10  # half the instances, one false positive before the true one
    assert scores["protocol"] == "activitynet"
    steps = ("--t-iou", "0.5:0.95:0.05", "--json")  # 0.45 / 0.05 is a little less than 9
    given = json.loads(avloc("evaluate", tmp_path / "found.json", tmp_path / "truth.json", *steps).stdout)
    assert given["map"] == scores["map"]
    assert len(given["map"]) == 10
    strict = avloc("evaluate", tmp_path / "found.json", tmp_path / "truth.json", "--protocol", "opentad", "--json")
    assert json.loads(strict.stdout)["average_map"] == 0.5
    (tmp_path / "blocked.txt").write_text("elsewhere\n")
    blocked = ("--protocol", "opentad", "--blocked", tmp_path / "blocked.txt", "--json")
    assert (
        json.loads(avloc("evaluate", tmp_path / "found.json", tmp_path / "truth.json", *blocked).stdout)["average_map"]
        == 1
    )
    for arguments, message in (
        (("--protocol", "anet"), "error: there is no protocol 'anet'."),
        (("--t-iou", "0.5"), "error: --t-iou takes first:last:step"),
        (("--blocked", tmp_path / "none.txt"), "it does not exist"),
    ):
        bad = avloc("evaluate", tmp_path / "found.json", tmp_path / "truth.json", *arguments)
        assert bad.returncode == 2
        assert message in bad.stderr
        assert "Traceback" not in bad.stderr


def test_the_confusion_matrix_is_in_the_json(tmp_path: Path) -> None:
    from fractions import Fraction

    from avloc.evaluate.detection import Evaluation
    from avloc.evaluate.snippets import evaluate_snippets
    from avloc.types import ActivationSequence, SnippetGrid

    grid = SnippetGrid(Fraction(0), Fraction(1), Fraction(1), 4)
    probs = np.array([[0.8, 0.2], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])
    video = ActivationSequence("v", 4.0, grid, ("x",), probs, np.array([0.5]))
    truth = [VideoAnnotation("v", 4.0, "testing", (Instance(1, 4, "x"),))]
    snippets = evaluate_snippets([video], truth)
    assert snippets is not None
    scores = detection_scores({}, truth)
    facts = Evaluation(scores, scores, snippets, (), ()).to_dict()
    assert facts["confusion"] == {"classes": ["background", "x"], "snippets": [[1, 0], [1, 2]]}
    assert facts["background_recall"] == 1
    assert facts["snippet_accuracy"] == 0.75


@needs_shared
def test_half_a_million_predictions_are_read_and_scored_at_once() -> None:
    """2,383 videos x 200 predictions, 10 thresholds: under two seconds of CPU time, files included."""
    path = SHARED / "golden/anet_pred_synth200.json.gz"
    began = time.process_time()
    result = evaluate_files(path, ANET12, "validation")
    seconds = time.process_time() - began
    expected = json.loads((SHARED / "golden/anet_synth200.json").read_text())
    assert result.scores.average_mean_ap == pytest.approx(expected["average_mAP"], abs=1e-9)
    assert seconds < 8  # busy cores and the type checks take their part; the official toolkit takes 220
