"""What localizes one video: a trained run, or prompts; features, activations, detections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import ExtractConfig, LocalizeConfig, likely_from
from avloc.config.arguments import checked
from avloc.errors import InputError
from avloc.features.task import extract_one
from avloc.formats.features import load_features
from avloc.formats.streams import recorded_streams
from avloc.localize import localize
from avloc.media.find import as_path, neighbours
from avloc.pipeline.localization import Localization
from avloc.types import ActivationSequence, FeatureSequence
from avloc.version import __version__


class Activator(ABC):
    """Turns features into activations: a trained run (`localizer.Localizer`), or prompts (`prompts.ZeroShot`).

    Attributes:
        options: how activations become detections. classes: C names, in column order.
    """

    options: LocalizeConfig
    classes: tuple[str, ...]

    @property
    @abstractmethod
    def extraction(self) -> ExtractConfig:
        """Options to extract the features of a video file. Raises InputError if that is not possible here."""

    @abstractmethod
    def activations(self, features: FeatureSequence) -> ActivationSequence:
        """Class activations of a video. Raises InputError if it lacks the modalities or features needed."""

    @abstractmethod
    def run_card(self) -> dict[str, object]:
        """Content of run.yaml beside the detections."""

    @abstractmethod
    def check(self) -> None:
        """Raise InputError or ConfigError, before many videos, if something is missing that each of them needs."""

    def nothing(self, features: FeatureSequence) -> ActivationSequence:
        """Activations of a video that the model cannot use: background from start to end."""
        probs = np.zeros((features.grid.count, 1 + len(self.classes)))
        probs[:, 0] = 1.0
        absent = np.zeros(len(self.classes))
        return ActivationSequence(
            features.video_id, features.duration_s, features.grid, self.classes, probs, absent, ()
        )

    @checked()
    def localize(self, video: str | Path | FeatureSequence) -> Localization:
        """Find the classes in a video file, feature file or FeatureSequence.

        Raises:
            MediaError, FormatError: it cannot be read. InputError: it lacks the modalities or features needed.
        """
        return localize_video(self, video)


def localize_video(source: Activator, video: str | Path | FeatureSequence) -> Localization:
    """Features, activations and detections of a video file, feature file or FeatureSequence.

    Raises:
        MediaError, FormatError: it cannot be read. InputError: it lacks the modalities or features needed.
    """
    features = video if isinstance(video, FeatureSequence) else video_features(source, video)
    activations = source.activations(features)
    is_media = not isinstance(video, FeatureSequence) and Path(video).suffix != ".safetensors"
    path = Path(video) if is_media else None  # type: ignore[arg-type]
    found = localize(activations, source.options)
    threshold = source.options.min_score or likely_from(source.options.decode)
    note = features.source.details.get("silence", "")
    return Localization(found, activations, path, threshold, recorded_streams(features.source), note)


def video_features(source: Activator, path: str | Path) -> FeatureSequence:
    """Features of a .safetensors file, or of a video, extracted as `source` needs them."""
    path = as_path(path)
    if path.suffix == ".safetensors":
        return load_features(path)
    if not path.is_file():
        raise InputError(
            f"{path}: a folder; localize its videos with localize_many"
            if path.is_dir()
            else f"{path}: no such file{neighbours(path)}"
        )
    return extract_one(path, source.extraction)


def run_card(
    classes: Sequence[str], backbones: Mapping[str, str], config: Mapping[str, Any], **more: object
) -> dict[str, object]:
    """What run.yaml says of a localization: version, classes, backbones, configuration."""
    return {"avloc": __version__, "classes": list(classes), "backbones": dict(backbones), **more, "config": config}
