"""Single components on generated data: decoder, evaluator, and what grows with the number of videos."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import LocalizeConfig, parse_overrides, preset
from avloc.formats.annotations import read_annotation_columns
from avloc.formats.detections import read_detection_columns
from avloc.formats.features import FeatureStore, save_features
from avloc.localize import localize, video_scores
from avloc.metrics import T_IOU_THRESHOLDS, SegmentTable, detection_scores
from avloc.train.dataset import PairSampler
from avloc.types import ActivationSequence, SnippetGrid
from benchmarks.console import add_command, markdown_table
from benchmarks.speed.clock import Clock, common_options, write
from benchmarks.speed.data import feature_sequence

SHARED = Path(__file__).resolve().parents[3] / "shared"


def add_commands(commands: Any) -> None:
    parser = add_command(commands, decoding, videos=2383, snippets=180, classes=100, repeats=1)
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    add_command(
        commands,
        evaluation,
        ground_truth=SHARED / "real/annotations/anet12/activity_net.v1-2.rebuilt.json",
        detections=SHARED / "golden/anet_pred_synth200.json.gz",
        subset="validation",
        per_video=200,
    )
    add_command(commands, scale, [common_options()], videos=1_000_000, files=3000)


# Decoder


def decoding(args: argparse.Namespace) -> None:
    """Time of both decoders on simulated curves of a validation set (ActivityNet 1.2: 2,383 videos).

    Set OMP_NUM_THREADS=1 for one thread. Prints one JSON object with the fastest of --repeats runs.
    """
    videos = [_simulated_curves(i, args.snippets, args.classes) for i in range(args.videos)]
    report: dict[str, object] = {k: getattr(args, k) for k in ("videos", "snippets", "classes")}
    for name in ("multi", "actions"):
        options = preset("default", {"localize.decode": name, **parse_overrides(args.sets)}).localize
        clock = Clock()
        for _ in range(args.repeats):
            count = clock.time(name, lambda options=options: _decode(videos, options))
        wall_s, cpu_s = min(clock.rows[name], key=lambda row: row[1])
        per_video = round(count / len(videos), 1)
        report[name] = {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "detections_per_video": per_video}
    print(json.dumps(report, indent=1))


def _decode(videos: list[ActivationSequence], options: LocalizeConfig) -> int:
    """Number of detections."""
    return sum(len(localize(video, options)) for video in videos)


def _simulated_curves(index: int, snippets: int, classes: int) -> ActivationSequence:
    """One or two classes act in one to four stretches, over noise; μ follows them; other classes share the rest."""
    rng = np.random.default_rng(index)
    logits = rng.normal(0, 1, (snippets, classes))
    reliability = rng.normal(-1.5, 0.7, snippets)
    for label in rng.choice(classes, rng.integers(1, 3), replace=False):
        logits[:, label] += 2.5
        for _ in range(rng.integers(1, 5)):
            length = int(rng.integers(4, max(5, snippets // 3)))
            start = int(rng.integers(0, max(1, snippets - length)))
            logits[start : start + length, label] += 3
            reliability[start : start + length] = rng.normal(1.5, 0.7, min(length, snippets - start))
    mu = 1 / (1 + np.exp(-reliability))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    actions = mu[:, None] * shares / shares.sum(axis=1, keepdims=True)
    probs = np.concatenate([1 - mu[:, None], actions], axis=1)
    step = Fraction(16, 25)
    names = tuple(f"class {c}" for c in range(classes))
    grid = SnippetGrid.cover(step * snippets, step)
    return ActivationSequence(f"v{index}", float(step * snippets), grid, names, probs, video_scores(probs))


# Evaluator


def evaluation(args: argparse.Namespace) -> None:
    """`avloc.metrics.detection_scores` against a plain loop over predictions, in CPU seconds (one thread each).

    Without files, data of the size of ActivityNet 1.2's validation set is generated: 2,383 videos, 100 classes, 3,600
    instances and 200 detections per video. The loop is the same algorithm, written from its description (ActivityNet's
    challenge rules) in plain Python, as in the official evaluator and OpenTAD (which use pandas inside it: 220 and 236
    CPU seconds for 200 detections per video).
    """
    clock = Clock()
    files = args.ground_truth, args.detections
    source = args.detections.name if all(path.is_file() for path in files) else "generated"

    def tables() -> tuple[SegmentTable, SegmentTable]:
        if source == "generated":
            return generate(2383, 100, args.per_video)
        found, truth = read_detection_columns(args.detections), read_annotation_columns(args.ground_truth, args.subset)
        return SegmentTable.from_columns(**found), SegmentTable.from_columns(**truth)

    found, truth = clock.time("read both files (or generate)", tables)
    scores = clock.time("detection_scores", lambda: detection_scores(found, truth))
    naive = clock.time("loop over predictions", lambda: naive_scores(found, truth, T_IOU_THRESHOLDS))
    read_s, ours_s, naive_s = map(clock.cpu_s, clock.rows)
    difference = max(np.abs(scores.ap[:, c] - naive[label]).max() for c, label in enumerate(scores.classes))
    print(f"{source}: {len(found):,} detections, {len(truth):,} instances, {len(scores.classes)} classes, 10 t-IoU")
    print(f"average mAP {scores.average_mean_ap:.6f}; largest difference of an AP {difference:.1e}\n")
    print(markdown_table(["step", "CPU seconds"], [(name, f"{clock.cpu_s(name):.2f}") for name in clock.rows]))
    print(f"{naive_s / ours_s:.0f} times faster; {read_s + ours_s:.2f} s from files to scores")


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
    """(detections, truth): 1.5 instances per video on average, half of the detections near them."""
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


# Scale


def scale(args: argparse.Namespace) -> None:
    """Constants for docs/scale.md: feature files and batch sampling, per video."""
    videos, files = (10_000, 100) if args.quick else (args.videos, args.files)
    clock = Clock()
    _read_and_write(clock, files)
    _sample(clock, videos, 100, 20)
    figures = {
        "list and read headers, CPU ms a file": 1000 * (clock.cpu_s("list") + clock.cpu_s("headers")) / files,
        "read a video of 180 snippets in float16, CPU ms": 1000 * clock.cpu_s("read"),
        "write one, CPU ms": 1000 * clock.cpu_s("write"),
        f"set up the sampler for {videos:,} videos, CPU s": clock.cpu_s("set up"),
        f"draw a batch of 30 from {videos:,} videos, CPU ms": 1000 * clock.cpu_s("draw"),
    }
    write(args.json, "scale", {}, figures)


def _read_and_write(clock: Clock, files: int) -> None:
    rows = np.random.default_rng(0).normal(size=(180, 2176)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="avloc-scale-") as folder:
        for k in range(files):
            features = feature_sequence(f"v{k:07d}", rows)
            path = Path(folder) / f"v{k:07d}.safetensors"
            clock.time("write", lambda f=features, p=path: save_features(p, f, "float16"))
        store = clock.time("list", lambda: FeatureStore(folder))
        clock.time("headers", store.describe)
        for name in store.ids[:200]:
            clock.time("read", lambda n=name: store.load(n))


def _sample(clock: Clock, videos: int, classes: int, steps: int) -> None:
    """Batches of 30."""
    labels = np.zeros((videos, classes), dtype=np.float32)
    labels[np.arange(videos), np.random.default_rng(0).integers(0, classes, videos)] = 1
    sampler = clock.time("set up", lambda: PairSampler(labels, 30, 0.6, 0))
    sampler.batch(0)
    for step in range(1, steps + 1):
        clock.time("draw", lambda s=step: sampler.batch(s))
