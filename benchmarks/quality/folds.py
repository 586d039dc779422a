"""Training videos, decoded from models that were not trained on them: on these a decoder may be chosen.

OUT/activations/KEY/     class activations of the videos that one model is measured on
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avloc.config import LocalizeConfig, RunConfig
from avloc.formats.activations import load_activations, save_activations
from avloc.formats.features import FeatureStore
from avloc.localize import localize
from avloc.metrics import detection_scores, t_iou
from avloc.metrics.matching import match_detections
from avloc.paper.cells import DataSet
from avloc.pipeline.localizer import load
from avloc.types import ActivationSequence, Detection, VideoAnnotation
from benchmarks.quality.curve import AUTO, config_on, drawn
from benchmarks.quality.models import Model, config_of, work
from benchmarks.quality.sets import held_out, open_set

FULL = 0.8
"""Share of a video that the instances of a class cover from which the class counts as filling it."""

Found = Mapping[str, tuple[Detection, ...]]
Decoder = Callable[[ActivationSequence, LocalizeConfig], Sequence[Detection]]


@dataclass(frozen=True)
class Condition:
    """Activations of the same videos from several seeds.

    Args:
        name: set and folds. truths: ground truth of the videos.
        seeds: per seed, {video_id: activations} of a model that was not trained on the video.
    """

    name: str
    truths: tuple[VideoAnnotation, ...]
    seeds: tuple[Mapping[str, ActivationSequence], ...]

    def decode(self, options: LocalizeConfig, decoder: Decoder = localize) -> list[Found]:
        """Detections per seed."""
        return [{video: tuple(decoder(seen, options)) for video, seen in videos.items()} for videos in self.seeds]

    def average_map(self, found: Sequence[Found]) -> Float[np.ndarray, " s"]:
        """Average mAP 0.5:0.95 per seed."""
        return np.array([detection_scores(one, self.truths).average_mean_ap for one in found])

    def agreement(self, found: Sequence[Found]) -> Float[np.ndarray, "s n"]:
        """Per seed and (video, true class): the highest t-IoU of the class's strongest detection, 0 without one."""
        return np.array([[_agreement(one.get(v.video_id, ()), v, label) for v, label in self.pairs] for one in found])

    @cached_property
    def pairs(self) -> list[tuple[VideoAnnotation, str]]:
        """Every video with each of its classes."""
        return [(truth, label) for truth in self.truths for label in sorted({i.label for i in truth.instances})]

    @cached_property
    def full(self) -> Bool[np.ndarray, " n"]:
        """Whether the class of a pair covers at least FULL of the video."""
        return np.array([_covered(truth, label) >= FULL * truth.duration_s for truth, label in self.pairs])

    def judged(self, found: Sequence[Found], at: float = 0.5) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Scores of all detections of all seeds, and whether each takes an instance at this t-IoU."""
        scores, right = [], []
        for one in found:
            matches = match_detections(one, self.truths, [at])
            correct = np.zeros(len(matches.found), dtype=bool)
            correct[matches.hits[0]] = True
            scores.append(matches.found.score)
            right.append(correct)
        return np.concatenate(scores), np.concatenate(right)

    def strongest(self, found: Sequence[Found]) -> tuple[Float[np.ndarray, "s v c"], Bool[np.ndarray, "v c"]]:
        """Score of each class's strongest detection in each video, 0 without one; whether the video has the class."""
        classes = next(iter(self.seeds[0].values())).classes
        score = np.zeros((len(found), len(self.truths), len(classes)))
        for s, one in enumerate(found):
            for v, truth in enumerate(self.truths):
                for d in one.get(truth.video_id, ()):
                    c = classes.index(d.label)
                    score[s, v, c] = max(score[s, v, c], d.score)
        labels = [{i.label for i in truth.instances} for truth in self.truths]
        return score, np.array([[c in there for c in classes] for there in labels])


def _agreement(found: Sequence[Detection], truth: VideoAnnotation, label: str) -> float:
    own = [d for d in found if d.label == label]
    if not own:
        return 0.0
    best = max(own, key=lambda d: d.score)
    spans = np.array([[i.start_s, i.end_s] for i in truth.instances if i.label == label])
    return float(t_iou(np.array([[best.start_s, best.end_s]]), spans).max())


def _covered(truth: VideoAnnotation, label: str) -> float:
    """Seconds of the video in which the class occurs."""
    total, until = 0.0, 0.0
    for i in sorted((i for i in truth.instances if i.label == label), key=lambda i: i.start_s):
        total, until = total + max(0.0, i.end_s - max(i.start_s, until)), max(until, i.end_s)
    return total


def out_of_fold(
    folder: Path, out: Path, overrides: Mapping[str, Any], seeds: int, folds: int, alike: bool
) -> Condition:
    """The training videos of a set; models that are not there yet are trained."""
    data = open_set(folder, out)
    parts = [held_out(data, out, folds, fold, alike) for fold in range(folds)]
    return _condition(
        f"{data.name}, {'alike' if alike else 'mixed'}", parts, out, _configs(overrides, seeds, len(parts))
    )


def few_clips(folder: Path, out: Path, count: int, folds: int, more: Mapping[str, Any] | None = None) -> Condition:
    """The training videos of a set, in alike folds, from models of `count` videos per class and the preset `auto`."""
    data = open_set(folder, out)
    parts = [drawn(held_out(data, out, folds, fold, alike=True), out, count, fold) for fold in range(folds)]
    configs = [config_on(AUTO, part, more or {}, fold) for fold, part in enumerate(parts)]
    return _condition(f"{data.name}, {count} per class", parts, out, [configs])


def test_videos(folder: Path, out: Path, overrides: Mapping[str, Any], seeds: int) -> Condition:
    """The test videos of a set, from models of all training videos."""
    data = open_set(folder, out)
    return _condition(f"{data.name}, test", [data], out, _configs(overrides, seeds, 1))


def _configs(overrides: Mapping[str, Any], seeds: int, parts: int) -> list[list[RunConfig]]:
    """The preset `default` with these changes, per seed and part."""
    return [[config_of("default", {}, overrides, seed)] * parts for seed in range(seeds)]


def _condition(name: str, parts: Sequence[DataSet], out: Path, configs: Sequence[Sequence[RunConfig]]) -> Condition:
    """Activations of the test videos of all parts, from a model of each part for each row of `configs`."""
    found: list[dict[str, ActivationSequence]] = []
    for row in configs:
        found.append({})
        for part, config in zip(parts, row, strict=True):
            model = Model(part, config, out)
            work(model, [])
            found[-1] |= _activations(model)
    truths = tuple(truth for part in parts for truth in part.tests() if truth.video_id in found[0])
    return Condition(name, truths, tuple(found))


def _activations(model: Model) -> dict[str, ActivationSequence]:
    """Activations of the test videos of the model's set; computed once."""
    home, store = model.home / "activations" / model.key, FeatureStore(model.data.features)
    videos = [truth.video_id for truth in model.data.tests() if truth.video_id in store]
    missing = [video for video in videos if not (home / f"{video}.safetensors").exists()]
    localizer = load(model.run) if missing else None
    for video in missing:
        assert localizer is not None
        save_activations(home / f"{video}.safetensors", localizer.activations(store.load(video)))
    return {video: load_activations(home / f"{video}.safetensors") for video in videos}
