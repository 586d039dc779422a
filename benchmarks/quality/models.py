"""Methods, and their results: a model is trained once, and evaluated once for each decoder.

OUT/runs/KEY/            a training run, with done.json when it is finished
OUT/answers/KEY/         one run on the test videos with one decoder: segments.json, facts.json, draws.npz

A key is a hash of the data and of every setting that affects the result, so a changed default is a new run; decoder
settings are part of an answer's key only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import MACHINE, LocalizeConfig, RunConfig, preset
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
from avloc.paper.version import code_version
from avloc.pipeline.localizer import Localizer, load
from avloc.presets import RIVALS
from avloc.system.atomic import atomic_write
from avloc.system.text import fingerprint
from avloc.train.loop import fit
from avloc.train.state import drop_states, has_state
from avloc.types import ActivationSequence, Detection, FeatureSequence, VideoAnnotation

DRAWS = 2000
T_IOU = (0.1, 0.2, 0.3, 0.4, *T_IOU_THRESHOLDS)
AVERAGES = {
    "average mAP": np.isin(np.round(T_IOU, 2), np.round(T_IOU_THRESHOLDS, 2)),
    "average mAP 0.1:0.7": np.isin(np.round(T_IOU, 2), np.round(np.arange(0.1, 0.71, 0.1), 2)),
}
SHARED = (
    *(f"model.{key}" for key in ("audio_normalize", "visual_normalize", "dropout", "modality_dropout")),
    *(f"loss.{key}" for key in ("mil_background", "mil_background_weight", "pseudo_labels", "pseudo_from_labels")),
    *(f"loss.{key}" for key in ("neighbors", "threshold", "warmup")),
    *(f"train.{key}" for key in ("batch_size", "weight_decay", "grad_clip", "snippets", "pair_fraction", "holdout")),
    *(f"train.{key}" for key in ("teacher_decay", "selection")),
)
"""Settings that other methods take from the `default` preset, none of them part of our model."""

_AS_DEFAULT = (
    "model.dropout",
    "model.visual_normalize",
    "loss.mil_background",
)  # general settings: as for all other methods
_NAIVE_CL = ROWS["table6"]["Naive fusion (0-stage) + CL"].changes

METHODS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "audio only": ("default", {"model.modality": "audio"}),
    "visual only": ("default", {"model.modality": "visual"}),
    "naive fusion": ("shared", ROWS["table6"]["Naive fusion (0-stage)"].changes),
    "naive fusion + CL": ("shared", _NAIVE_CL),
    "naive fusion + CL, known": ("shared", {**_NAIVE_CL, "loss.mil_background": "known"}),
    "W-TALC": ("shared", {k: v for k, v in RIVALS["w-talc"].items() if k not in _AS_DEFAULT}),
    "Tian et al.": ("shared", RIVALS["tian"]),
    **{f"paper, {t} stages": ("paper", {"model.num_stages": t}) for t in range(4)},
    "paper, literal": ("paper-literal", {}),
    "default": ("default", {}),
}
"""{name: (preset or "shared", changes to it)}."""

_FUSION = {
    **{f"{t} stages": {"model.num_stages": t} for t in range(4)},
    "no skip": {"model.skip": "none"},
    "plain skip": {"model.skip": "plain"},
    "one W": {"model.share_weight": True},
}
FUSION: dict[str, tuple[str, Mapping[str, Any]]] = {
    f"{recipe}, {name}": (recipe, changes)
    for recipe, other, direct in (("default", "without direct", False), ("paper", "with direct", True))
    for name, changes in {**_FUSION, other: {"model.direct": direct}}.items()
}
"""As METHODS: choices of the fusion, one changed at a time, in two recipes. 2 stages, dense skips, W per stage."""


def config_of(start: str, changes: Mapping[str, Any], overrides: Mapping[str, Any], seed: int) -> RunConfig:
    """The configuration of a method.

    Args:
        start: a preset, or "shared": the `paper` preset with SHARED of the `default` one.
        overrides: settings of all methods; they win over `changes`.

    Raises:
        ConfigError: an unknown key or a value out of range.
    """
    shared: dict[str, Any] = {}
    if start == "shared":
        ours = preset("default").model_dump()
        shared = {key: ours[part][name] for key in SHARED for part, _, name in [key.partition(".")]}
    base = "paper" if start == "shared" else start
    return preset(base, {**shared, **changes, **overrides, "train.seed": seed})


def decoder(name: str) -> LocalizeConfig:
    """Options of the decoder "paper's", or "ours", the `default` preset's."""
    return preset("paper" if name == "paper's" else "default").localize


@dataclass(frozen=True)
class Model:
    """A training run, finished or not.

    Args:
        home: the output folder.
    """

    data: DataSet
    config: RunConfig
    home: Path

    @property
    def key(self) -> str:
        elsewhere = {"extract": True, "localize": True, "train": set(MACHINE)}
        words = [weight] if (weight := self.config.localize.words_weight) else []  # acts on activations
        return fingerprint([self.config.model_dump(exclude=elsewhere), self.data.fingerprint, *words])

    @property
    def run(self) -> Path:
        return self.home / "runs" / self.key

    @property
    def done(self) -> Path:
        return self.run / "done.json"


@dataclass(frozen=True)
class Answer:
    """Results of a model on the test videos.

    Args:
        data: whose test videos. model: None for the true classes over whole videos.
        options: of the decoder; None for whole videos.
        without: "audio" or "visual", removed from the test videos; or "".
    """

    data: DataSet
    model: Model | None
    options: LocalizeConfig | None
    home: Path
    without: str = ""

    @property
    def folder(self) -> Path:
        options = self.options.model_dump() if self.options else None
        model = self.model.key if self.model else None
        return self.home / "answers" / fingerprint([self.data.fingerprint, model, options, self.without, DRAWS])

    @property
    def facts(self) -> dict[str, Any] | None:
        """Scores, times and code version; None when not computed yet."""
        path = self.folder / "facts.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """Bootstrap scores, (1 + DRAWS,) each: the averages of mAP, and accuracy."""
        with np.load(self.folder / "draws.npz") as arrays:
            return dict(arrays)


def work(model: Model | None, answers: Sequence[Answer]) -> float:
    """Train the model and compute the answers, where they are missing; returns seconds taken.

    Raises:
        AvlocError: the data or settings are unusable.
    """
    began, cpu, made_by = time.monotonic(), time.process_time(), code_version()
    if model is not None and not model.done.exists():
        if not (model.run / "record.json").exists():
            fit(model.data.features, model.data.labels, model.run, model.config, has_state(model.run))
        spent = {"train_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "code": made_by}
        atomic_write(model.done, json.dumps(spent) + "\n")
        drop_states(model.run)
    missing = [answer for answer in answers if answer.facts is None]
    localizer = load(model.run) if model is not None and missing else None
    for answer in missing:
        _compute(answer, localizer)
    return time.monotonic() - began


def _compute(answer: Answer, localizer: Localizer | None) -> None:
    tests = answer.data.tests()
    found, activations = _truth(answer, tests) if localizer is None else _localized(answer, localizer, tests)
    write_segments_json(answer.folder / "segments.json", found)
    scores, draws = score_detections(answer.folder / "segments.json", activations, tests)
    np.savez(answer.folder / "draws.npz", **draws)
    spent = json.loads(answer.model.done.read_text(encoding="utf-8")) if answer.model else {}
    atomic_write(answer.folder / "facts.json", json.dumps({"scores": scores, **spent}, indent=1) + "\n")


Found = tuple[dict[str, tuple[Detection, ...]], list[ActivationSequence]]


def _localized(answer: Answer, localizer: Localizer, tests: Sequence[VideoAnnotation]) -> Found:
    """Detections and activations; a video that the model cannot use counts as one without detections."""
    store = FeatureStore(answer.data.features)
    found: dict[str, tuple[Detection, ...]] = {}
    activations = []
    for truth in tests:
        if truth.video_id not in store:
            continue
        whole = store.load(truth.video_id)
        features = _without(whole, answer.without)
        if features is None or not localizer.can_use(features):
            activations.append(localizer.nothing(whole))
            continue
        seen = localizer.activations(features)
        if answer.options is None:
            found[truth.video_id], seen = whole_video(seen)
        else:
            found[truth.video_id] = localize(seen, answer.options)
        activations.append(seen)
    return found, activations


def _without(features: FeatureSequence, modality: str) -> FeatureSequence | None:
    """The video without one modality; None when nothing is left."""
    if modality not in features.modalities:
        return features
    return replace(features, **{modality: None}) if len(features.modalities) == 2 else None


def whole_video(seen: ActivationSequence) -> tuple[tuple[Detection, ...], ActivationSequence]:
    """Every class over the whole video, with its video score; the best-scored class for every snippet."""
    pairs = zip(seen.classes, seen.video_scores.tolist(), strict=True)
    found = tuple(Detection(0.0, seen.duration_s, label, score) for label, score in pairs)
    return found, _constant(seen, int(seen.video_scores.argmax()))


def _truth(answer: Answer, tests: Sequence[VideoAnnotation]) -> Found:
    """The true classes over whole videos; the most frequent one for every snippet."""
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
    """One class (-1: background) for every snippet."""
    probs = np.zeros_like(seen.probs)
    probs[:, 1 + label] = 1.0
    return replace(seen, probs=probs)


def score_detections(
    segments: Path, activations: Sequence[ActivationSequence], tests: Sequence[VideoAnnotation]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Scores in [0, 1], and the compared ones for every bootstrap draw of test videos."""
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
