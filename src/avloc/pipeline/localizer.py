"""Apply a trained run to one video: `avloc.load("RUN").localize("video.mp4")`."""

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
from avloc.features.backbones.network import find_device
from avloc.features.task import extract_one
from avloc.formats.features import load_features
from avloc.formats.streams import recorded_streams
from avloc.localize import localize
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.model.base import Model
from avloc.model.batch import Batch, Window, collate, windows
from avloc.model.checkpoint import ModelCard, load_model
from avloc.model.losses import topk_mean
from avloc.types import FIRST_VERSION, ActivationSequence, Detection, FeatureSequence


@dataclass(frozen=True)
class Localization:
    """Detections and activations of one video."""

    detections: tuple[Detection, ...]
    activations: ActivationSequence
    path: Path | None = None  # the video file, if the input was one
    likely_from: float = 0.0  # score threshold for showing a detection on the timeline
    streams: StreamChoice = BY_FLAGS  # of the video file, as recorded with its features
    note: str = ""  # on silent audio

    @property
    def video_id(self) -> str:
        return self.activations.video_id

    @property
    def duration_s(self) -> float:
        return self.activations.duration_s

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the model used: "audio", "visual" or both."""
        return self.activations.modalities

    def to_dataframe(self) -> Any:
        """Detections as a pandas table: video, start_s, end_s, label, score."""
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_dataframe needs pandas: pip install 'avloc[frames]'") from error
        rows = [(self.video_id, d.start_s, d.end_s, d.label, d.score) for d in self.detections]
        return pandas.DataFrame(rows, columns=["video", "start_s", "end_s", "label", "score"])

    def save(self, path: str | Path, min_score: float | None = None) -> None:
        """Write the detections in the format of the suffix: .csv, .json (ActivityNet's submission), .vtt, .srt, .eaf,
        .boris, .otio, ... (`avloc.interchange.registry.FORMATS`). Formats that count frames need `path`.

        Args:
            min_score: lowest score in the formats for people; `likely_from` if None. Tables and JSON keep all.
        """
        from avloc.interchange.registry import save_detections

        least = self.likely_from if min_score is None else min_score
        save_detections(Path(path), self.video_id, self.detections, self.duration_s, self.path, self.streams, least)

    def plot(self, path: str | Path | None = None) -> Any:
        """A timeline of detections and activations, as a matplotlib figure; saved to `path` if given."""
        from avloc.figures import timeline

        return timeline(self.activations, self.detections, path=path, lowest=self.likely_from)

    def _repr_html_(self) -> str:
        """Timeline and table for notebooks."""
        from avloc.figures import result_html

        return result_html(self.activations, self.detections)


class Localizer:
    """A trained model with its decoding options.

    Args:
        model, card: as `checkpoint.load_model` returns them.
        options: how activations become detections; None for those of the run.
        streams: to use of video files. Those that the run was trained on do not count: the choice belongs to a file.
    """

    def __init__(
        self,
        model: Model,
        card: ModelCard,
        options: LocalizeConfig | None = None,
        device: str = "cpu",
        streams: StreamChoice = BY_FLAGS,
    ) -> None:
        self.model, self.card, self.device, self.streams = model.to(device).eval(), card, device, streams
        self.options = options or card.config.localize

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    def localize(self, video: str | Path | FeatureSequence) -> Localization:
        """Find the actions in a video file, feature file or FeatureSequence.

        Raises:
            MediaError, FormatError: it cannot be read. InputError: it lacks the modalities or features of the model.
        """
        features = video if isinstance(video, FeatureSequence) else self.features(Path(video))
        activations = self.activations(features)
        is_media = not isinstance(video, FeatureSequence) and Path(video).suffix != ".safetensors"
        path = Path(video) if is_media else None  # type: ignore[arg-type]
        found = localize(activations, self.options)
        source = features.source
        threshold = self.options.min_score or likely_from(self.options.decode)
        note = source.details.get("silence", "")
        return Localization(found, activations, path, threshold, recorded_streams(source), note)

    def can_use(self, features: FeatureSequence) -> bool:
        """Whether a video has a modality that the model uses."""
        return self.card.config.model.modality in ("audio-visual", *features.modalities)

    def features(self, path: Path) -> FeatureSequence:
        """Features of a .safetensors file, or of a video, extracted as in training."""
        if path.suffix == ".safetensors":
            return load_features(path)
        if not path.exists():
            raise InputError(f"{path}: no such file")
        return extract_one(path, self.extraction)

    @property
    def extraction(self) -> ExtractConfig:
        """Options to extract features as in training, only of the modalities that the model uses."""
        used = self.model.embeds
        wanted = {name: self.card.backbones.get(name) if name in used else None for name in ("visual", "audio")}
        streams = {"video_stream": self.streams.video, "audio_stream": self.streams.audio}
        return self.card.config.extract.model_copy(update={**wanted, **streams, "device": self.device})

    def nothing(self, features: FeatureSequence) -> ActivationSequence:
        """Activations of a video that the model cannot use: background from start to end."""
        probs = np.zeros((features.grid.count, 1 + len(self.classes)))
        probs[:, 0] = 1.0
        absent = np.zeros(len(self.classes))
        return ActivationSequence(
            features.video_id, features.duration_s, features.grid, self.classes, probs, absent, ()
        )

    @torch.no_grad()
    def activations(self, features: FeatureSequence) -> ActivationSequence:
        """Class activations of a video (Eq. 5), in windows if it is long (`localize.window_snippets`)."""
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
        """p of the kept snippets of a window."""
        batch = self.batch(features, cut.first, cut.stop)
        return self.model(batch).probs[0, cut.keep_first - cut.first : cut.keep_stop - cut.first]

    def batch(self, features: FeatureSequence, first: int, stop: int) -> Batch:
        """Snippets first..stop of a video as a batch of one, on the model's device.

        Raises:
            InputError: the features differ from the run's in backbone, size or step, or lack the model's modality.
        """
        self._check(features)
        rows, unlabelled = np.arange(first, stop), np.zeros((1, len(self.classes)))
        batch = collate([(features, rows)], unlabelled, self.card.audio_size, self.card.visual_size).to(self.device)
        if not self.model.usable(batch.present).all():
            raise InputError(
                f"{features.video_id}: has only {' and '.join(features.modalities)}; the model needs "
                f"{self.card.config.model.modality}"
            )
        return batch

    def _check(self, features: FeatureSequence) -> None:
        """Refuse features of another backbone, size or step: the model would give confident nonsense."""
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
            old, new = features.source.version(name), self.card.versions.get(name, FIRST_VERSION)
            if expected and made and old != new:
                raise InputError(
                    f"{features.video_id}: {name} features are of version {old} of {made}, the run was trained on "
                    f"version {new}; extract features and train with one version of avloc"
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


def load(run: str | Path, device: str = "auto", streams: StreamChoice = BY_FLAGS) -> Localizer:
    """A trained run, ready to localize.

    Args:
        device: of the model and of the backbones: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        streams: to use of video files, such as StreamChoice(audio=2).

    Raises:
        InputError: there is no such run. ConfigError: there is no such device.
    """
    model, card = load_model(Path(run))
    return Localizer(model, card, device=str(find_device(device)), streams=streams)


def with_options(localizer: Localizer, overrides: Mapping[str, Any]) -> Localizer:
    """The same model with some `localize.*` settings changed.

    Raises:
        ConfigError: a key is unknown or outside `localize`, or a value is out of range.
    """
    for key in overrides:
        if not key.startswith("localize."):
            raise ConfigError(f"{key} was fixed when the run was trained; only localize.* can be set here")
    options = with_overrides(RunConfig(localize=localizer.options), overrides).localize
    return Localizer(localizer.model, localizer.card, options, localizer.device, localizer.streams)
