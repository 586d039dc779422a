"""What is compared, and computing it: a model is trained once, and answers once for each way of decoding it.

OUT/runs/KEY/            a training run, and done.json when it is finished
OUT/answers/KEY/         one way of decoding one run on the test videos: segments.json, facts.json, draws.npz

A key is made of the data and of every setting that matters, so a changed default is a new run; how activations are
decoded is part of an answer's key only.
"""

from __future__ import annotations

import ast
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import avloc
from avloc.config import MACHINE, LocalizeConfig, RunConfig, old_names, preset
from avloc.evaluate.snippets import evaluate_snippets, snippet_hits
from avloc.formats.detections import read_detection_columns, write_segments_json
from avloc.formats.features import FeatureStore
from avloc.localize import localize
from avloc.metrics import (
    T_IOU_THRESHOLDS,
    SegmentTable,
    detection_scores,
    draw_videos,
    rasterise,
    resampled_mean_ap,
    resampled_ratio,
    whole_video_detections,
)
from avloc.paper.cells import DataSet
from avloc.paper.rows import ROWS
from avloc.pipeline.localizer import Localizer, load
from avloc.presets import RIVALS
from avloc.system.atomic import atomic_write
from avloc.system.text import fingerprint
from avloc.train.loop import fit
from avloc.train.state import drop_states, has_state
from avloc.types import ActivationSequence, Detection, FeatureSequence, VideoAnnotation

__all__ = ["DRAWS", "METHODS", "Answer", "Model", "config_of", "decoder", "work"]

DRAWS = 2000
T_IOU = (0.1, 0.2, 0.3, 0.4, *T_IOU_THRESHOLDS)
AVERAGES = {
    "average mAP": np.isin(np.round(T_IOU, 2), np.round(T_IOU_THRESHOLDS, 2)),
    "average mAP 0.1:0.7": np.isin(np.round(T_IOU, 2), np.round(np.arange(0.1, 0.71, 0.1), 2)),
}
SHARED = {
    "model": ("audio_normalize", "visual_normalize", "dropout", "modality_dropout"),
    "loss": (
        "mil_background",
        "mil_background_weight",
        "pseudo_labels",
        "pseudo_from_labels",
        "neighbors",
        "threshold",
        "warmup",
    ),
    "train": (
        "batch_size",
        "weight_decay",
        "grad_clip",
        "snippets",
        "pair_fraction",
        "holdout",
        "teacher_decay",
        "selection",
    ),
}
"""What rivals take over from the `default` preset, beside steps, learning rate and size: nothing of it is our model."""

_CARE = ("model.dropout",)
"""Of a rival's own recipe, what it takes over all the same."""

_NAIVE_CL = ROWS["table6"]["Naive fusion (0-stage) + CL"].changes

METHODS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "audio only": ("default", {"model.modality": "audio"}),
    "visual only": ("default", {"model.modality": "visual"}),
    "naive fusion": ("shared", ROWS["table6"]["Naive fusion (0-stage)"].changes),
    "naive fusion + CL": ("shared", _NAIVE_CL),
    "naive fusion + CL, known": ("shared", {**_NAIVE_CL, "loss.mil_background": "known"}),
    "W-TALC": ("shared", {k: v for k, v in RIVALS["w-talc"].items() if k not in _CARE}),
    "Tian et al.": ("shared", RIVALS["tian"]),
    **{f"paper, {t} stages": ("paper", {"model.num_stages": t}) for t in range(4)},
    "default": ("default", {}),
}
"""name -> (where it starts from, what it changes)."""


def config_of(start: str, changes: Mapping[str, Any], overrides: Mapping[str, Any], seed: int) -> RunConfig:
    """The configuration of a method.

    Args:
        start: a preset, or "shared": the `paper` preset with SHARED of the `default` one.
        overrides: what holds for all methods; it wins over `changes`.

    Raises:
        ConfigError: an unknown key or a value out of range.
    """
    shared: dict[str, Any] = {}
    if start == "shared":
        ours = preset("default").model_dump()
        shared = {f"{part}.{name}": ours[part][name] for part, names in SHARED.items() for name in names}
    base = "paper" if start == "shared" else start
    return preset(base, {**shared, **changes, **overrides, "train.seed": seed})


def decoder(name: str) -> LocalizeConfig:
    """How activations become segments: "paper's", or "ours", the `default` preset's."""
    return preset("paper" if name == "paper's" else "default").localize


@dataclass(frozen=True)
class Model:
    """A training run to make.

    Args:
        home: the output folder.
    """

    data: DataSet
    config: RunConfig
    home: Path

    @property
    def key(self) -> str:
        elsewhere = {"extract": True, "localize": True, "train": set(MACHINE)}
        return fingerprint([self.config.model_dump(exclude=elsewhere), self.data.fingerprint])

    @property
    def run(self) -> Path:
        return self.home / "runs" / self.key

    @property
    def done(self) -> Path:
        return self.run / "done.json"


@dataclass(frozen=True)
class Answer:
    """What a model, or no model, says about the test videos.

    Args:
        data: whose test videos. model: None for the true classes over whole videos.
        options: how to decode; None for whole videos.
        without: "audio" or "visual", taken away before the model sees the video; or "".
    """

    data: DataSet
    model: Model | None
    options: LocalizeConfig | None
    home: Path
    without: str = ""

    @property
    def folder(self) -> Path:
        options = old_names(self.options.model_dump()) if self.options else None
        model = self.model.key if self.model else None
        return self.home / "answers" / fingerprint([self.data.fingerprint, model, options, self.without, DRAWS])

    @property
    def facts(self) -> dict[str, Any] | None:
        """Scores and their circumstances; None when there are none yet."""
        path = self.folder / "facts.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """The bootstrap's scores, (1 + DRAWS,) each: the averages of mAP and accuracy."""
        with np.load(self.folder / "draws.npz") as arrays:
            return dict(arrays)


@cache
def code() -> str:
    """Changes when the code that trains or answers does; comments and docstrings do not count."""
    root = Path(avloc.__file__).parent
    rooms = ("dataset", "localize", "losses", "model*", "train")
    files = sorted(path for room in rooms for end in (".py", "/**/*.py") for path in root.glob(room + end))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    for node in (node for tree in trees for node in ast.walk(tree)):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value = ast.Constant("")
    return hashlib.sha256("".join(map(ast.dump, trees)).encode()).hexdigest()[:12]


def work(model: Model | None, answers: Sequence[Answer]) -> float:
    """Train the model unless it is trained, give the answers that are not given; returns the seconds it took.

    Raises:
        AvlocError: in words for a person.
    """
    began, cpu, made_by = time.monotonic(), time.process_time(), code()
    if model is not None and not model.done.exists():
        if not (model.run / "record.json").exists():
            fit(model.data.features, model.data.labels, model.run, model.config, has_state(model.run))
        spent = {"train_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "code": made_by}
        atomic_write(model.done, json.dumps(spent) + "\n")
        drop_states(model.run)
    missing = [answer for answer in answers if answer.facts is None]
    localizer = load(model.run) if model is not None and missing else None
    for answer in missing:
        _give(answer, localizer)
    return time.monotonic() - began


def _give(answer: Answer, localizer: Localizer | None) -> None:
    tests = answer.data.tests()
    found, activations = _truth(answer, tests) if localizer is None else _answer(answer, localizer, tests)
    write_segments_json(answer.folder / "segments.json", found)
    scores, draws = _score(answer.folder / "segments.json", activations, tests)
    np.savez(answer.folder / "draws.npz", **draws)
    spent = json.loads(answer.model.done.read_text(encoding="utf-8")) if answer.model else {}
    atomic_write(answer.folder / "facts.json", json.dumps({"scores": scores, **spent}, indent=1) + "\n")


Found = tuple[dict[str, tuple[Detection, ...]], list[ActivationSequence]]


def _answer(answer: Answer, localizer: Localizer, tests: Sequence[VideoAnnotation]) -> Found:
    """Detections and activations; a video that the model cannot use counts, with nothing found in it."""
    store = FeatureStore(answer.data.features)
    found: dict[str, tuple[Detection, ...]] = {}
    activations = []
    for truth in tests:
        if truth.video_id not in store:
            continue
        whole = store.load(truth.video_id)
        features = _take(whole, answer.without)
        if features is None or not localizer.can_use(features):
            activations.append(localizer.nothing(whole))
            continue
        seen = localizer.activations(features)
        if answer.options is None:
            found[truth.video_id], seen = _whole(seen)
        else:
            found[truth.video_id] = localize(seen, answer.options)
        activations.append(seen)
    return found, activations


def _take(features: FeatureSequence, without: str) -> FeatureSequence | None:
    """The video without one track; None when nothing is left."""
    if without not in features.modalities:
        return features
    return replace(features, **{without: None}) if len(features.modalities) == 2 else None


def _whole(seen: ActivationSequence) -> tuple[tuple[Detection, ...], ActivationSequence]:
    """Every class over all of the video, as likely as the model finds it; the likeliest one for every snippet."""
    pairs = zip(seen.classes, seen.video_scores.tolist(), strict=True)
    found = tuple(Detection(0.0, seen.duration_s, label, score) for label, score in pairs)
    return found, _constant(seen, int(seen.video_scores.argmax()))


def _truth(answer: Answer, tests: Sequence[VideoAnnotation]) -> Found:
    """The true classes over whole videos; the commonest one for every snippet."""
    store = FeatureStore(answer.data.features)
    classes = tuple(sorted({i.label for truth in tests for i in truth.instances}))
    activations = []
    for truth in tests:
        grid = store.load(truth.video_id).grid
        empty = np.zeros((grid.count, 1 + len(classes)))
        blank = ActivationSequence(truth.video_id, truth.duration_s, grid, classes, empty, np.zeros(len(classes)))
        counts = np.bincount(rasterise(truth, grid, classes), minlength=1 + len(classes))[1:]
        activations.append(_constant(blank, int(counts.argmax()) if counts.any() else -1))
    return whole_video_detections(tests), activations


def _constant(seen: ActivationSequence, label: int) -> ActivationSequence:
    """The same class (-1: background) from start to end."""
    probs = np.zeros_like(seen.probs)
    probs[:, 1 + label] = 1.0
    return replace(seen, probs=probs)


def _score(
    segments: Path, activations: Sequence[ActivationSequence], tests: Sequence[VideoAnnotation]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Numbers in [0, 1], and those that are compared for every draw of test videos."""
    found = SegmentTable.from_columns(**read_detection_columns(segments))
    names = [truth.video_id for truth in tests]
    times = draw_videos(len(names), DRAWS)
    mean_ap = detection_scores(found, tests, T_IOU).mean_ap
    drawn = resampled_mean_ap(found, tests, names, times, T_IOU)
    scores = {name: float(mean_ap[rows].mean()) for name, rows in AVERAGES.items()}
    draws = {name: drawn[:, rows].mean(axis=1) for name, rows in AVERAGES.items()}
    scores |= {f"mAP@{t:g}": float(m) for t, m in zip(np.round(T_IOU, 2), mean_ap, strict=True)}
    draws["accuracy"] = resampled_ratio(*snippet_hits(activations, tests), times)
    whole = evaluate_snippets(activations, tests)
    if whole is not None:
        scores["accuracy"] = whole.snippets.accuracy
        scores["background recall"] = whole.snippets.background_recall
        scores["foreground recall"] = whole.snippets.foreground_recall
        scores["event F1"] = whole.events.mean_f1
        scores["finite"] = float(all(np.isfinite(seen.probs).all() for seen in activations))
    return scores, draws
