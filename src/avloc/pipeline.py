"""Use a trained run: `avloc.load("RUN").localize("video.mp4")`, and the same for a folder full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

import avloc
from avloc.atomic import inside, write_whole
from avloc.checkpoint import Localizing, ModelCard, load_model
from avloc.config import ExtractConfig, LocalizeConfig, preset
from avloc.dataset import Window, collate, windows
from avloc.errors import AvlocError, ConfigError, InputError, StorageError
from avloc.exporting import write_detections
from avloc.extraction import Failure, extract_one, write_failures
from avloc.formats import load_features
from avloc.formats.activations import activation_files, save_activations
from avloc.localize import localize
from avloc.locks import alone_in
from avloc.losses import topk_mean
from avloc.media.find import find_media
from avloc.media.guard import guarded
from avloc.texts import csv_text, readable
from avloc.types import ActivationSequence, Detection, FeatureSequence

__all__ = ["Localization", "Localized", "Localizer", "find_inputs", "load", "localize_all", "with_options"]

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Localized:
    """What is kept of each of many videos; their activations, which would fill the memory, lie in scores/."""

    detections: tuple[Detection, ...]
    duration_s: float
    modalities: tuple[str, ...]
    path: Path | None


@dataclass(frozen=True)
class Localization:
    """What was found in one video."""

    detections: tuple[Detection, ...]
    activations: ActivationSequence
    path: Path | None = None  # the video's file, when it was one that was localized

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
        .otio, ... (`avloc.exporting.FORMATS`). Formats that count frames need a result of a video file."""
        from avloc.exporting import save_detections

        save_detections(Path(path), self.video_id, self.detections, self.duration_s, self.path)

    def plot(self, path: str | Path | None = None) -> Any:
        """A timeline of detections and activations, as a matplotlib figure; written to `path` if one is given."""
        from avloc.report import timeline

        return timeline(self.activations, self.detections, path=path)

    def _repr_html_(self) -> str:
        """What a notebook shows: a timeline and a table."""
        from avloc.report import result_html

        return result_html(self.activations, self.detections)


class Localizer:
    """A trained model, ready for videos.

    Args:
        model, card: as `checkpoint.load_model` gives them.
        options: how activations become detections; the run's own unless replaced.
    """

    def __init__(
        self, model: Localizing, card: ModelCard, options: LocalizeConfig | None = None, device: str = "cpu"
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
        return Localization(localize(activations, self.options), activations, path)

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
        """How features are made of a video: as those of training."""
        wanted = {name: self.card.backbones.get(name) for name in ("visual", "audio")}
        return self.card.config.extract.model_copy(update=wanted)

    @torch.no_grad()
    def activations(self, features: FeatureSequence) -> ActivationSequence:
        """Class activation sequence of one video (Eq. 5); a long one in windows (`localize.window_snippets`)."""
        self._check(features)
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
        rows, nobody = np.arange(cut.first, cut.stop), np.zeros((1, len(self.classes)))
        batch = collate([(features, rows)], nobody, self.card.audio_size, self.card.visual_size).to(self.device)
        if not self.model.usable(batch.present).all():
            raise InputError(
                f"{features.video_id}: has {' and '.join(features.modalities)} only, and this is a model of "
                f"{self.card.config.model.modality}"
            )
        return self.model(batch).probs[0, cut.keep_first - cut.first : cut.keep_stop - cut.first]

    def _check(self, features: FeatureSequence) -> None:
        """Features of another backbone, size or step give confident nonsense; refuse them."""
        for name, size in (("audio", self.card.audio_size), ("visual", self.card.visual_size)):
            rows, expected = getattr(features, name), self.card.backbones.get(name)
            if rows is None or name not in self.model.embeds:
                continue
            made = features.source.get(name)
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
    kept = {f"localize.{key}": value for key, value in localizer.options.model_dump().items()}
    options = preset("default", {**kept, **overrides}).localize
    return Localizer(localizer.model, localizer.card, options, localizer.device)


def find_inputs(paths: Sequence[str | Path]) -> list[Path]:
    """Videos and feature files that `paths` name: files, folders and globs. A folder of features gives those."""
    features: list[Path] = []
    rest: list[str | Path] = []
    for path in map(Path, paths):
        if path.suffix == ".safetensors" and path.is_file():
            features.append(path)
        elif path.is_dir() and any(path.rglob("*.safetensors")):
            features += sorted(path.rglob("*.safetensors"))
        else:
            rest.append(path)
    return features + (find_media(rest) if rest else [])


def localize_all(
    localizer: Localizer,
    inputs: Sequence[Path],
    out: Path,
    formats: Sequence[str] = ("json", "csv"),
    progress: Progress | None = None,
    media: Mapping[str, Path] | None = None,
) -> tuple[dict[str, Localized], tuple[Failure, ...]]:
    """Localize every input and write a folder of results; an unreadable one costs itself only.

    Writes segments.<suffix> or per-video/<video>.<suffix> for the formats asked for (`avloc.exporting.FORMATS`),
    videos.csv, scores/<video>.safetensors, run.yaml, and failures.csv when there are any.

    An earlier result in that folder is taken away first: one that is interrupted leaves no old segments beside new
    scores.

    Args:
        media: {video_id: its file}, where the inputs are features: formats that count frames need it.

    Raises:
        InputError: another process is at work in that folder, or it cannot be written to.
        StorageError: the disk is full, read-only or gone.
    """
    with alone_in(out, "the detections"):
        for name in ("segments.json", "segments.csv", "videos.csv", "run.yaml"):
            (out / name).unlink(missing_ok=True)
        return _localize_all(localizer, inputs, out, formats, progress, media or {})


def _localize_all(
    localizer: Localizer,
    inputs: Sequence[Path],
    out: Path,
    formats: Sequence[str],
    progress: Progress | None,
    media: Mapping[str, Path],
) -> tuple[dict[str, Localized], tuple[Failure, ...]]:
    found: dict[str, Localized] = {}
    failures = []
    for done, (path, given) in enumerate(_extracted(localizer, inputs), start=1):
        try:
            if isinstance(given, AvlocError):
                raise given
            result = localizer.localize(given)
            source = path if isinstance(given, FeatureSequence) else result.path
            save_activations(inside(out / "scores", f"{result.video_id}.safetensors"), result.activations)
            found[result.video_id] = Localized(result.detections, result.duration_s, result.modalities, source)
        except StorageError:  # the next one could not be written either
            raise
        except AvlocError as error:
            failures.append(Failure(readable(path.stem), readable(path), str(error)))
        if progress is not None:
            progress(done, len(inputs), path.name)
    files = {name: result.path or media.get(name) for name, result in found.items()}
    write_detections(out, formats, {n: (r.detections, r.duration_s, files[n]) for n, r in found.items()})
    write_whole(out / "videos.csv", _videos_table(found, files))
    write_whole(out / "run.yaml", _run_card(localizer))
    write_failures(out / "failures.csv", failures)
    _drop_scores_of_others(out / "scores", found)
    return found, tuple(failures)


def _drop_scores_of_others(scores: Path, found: Mapping[str, Localized]) -> None:
    """Scores of videos that an earlier localization wrote here, and that this one knows nothing of."""
    for video, path in activation_files(scores).items():
        if video not in found:
            path.unlink()


def _extracted(
    localizer: Localizer, inputs: Sequence[Path]
) -> Iterator[tuple[Path, Path | FeatureSequence | AvlocError]]:
    """Inputs in their order. Several videos are decoded in a process that may die, one ahead of the model."""
    videos = [path for path in inputs if path.suffix != ".safetensors"]
    if len(videos) < 2:
        yield from ((path, path) for path in inputs)
        return
    extracted = guarded(partial(extract_one, options=localizer.extraction), videos, in_order=True)
    for path in inputs:
        yield (path, path) if path.suffix == ".safetensors" else next(extracted)


def _videos_table(found: Mapping[str, Localized], files: Mapping[str, Path | None]) -> str:
    rows: list[Sequence[object]] = [["video", "duration_s", "labels", "detections", "modalities", "path"]]
    for name, result in found.items():
        labels = ";".join(dict.fromkeys(d.label for d in result.detections))
        path = files[name]
        row = [name, f"{result.duration_s:.3f}", labels, len(result.detections), "+".join(result.modalities)]
        rows.append([*row, readable(path.resolve()) if path is not None else ""])
    return csv_text(rows)


def _run_card(localizer: Localizer) -> str:
    card = localizer.card
    facts = {
        "avloc": avloc.__version__,
        "classes": list(card.classes),
        "backbones": dict(card.backbones),
        "step": card.step,
        "config": {**card.config.model_dump(), "localize": localizer.options.model_dump()},
    }
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
