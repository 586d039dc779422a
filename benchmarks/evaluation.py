"""How fast is the evaluator? `avloc.metrics.detection_scores` against a plain loop over predictions.

    python benchmarks/evaluation.py [--ground-truth GT.json --detections DETECTIONS.json[.gz]] [--per-video 200]

Without files, data of ActivityNet 1.2's validation size is generated: 2,383 videos, 100 classes, 3,600 instances and
200 detections a video. The loop is the same algorithm, written from its description (ActivityNet's challenge rules)
in pure Python over one class at a time, which is how the official evaluator and OpenTAD go about it (with pandas
inside: 220 and 236 CPU seconds for 200 detections a video).

Prints CPU seconds (all three are single-threaded), which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from avloc.formats.annotations import read_annotation_columns
from avloc.formats.detections import read_detection_columns
from avloc.metrics import T_IOU_THRESHOLDS, SegmentTable, detection_scores

SHARED = Path(__file__).resolve().parents[2] / "shared"


def naive_scores(found: SegmentTable, truth: SegmentTable, thresholds: tuple[float, ...]) -> dict[str, list[float]]:
    """{class: AP per threshold}, one prediction and one threshold at a time."""
    instances = defaultdict(list)
    positives: dict[str, int] = defaultdict(int)
    for v, c, start, end in zip(truth.video, truth.label, truth.start_s.tolist(), truth.end_s.tolist(), strict=True):
        instances[truth.labels[c], truth.videos[v]].append((start, end))
        positives[truth.labels[c]] += 1
    claims = defaultdict(list)
    columns = (found.video, found.label, found.start_s.tolist(), found.end_s.tolist(), found.score.tolist())
    for v, c, start, end, score in zip(*columns, strict=True):
        claims[found.labels[c]].append((score, found.videos[v], start, end))
    return {
        label: [_naive_ap(claims[label], instances, label, count, threshold) for threshold in thresholds]
        for label, count in positives.items()
    }


def _naive_ap(claims: list, instances: dict, label: str, positives: int, threshold: float) -> float:
    taken: set[tuple[str, int]] = set()
    hits = []
    for _, video, start, end in sorted(claims, key=lambda claim: -claim[0]):
        overlaps = []
        for i, (true_start, true_end) in enumerate(instances.get((label, video), ())):
            common = max(0.0, min(end, true_end) - max(start, true_start))
            union = (end - start) + (true_end - true_start) - common
            overlaps.append((common / union if common > 0 else 0.0, true_start, true_end, i))
        free = [o for o in sorted(overlaps, reverse=True) if o[0] >= threshold and (video, o[3]) not in taken]
        if free:
            taken.add((video, free[0][3]))
        hits.append(bool(free))
    precision, found = [], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        precision.append(found / rank)
    envelope, best = 0.0, 0.0
    for hit, value in zip(reversed(hits), reversed(precision), strict=True):
        best = max(best, value)
        envelope += best * hit
    return envelope / positives


def generate(videos: int, classes: int, per_video: int, seed: int = 0) -> tuple[SegmentTable, SegmentTable]:
    """(detections, truth): 1.5 instances a video on average, detections scattered about them and elsewhere."""
    rng = np.random.default_rng(seed)
    names = tuple(f"video_{i:05d}" for i in range(videos))
    labels = tuple(f"class {c:03d}" for c in range(classes))
    counts = 1 + rng.poisson(0.5, videos)
    video = np.repeat(np.arange(videos), counts)
    label = rng.integers(0, classes, videos)[video]
    start = rng.uniform(0, 80, len(video))
    end = start + rng.exponential(25, len(video)) + 1
    truth = SegmentTable(names, labels, video, label, start, end, np.zeros(len(video)))

    near = rng.random(videos * per_video) < 0.5
    claimed_video = np.repeat(np.arange(videos), per_video)
    row = (np.cumsum(counts) - counts)[claimed_video] + (rng.random(len(near)) * counts[claimed_video]).astype(int)
    spread = rng.normal(0, 8, (2, len(near)))
    claimed_start = np.where(near, start[row] + spread[0], rng.uniform(0, 80, len(near)))
    claimed_end = np.where(near, end[row] + spread[1], claimed_start + rng.exponential(25, len(near)))
    claimed_end = np.maximum(claimed_end, claimed_start + 0.1)
    claimed_label = np.where(rng.random(len(near)) < 0.7, label[row], rng.integers(0, classes, len(near)))
    score = rng.permutation(len(near)) / len(near)  # no ties
    return SegmentTable(names, labels, claimed_video, claimed_label, claimed_start, claimed_end, score), truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--ground-truth", type=Path, default=SHARED / "real/annotations/anet12/activity_net.v1-2.rebuilt.json"
    )
    parser.add_argument("--detections", type=Path, default=SHARED / "golden/anet_pred_synth200.json.gz")
    parser.add_argument("--subset", default="validation")
    parser.add_argument("--per-video", type=int, default=200, help="detections a video of generated data")
    args = parser.parse_args()

    clock = [time.process_time()]
    if args.ground_truth.is_file() and args.detections.is_file():
        source = args.detections.name
        truth = SegmentTable.from_columns(**read_annotation_columns(args.ground_truth, args.subset))
        found = SegmentTable.from_columns(**read_detection_columns(args.detections))
    else:
        source = "generated"
        found, truth = generate(2383, 100, args.per_video)
    clock.append(time.process_time())
    scores = detection_scores(found, truth)
    clock.append(time.process_time())
    naive = naive_scores(found, truth, T_IOU_THRESHOLDS)
    clock.append(time.process_time())
    read_s, ours_s, naive_s = np.diff(clock)
    difference = max(np.abs(scores.ap[:, c] - naive[label]).max() for c, label in enumerate(scores.classes))

    print(f"{source}: {len(found):,} detections, {len(truth):,} instances, {len(scores.classes)} classes, 10 t-IoU")
    print(f"average mAP {scores.average_mean_ap:.6f}; largest difference of an AP {difference:.1e}\n")
    print(f"| step | CPU seconds |\n|---|---|\n| read both files (or generate) | {read_s:.2f} |")
    print(f"| detection_scores | {ours_s:.2f} |\n| loop over predictions | {naive_s:.2f} |")
    print(f"\n{naive_s / ours_s:.0f} times faster; {read_s + ours_s:.2f} s from files to scores")


if __name__ == "__main__":
    main()
