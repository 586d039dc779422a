"""avloc diagnose: error types, their costs, sensitivity by group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.errors import InputError
from avloc.evaluate.detection import diagnose_files
from avloc.figures import diagnosis_figure
from avloc.formats.annotations import write_annotations
from avloc.formats.detections import write_segments_json
from avloc.metrics import BINS, ERRORS, SegmentTable, detection_scores, diagnose
from avloc.types import Detection, Instance, VideoAnnotation
from console import avloc

TRUTH = [
    VideoAnnotation("a", 100.0, "validation", (Instance(0, 10, "x"), Instance(20, 40, "x"), Instance(50, 90, "y"))),
    VideoAnnotation("b", 50.0, "validation", (Instance(0, 50, "x"), Instance(10, 20, "y"))),
]


def one(*detections: Detection) -> dict[str, tuple[Detection, ...]]:
    return {"a": detections}


def test_each_error_is_called_by_its_name() -> None:
    found = one(
        Detection(0, 10, "x", 0.9),  # right
        Detection(0, 9, "x", 0.8),  # again the same
        Detection(50, 90, "x", 0.7),  # where y is
        Detection(20, 60, "x", 0.6),  # IoU 20/40 with x: right, at exactly 0.5
        Detection(25, 33, "y", 0.5),  # overlaps x by 8/20
        Detection(21, 29, "x", 0.4),  # overlaps x by 8/20
        Detection(95, 99, "x", 0.3),  # nothing there
        Detection(39, 60, "x", 0.2),  # y 10/51 = 0.196 > x 1/40
    )
    result = diagnose(found, TRUTH)
    assert dict(result.counts) == {
        "true positive": 2,
        "double": 1,
        "wrong label": 1,
        "localization": 1,
        "confusion": 2,
        "background": 1,
    }
    assert result.missed == pytest.approx(3 / 5)
    assert result.profile[0].tolist() == pytest.approx(  # ranks 1-3 of x, 1-2 of y
        [1 / 4, 1 / 4, 1 / 4, 0, 1 / 4, 0]
    )
    stricter = diagnose(found, TRUTH, at=0.51)
    assert (stricter.counts["true positive"], stricter.counts["localization"]) == (1, 2)
    outside = diagnose({"elsewhere": (Detection(0, 10, "x", 0.9),)}, TRUTH)
    assert outside.counts["background"] == 1


def test_costs_are_what_rescoring_without_the_errors_gives() -> None:
    found = one(
        Detection(95, 99, "x", 0.95), Detection(0, 9, "x", 0.9), Detection(0, 10, "x", 0.8), Detection(20, 40, "x", 0.7)
    )
    result = diagnose(found, TRUTH, (0.5,))
    base = detection_scores(found, TRUTH, (0.5,)).average_mean_ap
    assert result.average_mean_ap == pytest.approx(base)
    for error, dropped in (("background", 0), ("double", 2)):
        kept = {"a": tuple(d for k, d in enumerate(found["a"]) if k != dropped)}
        assert result.cost[error] == pytest.approx(detection_scores(kept, TRUTH, (0.5,)).average_mean_ap - base)
    assert result.cost["wrong label"] == result.cost["confusion"] == 0
    there = [VideoAnnotation("a", 100.0, "validation", TRUTH[0].instances[:2])]
    only_x = detection_scores(found, there, (0.5,)).average_mean_ap
    assert result.cost["missed"] == pytest.approx(only_x / 2 - base)  # y stays in the mean, with nothing


times = st.tuples(st.integers(0, 30), st.integers(1, 20), st.sampled_from("xyz"))
problems = st.tuples(
    st.tuples(*[st.lists(times, max_size=4)] * 3),
    st.tuples(*[st.lists(st.tuples(times, st.integers(0, 50)), max_size=8)] * 3),
)


@settings(max_examples=80, deadline=None)
@given(problem=problems)
def test_what_always_holds(problem: tuple) -> None:
    truth = [
        VideoAnnotation(v, 60.0, "", tuple(Instance(s, s + n, c) for s, n, c in rows))
        for v, rows in zip("abc", problem[0], strict=True)
    ]
    found = {
        v: tuple(Detection(s, s + n, c, k / 50) for (s, n, c), k in rows)
        for v, rows in zip("abd", problem[1], strict=True)
    }
    if not any(video.instances for video in truth):
        with pytest.raises(InputError, match="no instance to score against"):
            diagnose(found, truth)
        return
    result = diagnose(found, truth)
    scores = detection_scores(found, truth)
    assert result.average_mean_ap == pytest.approx(scores.average_mean_ap, abs=1e-12)
    assert all(result.cost[error] >= -1e-12 for error in (*ERRORS, "missed"))
    instances = sum(len(video.instances) for video in truth)
    for name in BINS["activitynet"]:
        mine = [group for group in result.groups if group.characteristic == name]
        assert sum(group.instances for group in mine) == instances
        missed = sum(group.missed * group.instances for group in mine if group.instances)
        assert missed == pytest.approx(result.missed * instances)
    assert all(np.isnan(g.mean_ap_n) or -1e-12 <= g.mean_ap_n <= 1 + 1e-12 for g in result.groups)
    json.dumps(result.to_dict(), allow_nan=False)


def test_perfect_detections_lose_nothing() -> None:
    found = {v.video_id: tuple(Detection(i.start_s, i.end_s, i.label, 1.0) for i in v.instances) for v in TRUTH}
    result = diagnose(found, TRUTH)
    assert result.mean_ap_n == pytest.approx(1)
    assert set(result.cost.values()) == {0.0}
    assert result.missed == 0
    found_by_group = [g.mean_ap_n for g in result.groups if g.instances]  # what finds others is no false positive
    assert found_by_group == pytest.approx([1.0] * len(found_by_group))
    by = {(g.characteristic, g.name): g.instances for g in result.groups}
    assert by["coverage", "0-0.2"] == 3
    assert by["coverage", "0.2-0.4"] == 1
    assert by["coverage", "0.8-1"] == 1
    assert by["length", "30-60"] == 2
    assert by["instances", "1"] == 3
    assert by["instances", "2-4"] == 2
    assert by["instances", "over 8"] == 0


def test_an_instance_that_ends_after_its_video_covers_all_of_it() -> None:
    truth = [VideoAnnotation("a", 100.0, "", (Instance(0, 120, "x"),))]
    groups = {g.name: g.instances for g in diagnose({}, truth).groups if g.characteristic == "coverage"}
    assert groups == {"0-0.2": 0, "0.2-0.4": 0, "0.4-0.6": 0, "0.6-0.8": 0, "0.8-1": 1}


def test_normalised_precision_by_hand() -> None:
    """Two classes with 3 and 1 instances: N = 2. One class is found after a false positive: precision 1*2/(1*2 + 1)."""
    truth = [VideoAnnotation("a", 99.0, "", tuple(Instance(20 * k, 20 * k + 10, "x") for k in range(3)))]
    truth.append(VideoAnnotation("b", 99.0, "", (Instance(0, 40, "y"),)))
    found = {"b": (Detection(80, 90, "y", 0.9), Detection(0, 40, "y", 0.8))}
    result = diagnose(found, truth)
    assert result.mean_ap_n == pytest.approx((0 + 2 / 3) / 2)
    by = {(g.characteristic, g.name): g.mean_ap_n for g in result.groups}
    assert by["length", "30-60"] == pytest.approx(2 / 3)  # only y has such an instance
    assert by["length", "0-30"] == 0
    assert np.isnan(by["length", "60-120"])


def test_a_thousand_detections_agree_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    truth = [
        VideoAnnotation(
            f"v{k}", 100.0, "", tuple(Instance(s, s + n, c) for s, n, c in zip(*spans(rng, 4), strict=True))
        )
        for k in range(20)
    ]
    found = {
        f"v{k}": tuple(Detection(s, s + n, c, float(rng.random())) for s, n, c in zip(*spans(rng, 50), strict=True))
        for k in range(20)
    }
    counts = dict.fromkeys(("true positive", *ERRORS), 0)
    for label in "pqr":
        taken: set = set()
        total = sum(i.label == label for v in truth for i in v.instances)
        claims = sorted(((d, v) for v, ds in found.items() for d in ds if d.label == label), key=lambda x: -x[0].score)
        for claim, video in claims[: 10 * total]:
            there = next(v for v in truth if v.video_id == video).instances
            ious = [(iou(claim, i), i.label == label, n) for n, i in enumerate(there)]
            right = sorted((o for o in ious if o[1] and o[0] >= 0.5 and (video, o[2]) not in taken), reverse=True)
            best = max(ious)
            if right:
                taken.add((video, right[0][2]))
                counts["true positive"] += 1
            elif best[0] >= 0.5:
                counts["double" if best[1] else "wrong label"] += 1
            elif best[0] >= 0.1:
                counts["localization" if best[1] else "confusion"] += 1
            else:
                counts["background"] += 1
    assert dict(diagnose(found, truth).counts) == counts
    assert min(counts.values()) > 5


def spans(rng: np.random.Generator, count: int) -> tuple[list[float], list[float], list[str]]:
    return (
        rng.uniform(0, 70, count).tolist(),
        rng.uniform(5, 30, count).tolist(),
        rng.choice(list("pqr"), count).tolist(),
    )


def iou(a: Detection, b: Instance) -> float:
    common = max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
    return common / (a.end_s - a.start_s + b.end_s - b.start_s - common)


def test_files_the_command_and_the_picture(tmp_path: Path) -> None:
    write_annotations(tmp_path / "truth.json", TRUTH)
    write_segments_json(tmp_path / "found.json", one(Detection(0, 10, "x", 0.9), Detection(60, 70, "x", 0.8)))
    command = ["diagnose", tmp_path / "found.json", tmp_path / "truth.json"]
    extra = ["--subset", "validation", "--plot", tmp_path / "d.svg", "-o", tmp_path / "d.json"]
    done = avloc(*command, *extra)
    assert done.returncode == 0, done.stderr
    assert "missed instances" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "true positive" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["1", "50.0"]  # detections, percent
    facts = json.loads((tmp_path / "d.json").read_text())
    assert facts["counts"]["true positive"] == 1
    assert "average mAP gained without it" in (tmp_path / "d.svg").read_text()
    short, _ = diagnose_files(tmp_path / "found.json", tmp_path / "truth.json", protocol="thumos14")
    assert {g.name for g in short.groups if g.characteristic == "length"} == {"0-3", "3-6", "6-12", "12-18", "over 18"}
    for arguments, message in (
        (["--t-iou", "0"], "t-IoU thresholds must lie in"),
        (["--plot", "x.doc"], "cannot be written as '.doc'"),
    ):
        bad = avloc(*command, *arguments)
        assert bad.returncode == 2
        assert message in bad.stderr
        assert "Traceback" not in bad.stderr


def test_the_picture_of_nothing_found() -> None:
    facts = diagnose(SegmentTable.from_detections({}), TRUTH).to_dict()
    assert len(diagnosis_figure(facts).axes) == 3
