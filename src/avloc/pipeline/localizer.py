"""Use a trained run: `avloc.load("RUN").localize("video.mp4")`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avloc.config import ExtractConfig, LocalizeConfig, RunConfig, likely_from, with_overrides
from avloc.errors import ConfigError, InputError
from avloc.features.task import extract_one
from avloc.formats.features import load_features
from avloc.localize import localize
from avloc.model.base import Model
from avloc.model.batch import Batch, Window, collate, windows
from avloc.model.checkpoint import ModelCard, load_model
from avloc.model.losses import topk_mean
from avloc.types import ActivationSequence, Detection, FeatureSequence

__all__ = ["Localization", "Localizer", "load", "with_options"]


@dataclass(frozen=True)
class Localization:
    """What was found in one video."""

    detections: tuple[Detection, ...]
    activations: ActivationSequence
    path: Path | None = None  # the video's file, when it was one that was localized
    likely_from: float = 0.0  # score from which a detection counts as found; the timeline leaves out weaker ones

    @property
    def video_id(self) -> str:
        return self.activations.video_id

    @property
    def duration_s(self) -> float:
        return self.activations.duration_s

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model could use: "audio", "visual" or both."""
        return self.activations.modalities

    def to_dataframe(self) -> Any:
        """Detections as a pandas table: video, start_s, end_s, label, score."""
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_dataframe needs pandas: pip install 'avloc[frames]'") from error
        rows = [(self.video_id, d.start_s, d.end_s, d.label, d.score) for d in self.detections]
        return pandas.DataFrame(rows, columns=["video", "start_s", "end_s", "label", "score"])

    def save(self, path: str | Path) -> None:
        """Write the detections; the suffix says how: .csv, .json (ActivityNet's submission), .vtt, .srt, .eaf, .boris,
        .otio, ... (`avloc.interchange.registry.FORMATS`). Formats that count frames need a result of a video file."""
        from avloc.interchange.registry import save_detections

        save_detections(Path(path), self.video_id, self.detections, self.duration_s, self.path)

    def plot(self, path: str | Path | None = None) -> Any:
        """A timeline of detections and activations, as a matplotlib figure; written to `path` if one is given."""
        from avloc.figures import timeline

        return timeline(self.activations, self.detections, path=path, lowest=self.likely_from)

    def _repr_html_(self) -> str:
        """What a notebook shows: a timeline and a table."""
        from avloc.figures import result_html

        return result_html(self.activations, self.detections)


class Localizer:
    """A trained model, ready for videos.

    Args:
        model, card: as `checkpoint.load_model` gives them.
        options: how activations become detections; the run's own unless replaced.
    """

    def __init__(
        self, model: Model, card: ModelCard, options: LocalizeConfig | None = None, device: str = "cpu"
    ) -> None:
        self.model, self.card, self.device = model.to(device).eval(), card, device
        self.options = options or card.config.localize

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    def localize(self, video: str | Path | FeatureSequence) -> Localization:
        """Find the actions in one video file, feature file or FeatureSequence.

        Raises:
            MediaError, FormatError: it cannot be read. InputError: it has nothing that this model can use.
        """
        activations = self.activations(video if isinstance(video, FeatureSequence) else self.features(Path(video)))
        is_media = not isinstance(video, FeatureSequence) and Path(video).suffix != ".safetensors"
        path = Path(video) if is_media else None  # type: ignore[arg-type]
        found = localize(activations, self.options)
        return Localization(found, activations, path, likely_from(self.options.decode))

    def can_use(self, features: FeatureSequence) -> bool:
        """Whether a video has a modality that this model takes."""
        return self.card.config.model.modality in ("audio-visual", *features.modalities)

    def features(self, path: Path) -> FeatureSequence:
        """Features of a file: as they are for .safetensors, extracted as in training for a video."""
        if path.suffix == ".safetensors":
            return load_features(path)
        if not path.exists():
            raise InputError(f"{path}: no such file")
        return extract_one(path, self.extraction)

    @property
    def extraction(self) -> ExtractConfig:
        """How features are made of a video: as those of training, as far as the model reads them."""
        used = self.model.embeds
        wanted = {name: self.card.backbones.get(name) if name in used else None for name in ("visual", "audio")}
        return self.card.config.extract.model_copy(update=wanted)

    def nothing(self, features: FeatureSequence) -> ActivationSequence:
        """What counts for a video that the model cannot use: background from start to end."""
        probs = np.zeros((features.grid.count, 1 + len(self.classes)))
        probs[:, 0] = 1.0
        absent = np.zeros(len(self.classes))
        return ActivationSequence(
            features.video_id, features.duration_s, features.grid, self.classes, probs, absent, ()
        )

    @torch.no_grad()
    def activations(self, features: FeatureSequence) -> ActivationSequence:
        """Class activation sequence of one video (Eq. 5); a long one in windows (`localize.window_snippets`)."""
        cuts = windows(features.grid.count, self.options.window_snippets)
        probs = torch.cat([self._probs(features, cut) for cut in cuts])
        everywhere = torch.ones(1, len(probs), dtype=torch.bool, device=probs.device)
        scores = topk_mean(probs[None], everywhere, self.card.config.loss.topk_divisor)[0, 1:]
        return ActivationSequence(
            features.video_id,
            features.duration_s,
            features.grid,
            self.classes,
            probs.double().cpu().numpy(),
            scores.double().cpu().numpy(),
            tuple(name for name in features.modalities if name in self.model.embeds),
        )

    def _probs(self, features: FeatureSequence, cut: Window) -> Float[Tensor, "l c1"]:
        """p of the snippets that a window keeps."""
        batch = self.batch(features, cut.first, cut.stop)
        return self.model(batch).probs[0, cut.keep_first - cut.first : cut.keep_stop - cut.first]

    def batch(self, features: FeatureSequence, first: int, stop: int) -> Batch:
        """Snippets first..stop of a video as a batch of one, on the model's device.

        Raises:
            InputError: the features are not those of the run, or lack the modality that the model takes.
        """
        self._check(features)
        rows, unlabelled = np.arange(first, stop), np.zeros((1, len(self.classes)))
        batch = collate([(features, rows)], unlabelled, self.card.audio_size, self.card.visual_size).to(self.device)
        if not self.model.usable(batch.present).all():
            raise InputError(
                f"{features.video_id}: has {' and '.join(features.modalities)} only, and this is a model of "
                f"{self.card.config.model.modality}"
            )
        return batch

    def _check(self, features: FeatureSequence) -> None:
        """Features of another backbone, size or step give confident nonsense; refuse them."""
        for name, size in (("audio", self.card.audio_size), ("visual", self.card.visual_size)):
            rows, expected = getattr(features, name), self.card.backbones.get(name)
            if rows is None or name not in self.model.embeds:
                continue
            made = features.source.backbones.get(name)
            if expected and made and made != expected:
                raise InputError(
                    f"{features.video_id}: {name} features are of backbone {made!r}, the run was trained on "
                    f"{expected!r}; extract them with --{name} {expected}"
                )
            if rows.shape[1] != size:
                raise InputError(
                    f"{features.video_id}: {name} features have {rows.shape[1]} channels, the run expects {size}; "
                    "use the features that the run was trained on"
                )
        step, trained = float(features.grid.step_s), float(self.card.config.extract.step)
        if not math.isclose(step, trained, rel_tol=1e-6):
            raise InputError(
                f"{features.video_id}: features of {step:g} s per snippet, the run was trained on {trained:g} s; "
                f"extract them with --step-s {trained:g}"
            )


def load(run: str | Path, device: str = "cpu") -> Localizer:
    """A trained run, ready to localize. Raises InputError when it is not there."""
    model, card = load_model(Path(run))
    return Localizer(model, card, device=device)


def with_options(localizer: Localizer, overrides: Mapping[str, Any]) -> Localizer:
    """The same model, decoding with some `localize.*` settings changed.

    Raises:
        ConfigError: a key outside `localize`, unknown, or a value out of range.
    """
    for key in overrides:
        if not key.startswith("localize."):
            raise ConfigError(f"{key} was fixed when the run was trained; here only localize.* can be set")
    options = with_overrides(RunConfig(localize=localizer.options), overrides).localize
    return Localizer(localizer.model, localizer.card, options, localizer.device)
