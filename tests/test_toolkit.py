"""`as_toolkit` against a restatement of the ActivityNet toolkit's detection evaluator, on ties, NaN and invalid times.

The toolkit: ANETdetection and segment_iou of activitynet/ActivityNet, Evaluation/. Its sorts are restated as stable,
which numpy's default one is for up to 16 values without vector instructions.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avloc.evaluate.compare import compare_files
from avloc.evaluate.detection import evaluate_files
from avloc.metrics import SegmentTable, detection_scores

THRESHOLDS = (0.3, 0.5, 0.75)
Row = tuple[str, str, float, float, float]


def as_table(rows: list[Row]) -> SegmentTable:
    numbers = np.array([row[2:] for row in rows], dtype=np.float64).reshape(-1, 3)
    return SegmentTable.from_columns([row[0] for row in rows], [row[1] for row in rows], *numbers.T)


def descending(values: list[float]) -> list[int]:
    """argsort()[::-1]: NaN first, of equal values the last."""
    return np.argsort(np.array(values, dtype=np.float64), kind="stable")[::-1].tolist()


def toolkit_iou(a: Row, b: Row) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        common = (np.minimum(a[3], b[3]) - np.maximum(a[2], b[2])).clip(0)
        return float(np.float64(common) / np.float64((b[3] - b[2]) + (a[3] - a[2]) - common))


def toolkit_ap(found: list[Row], truth: list[Row], threshold: float) -> float:
    """Interpolated AP of one class."""
    taken: set[int] = set()
    hits = []
    for k in descending([row[4] for row in found]):
        own = [i for i, row in enumerate(truth) if row[0] == found[k][0]]
        overlap = [toolkit_iou(found[k], truth[i]) for i in own]
        hit = False
        for j in descending(overlap):
            if overlap[j] < threshold:
                break
            if own[j] not in taken:
                taken.add(own[j])
                hit = True
                break
        hits.append(hit)
    right = np.cumsum(hits)
    precision = np.concatenate([[0.0], right / np.arange(1, len(hits) + 1), [0.0]])
    recall = np.concatenate([[0.0], right / len(truth), [1.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * envelope[steps]).sum())


def random_rows(rng: np.random.Generator, count: int, invalid: bool) -> list[Row]:
    """Rows on a coarse grid, so that scores and t-IoU tie; zero-length, reversed and NaN ones if `invalid`."""
    rows = []
    for _ in range(count):
        start = float(rng.integers(0, 6))
        end = start + float(rng.integers(-1 if invalid else 1, 4))
        score = float(rng.integers(0, 3)) / 2
        if invalid:
            start, score = (np.nan if rng.random() < 0.08 else x for x in (start, score))
        rows.append((str(rng.choice(list("vw"))), str(rng.choice(list("xy"))), start, end, score))
    return rows


@pytest.mark.parametrize("invalid", [False, True])
def test_random_problems_agree_with_the_restated_toolkit(invalid: bool) -> None:
    rng = np.random.default_rng(3)
    differing = 0
    for _ in range(150):
        truth, found = random_rows(rng, 7, invalid), random_rows(rng, 12, invalid)
        scores = detection_scores(as_table(found), as_table(truth), THRESHOLDS, as_toolkit=True)
        expected = [
            [toolkit_ap([r for r in found if r[1] == c], [r for r in truth if r[1] == c], t) for c in scores.classes]
            for t in THRESHOLDS
        ]
        np.testing.assert_allclose(scores.ap, expected, atol=1e-12)
        differing += not np.allclose(detection_scores(as_table(found), as_table(truth), THRESHOLDS).ap, expected)
    assert differing > 20  # the rules for ties matter in these problems


def test_instances_of_equal_overlap_by_hand() -> None:
    """0-4 overlaps 0-2 and 2-4 by a half each: which it takes decides whether 2-4 is found afterwards."""
    found = [("v", "x", 0.0, 4.0, 0.9), ("v", "x", 2.0, 4.0, 0.8)]
    orders = {"as in time": [(0.0, 2.0), (2.0, 4.0)], "reversed": [(2.0, 4.0), (0.0, 2.0)]}
    ap = {
        (name, kind): detection_scores(
            as_table(found), as_table([("v", "x", *span, 0.0) for span in spans]), [0.5], as_toolkit=kind == "toolkit"
        ).average_mean_ap
        for name, spans in orders.items()
        for kind in ("toolkit", "default")
    }
    assert ap == {
        ("as in time", "toolkit"): 0.5,  # the last in the file, 2-4, is gone
        ("reversed", "toolkit"): 1.0,
        ("as in time", "default"): 0.5,  # whatever the order of the file
        ("reversed", "default"): 0.5,
    }


def test_the_protocol_reaches_every_command(tmp_path: Path) -> None:
    """Equal scores: the toolkit ranks the last in the file first."""
    videos = {
        v: {"subset": "validation", "duration": 9.0, "annotations": [{"label": "x", "segment": [0, 5]}]} for v in "ab"
    }
    rows = [{"label": "x", "segment": segment, "score": 0.5} for segment in ([7, 9], [0, 5])]
    (tmp_path / "truth.json").write_text(json.dumps({"database": videos}))
    (tmp_path / "found.json").write_text(json.dumps({"results": {"a": rows, "b": []}}))
    paths = tmp_path / "found.json", tmp_path / "truth.json"
    assert evaluate_files(*paths).scores.average_mean_ap == 0.25
    assert evaluate_files(*paths, protocol="activitynet-toolkit").scores.average_mean_ap == 0.5
    compared = compare_files(paths[0], *paths, protocol="activitynet-toolkit", draws=100)
    assert compared.first["average mAP"] == 0.5
