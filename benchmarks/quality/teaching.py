"""A person's corrections, simulated from the ground truth of training videos, and models that learn from them.

OUT/taught/KEY/    a run trained on corrections, with scores.json when it is finished and measured
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import RunConfig, preset
from avloc.evaluate.snippets import evaluate_snippets
from avloc.formats.annotations import read_annotations
from avloc.formats.corrections import VideoCorrections, write_corrections
from avloc.formats.features import FeatureStore
from avloc.formats.labels import read_labels
from avloc.localize import localize
from avloc.metrics import detection_scores
from avloc.paper.cells import DataSet
from avloc.paper.version import code_version
from avloc.pipeline.localizer import load
from avloc.system.atomic import atomic_write
from avloc.system.text import fingerprint
from avloc.train.loop import fit
from avloc.train.state import drop_states
from avloc.train.warm import continued
from avloc.types import Instance, VideoAnnotation

WRONG_CLASS = 0.05
OFF_S = 0.5


@dataclass(frozen=True)
class Pupil:
    """A model trained on weak labels and on the corrections of some training videos.

    Args:
        videos: the corrected ones; () for the start.
        start: the run from whose weights it goes on; None trains from the beginning.
        noise: whether the corrections are `noisy`, by the seed.
    """

    data: DataSet
    home: Path
    seed: int
    videos: tuple[str, ...] = ()
    start: Pupil | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    noise: bool = False

    @cached_property
    def key(self) -> str:
        start = self.start.key if self.start else ""
        facts = [self.data.fingerprint, self.seed, sorted(self.videos), start, dict(self.changes), self.noise]
        return fingerprint([*facts, code_version()])

    @property
    def run(self) -> Path:
        return self.home / "taught" / self.key

    @property
    def done(self) -> bool:
        return (self.run / "scores.json").exists()

    @property
    def config(self) -> RunConfig:
        changes = {"train.seed": self.seed, **self.changes}
        return preset("auto", changes) if self.start is None else continued(self.start.run, changes)

    def train(self) -> None:
        """Train unless done."""
        if (self.run / "cpu.json").exists():
            return
        if self.start is not None:
            self.start.train()
        files = []
        if self.videos:
            files = [self.run.parent / f"{self.key}.json"]
            write_corrections(files[0], corrections_of(self.data, self.videos, self.seed if self.noise else None))
        began = time.process_time()
        fit(self.data.features, self.data.labels, self.run, self.config, corrections=files)
        atomic_write(self.run / "cpu.json", json.dumps(time.process_time() - began))
        drop_states(self.run)

    def scores(self) -> dict[str, float]:
        """Scores on the test videos, in [0, 1], and CPU seconds of training; computed once."""
        path = self.run / "scores.json"
        if not path.exists():
            self.train()
            spent = json.loads((self.run / "cpu.json").read_text(encoding="utf-8"))
            atomic_write(path, json.dumps({**measured(self.run, self.data), "cpu_s": spent}))
        scores: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return scores


def measured(run: Path, data: DataSet) -> dict[str, float]:
    """Average mAP 0.5:0.95, mAP@0.5, snippet accuracy and background recall on the test videos."""
    localizer, store = load(run, "cpu"), FeatureStore(data.features)
    tests = [truth for truth in data.tests() if truth.video_id in store]
    seen = [localizer.activations(store.load(truth.video_id)) for truth in tests]
    found = {one.video_id: localize(one, localizer.options) for one in seen}
    scores = detection_scores(found, tests)
    result = {"average mAP": scores.average_mean_ap, "mAP@0.5": scores.at(0.5)}
    snippets = evaluate_snippets(seen, tests)
    if snippets is not None:
        result |= {
            "accuracy": snippets.snippets.accuracy,
            "background recall": snippets.snippets.background_recall,
        }
    return result


def training_videos(data: DataSet) -> list[VideoAnnotation]:
    """Ground truth of the training videos that have features."""
    store = FeatureStore(data.features)
    names = {row.video_id for row in read_labels(data.labels).subset("train") if row.video_id in store}
    return [a for a in read_annotations(data.folder / "ground_truth.json")[0] if a.video_id in names]


def corrections_of(data: DataSet, videos: Sequence[str], noise: int | None) -> list[VideoCorrections]:
    """Checked videos, as their ground truth says, or `noisy` with this seed."""
    chosen = [truth for truth in training_videos(data) if truth.video_id in set(videos)]
    if noise is not None:
        classes = sorted({i.label for truth in training_videos(data) for i in truth.instances})
        rng = np.random.default_rng([noise, 7])
        chosen = [noisy(truth, classes, rng) for truth in chosen]
    return [VideoCorrections(t.video_id, t.duration_s, t.instances, checked=True, subset="training") for t in chosen]


def noisy(truth: VideoAnnotation, classes: Sequence[str], rng: np.random.Generator) -> VideoAnnotation:
    """Each end moved by OFF_S, inwards or outwards; WRONG_CLASS of the instances get another class."""
    moved = []
    for i in truth.instances:
        start, end = np.array([i.start_s, i.end_s]) + OFF_S * rng.choice([-1, 1], 2)
        start, end = max(0.0, float(start)), min(truth.duration_s, float(end))
        others = [name for name in classes if name != i.label]
        label = str(rng.choice(others)) if others and rng.random() < WRONG_CLASS else i.label
        moved.append(Instance(start, end, label) if end > start else i)
    return VideoAnnotation(truth.video_id, truth.duration_s, truth.subset, tuple(moved))


def drawn(data: DataSet, seed: int) -> list[str]:
    """All training videos in random order: a share of them is the first part of this list."""
    names = sorted(truth.video_id for truth in training_videos(data))
    return [names[k] for k in np.random.default_rng([seed, 6]).permutation(len(names))]


def first(order: Sequence[str], share: float) -> tuple[str, ...]:
    """This share of the videos, at least one; none for 0."""
    return tuple(order[: max(1, round(share * len(order)))]) if share else ()
