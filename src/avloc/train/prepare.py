"""From a folder of features and a table of labels to the sets that training and validation see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from avloc.config import Normalization, TrainConfig
from avloc.errors import InputError, with_neighbours
from avloc.features.backbones import card
from avloc.formats.features import FeatureStore
from avloc.formats.labels import match_videos, read_labels
from avloc.system.text import fingerprint, pluralize
from avloc.train.dataset import WeakDataset
from avloc.types import exact

__all__ = ["TrainingData", "hold_out", "prepare", "require_same"]


@dataclass(frozen=True)
class TrainingData:
    """Sets of one data set that share classes and feature sizes.

    Args:
        train, validation: the sets; validation may be empty.
        backbones: {"audio": name, "visual": name} as the features say.
        step_s: seconds per snippet, the same in all of them.
        fps: pictures per second that the visual backbone saw, where the features say so.
        notes: sentences on what was left out, merged or held out, for a person.
    """

    train: WeakDataset
    validation: WeakDataset
    backbones: dict[str, str]
    step_s: Fraction
    fps: float | None
    notes: tuple[str, ...]

    @property
    def normalize(self) -> Normalization:
        """Scaling that the visual backbone's card asks for; l2 where there is no card of that name."""
        try:
            return card(self.backbones["visual"]).normalize
        except (KeyError, InputError):
            return "l2"

    @cached_property
    def facts(self) -> dict[str, str]:
        """What a run that goes on must find as it was: {what it is, in words: a digest}."""
        train, validation = self.train, self.validation
        parts = {
            "training videos": train.ids,
            "classes": train.classes,
            "labels": hashlib.sha256(train.labels.tobytes()).hexdigest(),
            "validation videos": [validation.ids, hashlib.sha256(validation.labels.tobytes()).hexdigest()],
            "feature sizes": [train.audio_size, train.visual_size],
            "backbones": self.backbones,
            "seconds per snippet": str(self.step_s),
        }
        return {name: fingerprint(part) for name, part in parts.items()}


def require_same(run: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises InputError when `TrainingData.facts` are not what they were when a run began."""
    other = [name for name, value in now.items() if before.get(name) != value]
    if other:
        raise InputError(
            f"{run} was trained on other data ({', '.join(other)}); give the same features and labels, another -o, or "
            "--overwrite"
        )


def prepare(features: Path, labels: Path, config: TrainConfig, modality: str = "audio-visual") -> TrainingData:
    """Join features and labels by video, and hold out part of train when no validation subset is named.

    A video labelled but without features is left out and named in the notes; so is one that lacks the only modality
    the model takes.

    Raises:
        InputError: no labelled training video has features, or there is no class at all.
        FormatError: a file is not what its format promises.
    """
    store = FeatureStore(features)
    facts = store.describe()
    table = read_labels(labels)
    match = match_videos(table, store.ids)
    if not match.found:
        raise InputError(
            f"none of the {len(table.rows)} videos in {labels} has features in {features}; labels name e.g. "
            f"{with_neighbours(match.missing, store.ids, 1)}, features e.g. {store.ids[0]}"
        )
    notes = list(table.notes) + _absent(match.missing, "labelled but without features", match.unlabelled)
    lacking = {"audio": facts.without_audio, "visual": facts.without_visual}.get(modality, ())
    notes += _absent([video for video in match.found if video in lacking], f"without {modality} features")
    chosen = {video: row for video, row in match.found.items() if video not in lacking}
    train, validation = (
        [(video, row.labels) for video, row in chosen.items() if row.subset == subset]
        for subset in ("train", "validation")
    )
    classes = sorted({label for _, labels_of in train for label in labels_of})
    if not classes:
        raise InputError(f"{labels}: no training video with a label and features; a class needs at least one")
    notes += _unseen(validation, classes)

    if len({tuple(sorted(labels_of)) for _, labels_of in train}) == 1:
        notes.append(
            f"all {len(train)} training videos have the same labels ({', '.join(classes)}): nothing tells action from "
            "background. Add videos with an empty label that hold background only, or videos of other classes"
        )

    def dataset(videos: Sequence[tuple[str, Sequence[str]]]) -> WeakDataset:
        hot = np.array([[c in names for c in classes] for _, names in videos], dtype=np.float32)
        ids = [name for name, _ in videos]
        sizes = facts.audio_dim or 0, facts.visual_dim or 0
        return WeakDataset(ids, hot.reshape(len(ids), len(classes)), classes, store.load, *sizes)

    if not validation and config.holdout > 0:
        hot = dataset(train).labels
        share = min(config.holdout, config.holdout_most / len(hot))
        held = set(hold_out(hot, share, config.seed).tolist())
        validation = [video for i, video in enumerate(train) if i in held]
        train = [video for i, video in enumerate(train) if i not in held]
        notes.append(f"{len(validation)} of {len(hot)} training videos held out for selection (train.holdout)")
    sources = {"audio": facts.audio_source, "visual": facts.visual_source}
    backbones = {name: source for name, source in sources.items() if source}
    if len(facts.steps_s) > 1:
        steps = ", ".join(f"{float(step):g}" for step in facts.steps_s)
        raise InputError(f"{features}: one step expected, got features of {steps} s per snippet; extract them alike")
    step_s, fps = facts.steps_s[0], float(exact(facts.visual_rate_hz)) if facts.visual_rate_hz else None
    return TrainingData(dataset(train), dataset(validation), backbones, step_s, fps, tuple(notes))


def _absent(names: Sequence[str], why: str, known: Sequence[str] = ()) -> list[str]:
    return [f"{pluralize(len(names), 'video')} {why}, left out: {with_neighbours(names, known)}"] if names else []


def _unseen(videos: Sequence[tuple[str, Sequence[str]]], classes: Sequence[str]) -> list[str]:
    unknown = sorted({label for _, labels in videos for label in labels} - set(classes))
    return [f"validation has classes that training never sees, ignored: {', '.join(unknown)}"] if unknown else []


def hold_out(labels: Float[np.ndarray, "n c"], share: float, seed: int) -> Int[np.ndarray, " k"]:
    """Videos to hold out: about `share` of them, never leaving a class with fewer than two for training.

    Videos are taken in a random order; one is passed over when its class has already given its share, or has no more
    to give. Returns sorted indices, possibly none.
    """
    rng = np.random.default_rng([seed, 3])
    left = labels.sum(axis=0)
    quota = np.ceil(left * share)
    held: list[int] = []
    for video in rng.permutation(len(labels)):
        mine = labels[video] > 0
        if len(held) >= round(len(labels) * share):
            break
        if not mine.any() or ((left[mine] > 2).all() and (quota[mine] > 0).all()):
            held.append(int(video))
            left[mine] -= 1
            quota[mine] -= 1
    return np.array(sorted(held), dtype=np.int64)
