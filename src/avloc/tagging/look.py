"""What is in a folder of videos, before there are labels: frequent tags, silent videos, near duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avloc.errors import AvlocError
from avloc.formats.failures import Failure
from avloc.formats.features import load_features
from avloc.tagging.classes import class_list
from avloc.tagging.evidence import LIKELY, class_probabilities, find_evidence
from avloc.tagging.folder import feature_files, require_tagged
from avloc.tagging.heads import load_taggers
from avloc.tagging.tags import every_concept, find_tags, telling_words
from avloc.types import FeatureSequence, Progress

SILENT = 0.5
"""Mean probability of AudioSet's class Silence from which a video counts as silent."""

ALIKE = {"visual": 0.95, "audio": 0.9}
"""Cosine of two videos' mean features from which they look, and sound, the same. Copies in another size and codec
reached 0.98 and 0.95; of different videos of our benchmark sets none is above 0.92 in frames."""


@dataclass(frozen=True)
class FolderLook:
    """Result of `look_over`.

    Args:
        tags: {tag: number of videos}, the most telling first.
        silent: videos whose audio is silent. without_audio: videos without an audio stream.
        duplicates: pairs of videos that look and sound the same.
    """

    videos: int
    tags: Mapping[str, int]
    silent: tuple[str, ...]
    without_audio: tuple[str, ...]
    duplicates: tuple[tuple[str, str], ...]
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def look_over(
    videos: Sequence[str | Path] | str | Path,
    most: int = 15,
    limit: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> FolderLook:
    """Tag all videos without asking for words, and compare them with each other.

    Args:
        videos: as for `folder.tag`.
        most: number of tags.
        limit: look at this many videos only, evenly spaced.

    Raises:
        InputError: no video, weights missing, or no video could be tagged.
    """
    concepts = every_concept()
    silent, mute, scores = [], [], []
    means: dict[str, dict[str, Float[np.ndarray, " d"]]] = {}
    with feature_files(videos, workers=workers, progress=progress) as files:
        failures = list(files.failures)
        paths = list(files.paths)
        if limit is not None and limit < len(paths):
            paths = [paths[round(k)] for k in np.linspace(0, len(paths) - 1, limit)]
        for path in paths:
            try:
                features = load_features(path)
                taggers = load_taggers(features)
            except AvlocError as error:
                failures.append(Failure(path.stem, str(files.paths[path] or path), str(error)))
                continue
            tags = find_tags(find_evidence(features, concepts, taggers), asked=False)
            scores.append({tag.label: tag.score for tag in tags})
            means[features.video_id] = {name: _unit_mean(features, name) for name in features.modalities}
            if features.audio is None:
                mute.append(features.video_id)
            elif "audio" in taggers:
                silence = class_list("audio").select("Silence")[0]
                if class_probabilities(features, "audio", taggers["audio"])[:, silence].mean() >= SILENT:
                    silent.append(features.video_id)
    require_tagged(len(scores), failures)
    counts = {word: sum(s.get(word, 0) >= LIKELY for s in scores) for word in telling_words(scores, concepts, most)}
    return FolderLook(len(scores), counts, tuple(silent), tuple(mute), near_duplicates(means), tuple(failures))


def near_duplicates(means: Mapping[str, Mapping[str, Float[np.ndarray, " d"]]]) -> tuple[tuple[str, str], ...]:
    """Pairs of videos whose features of length 1 agree, in every modality that both have; frames among them."""
    names = [video for video, of in means.items() if "visual" in of]
    looks = np.array([means[video]["visual"] for video in names])
    pairs = []
    for k, row in enumerate(looks):
        for other in np.flatnonzero(looks[k + 1 :] @ row >= ALIKE["visual"]) + k + 1:
            one, two = means[names[k]], means[names[other]]
            if "audio" not in one or "audio" not in two or one["audio"] @ two["audio"] >= ALIKE["audio"]:
                pairs.append((names[k], names[int(other)]))
    return tuple(pairs)


def _unit_mean(features: FeatureSequence, modality: str) -> Float[np.ndarray, " d"]:
    mean = getattr(features, modality).mean(axis=0, dtype=np.float64)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)
