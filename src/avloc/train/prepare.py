"""Match features with labels, and split them into training and validation videos."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from avloc.interchange.corrections import read_correction_files
from avloc.system.text import fingerprint, pluralize
from avloc.tagging.words import WordScores
from avloc.train.corrections import assign, beyond_end
from avloc.train.dataset import WeakDataset
from avloc.types import FIRST_VERSION, exact


@dataclass(frozen=True)
class TrainingData:
    """Training and validation videos with the same classes and feature sizes.

    Args:
        validation: may be empty.
        backbones: {"audio": name, "visual": name}, from the feature files.
        versions: {"audio": version, "visual": version} of these backbones.
        step_s: seconds per snippet.
        fps: frame rate of the visual backbone's input; None if the feature files do not state it.
        corrections: digest of the corrections; "" without.
        start: digest of the weights that training starts from; "" if they are drawn at random.
        notes: warnings about videos and labels that were left out, merged or held out.
        words: scores of the class names by the taggers whose features these are; None without.
    """

    train: WeakDataset
    validation: WeakDataset
    backbones: dict[str, str]
    versions: dict[str, str]
    step_s: Fraction
    fps: float | None
    notes: tuple[str, ...]
    corrections: str = ""
    start: str = ""
    words: WordScores | None = None

    @property
    def normalize(self) -> Normalization:
        """Scaling on the visual backbone's card; l2 if there is no such card."""
        try:
            return card(self.backbones["visual"]).normalize
        except (KeyError, InputError):
            return "l2"

    @cached_property
    def facts(self) -> dict[str, str]:
        """Digests, by description, of what must not change before a run is resumed."""
        train, validation = self.train, self.validation
        parts = {
            "training videos": train.ids,
            "classes": train.classes,
            "labels": hashlib.sha256(train.labels.tobytes()).hexdigest(),
            "validation videos": [validation.ids, hashlib.sha256(validation.labels.tobytes()).hexdigest()],
            "feature sizes": [train.audio_size, train.visual_size],
            "backbones": {name: self.backbones[name] + _later(self.versions[name]) for name in self.backbones},
            "seconds per snippet": str(self.step_s),
        }
        if train.prior is not None:  # a run without taggers can be resumed as before
            parts["words as a prior"] = repr(train.prior)
        digests = {name: fingerprint(part) for name, part in parts.items()}
        further = {"corrections": self.corrections, "weights at the start": self.start}
        return digests | {name: digest for name, digest in further.items() if digest}


def changed_facts(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the `TrainingData.facts` that differ."""
    return [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]


def require_same(run: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises InputError if `TrainingData.facts` have changed since the run began."""
    other = changed_facts(before, now)
    if other:
        raise InputError(
            f"{run} was trained on other data ({', '.join(other)}); give the same features, labels and corrections, "
            "another -o, or --overwrite"
        )


def prepare(
    features: Path,
    labels: Path,
    config: TrainConfig,
    modality: str = "audio-visual",
    corrections: Sequence[Path] = (),
) -> TrainingData:
    """Match features and labels by video; hold out part of train if the labels name no validation subset.

    Labelled videos without features, or without the one modality of a uni-modal model, are left out and noted.
    Corrected videos are never held out: they are worth most in training.

    Args:
        corrections: files, as in `interchange.corrections.read_correction_files`.

    Raises:
        InputError: no training video has both features and labels, no class is named, the features differ in step, or
            the corrections are not of training videos or contradict each other.
        FormatError: a file is damaged or not in the expected format.
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
    given = read_correction_files(corrections)
    assigned = assign(given, table, match.found, store.ids)
    notes = [*table.notes, *given.notes, *assigned.notes]
    lengths_s = facts.durations_s
    notes += filter(None, (beyond_end(name, one, lengths_s[name]) for name, one in assigned.videos.items()))
    notes += _absent(match.missing, "labelled but without features", match.unlabelled)
    lacking = {"audio": facts.without_audio, "visual": facts.without_visual}.get(modality, ())
    notes += _absent([video for video in match.found if video in lacking], f"without {modality} features")
    chosen = {video: row for video, row in assigned.rows.items() if video not in lacking}
    train, validation = (
        [(video, row.labels) for video, row in chosen.items() if row.subset == subset]
        for subset in ("train", "validation")
    )
    usable = (row for video, row in match.found.items() if video in chosen)
    before = {label for row in usable if row.subset == "train" for label in row.labels}
    classes = sorted(before | {label for _, labels_of in train for label in labels_of})
    if not classes:
        why = "".join(f"; {note}" for note in notes)
        raise InputError(f"{labels}: no training video with a label and features; each class needs at least one{why}")
    notes += _unseen(validation, classes)

    if len({tuple(sorted(labels_of)) for _, labels_of in train}) == 1:
        same = f"{pluralize(len(train), 'training video')}, all with the same labels ({', '.join(classes)})"
        notes.append(
            f"{same}: actions cannot be separated from background. Add background videos, with an empty label, or "
            "videos of other classes"
        )

    def dataset(videos: Sequence[tuple[str, Sequence[str]]]) -> WeakDataset:
        hot = np.array([[c in names for c in classes] for _, names in videos], dtype=np.float32)
        ids = [name for name, _ in videos]
        sizes = facts.audio_dim or 0, facts.visual_dim or 0
        return WeakDataset(
            ids, hot.reshape(len(ids), len(classes)), classes, store.load, *sizes, corrections=assigned.videos
        )

    if not validation and config.holdout > 0:
        every = dataset(train)
        hot = every.labels
        share = min(config.holdout, config.holdout_most / len(hot))
        held = set(hold_out(hot, share, config.seed).tolist()) - set(every.corrected.tolist())
        validation = [video for i, video in enumerate(train) if i in held]
        train = [video for i, video in enumerate(train) if i not in held]
        notes.append(f"{len(validation)} of {len(hot)} training videos held out for selection (train.holdout)")
    sources = {"audio": facts.audio_source, "visual": facts.visual_source}
    backbones = {name: source for name, source in sources.items() if source}
    if len(facts.steps_s) > 1:
        steps = ", ".join(f"{float(step):g}" for step in facts.steps_s)
        raise InputError(
            f"{features}: expected one step, got features of {steps} s per snippet; extract all with the same step"
        )
    versions = {name: facts.versions[name] for name in backbones}
    notes += _outdated(backbones, versions)
    step_s, fps = facts.steps_s[0], float(exact(facts.visual_rate_hz)) if facts.visual_rate_hz else None
    return TrainingData(
        dataset(train), dataset(validation), backbones, versions, step_s, fps, tuple(notes), assigned.fingerprint
    )


def _later(version: str) -> str:
    return "" if version == FIRST_VERSION else f" {version}"


def _outdated(backbones: Mapping[str, str], versions: Mapping[str, str]) -> list[str]:
    notes = []
    for modality, name in backbones.items():
        with suppress(InputError):  # a backbone that is not installed
            if card(name).version != versions[modality]:
                notes.append(
                    f"{modality} features are of version {versions[modality]} of {name}, this is version "
                    f"{card(name).version}: the run will not take video files; extract the features again (--overwrite)"
                )
    return notes


def _absent(names: Sequence[str], why: str, known: Sequence[str] = ()) -> list[str]:
    return [f"{pluralize(len(names), 'video')} {why}, left out: {with_neighbours(names, known)}"] if names else []


def _unseen(videos: Sequence[tuple[str, Sequence[str]]], classes: Sequence[str]) -> list[str]:
    unknown = sorted({label for _, labels in videos for label in labels} - set(classes))
    return [f"classes of validation that do not occur in training, ignored: {', '.join(unknown)}"] if unknown else []


def hold_out(labels: Float[np.ndarray, "n c"], share: float, seed: int) -> Int[np.ndarray, " k"]:
    """Sorted indices of about `share` of the videos, such that at least two of each class remain for training.

    Videos are drawn in random order; one is skipped if holding it out would take more than `share` of a class, or
    leave fewer than two.
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
