"""Localize by prompts, without training: `avloc.zero_shot(["dog barking"]).localize("video.mp4")`.

Features of a tagger (`tagging.heads.TAGGERS`) are scored by the classes that a prompt maps to, features of a model with
a text tower (`features.backbones.hub_text.TOWERS`) by their similarity to the prompt. Both become log odds, which
`localize.prompts` turns into activations; from there everything is as for a trained run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avloc.config import ExtractConfig, PromptConfig, ZeroShotConfig, with_overrides
from avloc.config.arguments import checked
from avloc.errors import FormatError, InputError
from avloc.features.backbones import Setup
from avloc.features.backbones.hub_text import TextTower, has_text
from avloc.formats.features import load_features
from avloc.localize.prompts import prompt_probs
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.pipeline.activator import Activator, run_card
from avloc.pipeline.folder import LocalizedFolder, localize_planned, plan_folder
from avloc.pipeline.scorers import Scorer, TaggerScores, TextScores, choose_networks, has_scores, taggers_of
from avloc.tagging.classes import SHOWN
from avloc.tagging.vocabulary import (
    Concept,
    Vocabulary,
    check_words,
    map_words,
    parse_prompts,
    read_vocabulary,
    unmapped_notes,
)
from avloc.types import ActivationSequence, FeatureSequence, Progress


class ZeroShot(Activator):
    """Prompts with the networks that score them.

    Args:
        prompts: also the labels of the detections.
        config: `extract.visual` and `extract.audio` name the networks: a tagger, a model with a text tower, or None.
        vocabulary: words and their classes; None for those that come with avloc.

    Attributes:
        notes: sentences on prompts that map to nothing and are left out, and on a network that is not here.

    Raises:
        InputError: no usable prompt or network.
    """

    def __init__(self, prompts: Iterable[str], config: PromptConfig, vocabulary: Vocabulary | None = None) -> None:
        given = check_words(prompts)
        extract, notes = choose_networks(config.extract)
        self.config = config.model_copy(update={"extract": extract})
        self.options = config.localize
        self.backbones = {m: name for m in ("audio", "visual") if (name := getattr(extract, m)) is not None}
        texts = any(has_text(name) for name in self.backbones.values())
        concepts, unmapped = _concepts(given, vocabulary, required=not texts)
        self.classes = given if texts else tuple(word for word in given if word in concepts)
        self.notes = (*notes, *unmapped_notes(unmapped, "" if texts else "; left out"))
        self._scorers = {m: self._scorer(m, name, concepts) for m, name in self.backbones.items()}

    def _scorer(self, modality: str, name: str, concepts: Mapping[str, Concept]) -> Scorer:
        weights = self.config.extract.weights
        if name in taggers_of(modality):
            return TaggerScores([concepts.get(word) for word in self.classes], modality, weights)
        tower = TextTower(name, Setup(weights))
        return TextScores(tower, self.classes, modality, self.config)

    @property
    def extraction(self) -> ExtractConfig:
        """Options to extract the features that the networks score."""
        return self.config.extract

    def activations(self, features: FeatureSequence) -> ActivationSequence:
        """Open-set probabilities of every snippet; of one modality alone if the video has no other."""
        return self.from_scores(features, self.scores(features))

    def scores(self, features: FeatureSequence) -> dict[str, Float[np.ndarray, "l c"]]:
        """{modality: log odds of the prompts in every snippet}. Raises InputError if no network takes the features."""
        self._check(features)
        return {m: self._scorers[m](features) for m in features.modalities if m in self._scorers}

    def from_scores(
        self,
        features: FeatureSequence,
        scores: Mapping[str, Float[np.ndarray, "l c"]],
        options: ZeroShotConfig | None = None,
    ) -> ActivationSequence:
        """Activations from `scores`, by `config.zero_shot` or other settings."""
        options = options or self.config.zero_shot
        tagger = options.tagger_middles
        middles = {m: options.text_middle if has_text(self.backbones[m]) else tagger[m] for m in scores}
        probs, video = prompt_probs(scores, middles, options)
        return ActivationSequence(
            features.video_id, features.duration_s, features.grid, self.classes, probs, video, tuple(scores)
        )

    def check(self) -> None:
        """Networks and prompts were checked at the start."""

    def run_card(self) -> dict[str, object]:
        """Content of run.yaml beside the detections."""
        return run_card(self.classes, self.backbones, self.config.model_dump(), prompts=list(self.classes))

    def _check(self, features: FeatureSequence) -> None:
        for modality in features.modalities:
            made, wanted = features.source.backbones.get(modality), self.backbones.get(modality)
            if made and wanted and made != wanted:
                raise InputError(
                    f"{features.video_id}: {modality} features are of backbone {made!r}, the prompts are scored in "
                    f"those of {wanted!r}; localize features of one backbone at a time"
                )
        if not set(features.modalities) & set(self._scorers):
            raise InputError(
                f"{features.video_id}: has only {' and '.join(features.modalities)}, but the prompts are scored in "
                f"{' and '.join(self._scorers)}"
            )


def _concepts(
    prompts: Sequence[str], vocabulary: Vocabulary | None, required: bool
) -> tuple[dict[str, Concept], dict[str, str]]:
    """{prompt: its classes}, and {prompt that maps to nothing: what could be meant}."""
    try:
        mapped = map_words(prompts, vocabulary)
    except InputError:
        if required:
            raise
        return {}, {}
    return {concept.word: concept for concept in mapped.concepts}, dict(mapped.unmapped)


@checked()
def zero_shot(
    prompts: str | Iterable[str],
    overrides: Mapping[str, Any] | None = None,
    vocabulary: str | Path | None = None,
    device: str = "auto",
    streams: StreamChoice = BY_FLAGS,
) -> ZeroShot:
    """Prompts, ready to localize.

    Args:
        prompts: a list, or a string as in `parse_prompts`.
        overrides: changes to `extract.*`, `zero_shot.*` and `localize.*`.
        vocabulary: table of words and their classes (docs/zero-shot.md).
        device: of the networks: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        streams: to use of video files.

    Raises:
        InputError: no usable prompt or network. ConfigError: an unknown setting. FormatError: a damaged vocabulary.
    """
    given = parse_prompts(prompts) if isinstance(prompts, str) else tuple(prompts)
    own = {"extract.device": device, "extract.video_stream": streams.video, "extract.audio_stream": streams.audio}
    config = with_overrides(PromptConfig(), {**own, **(overrides or {})})
    return ZeroShot(given, config, None if vocabulary is None else read_vocabulary(vocabulary))


def localize_by_prompts(
    prompts: str | Iterable[str],
    inputs: Sequence[str | Path],
    out: Path,
    formats: str = "json,csv",
    overrides: Mapping[str, Any] | None = None,
    vocabulary: Path | None = None,
    videos: Path | Sequence[str] | None = None,
    progress: Progress | None = None,
    device: str = "auto",
    subset: str | None = None,
    labels: Path | None = None,
    streams: StreamChoice = BY_FLAGS,
) -> LocalizedFolder:
    """Localize by prompts, without a run: `plan_folder`, `zero_shot`, `localize_planned`.

    Features are scored by the networks that made those of the first input.

    Args:
        prompts, vocabulary, device, streams: as in `zero_shot`.
        overrides: changes to `extract.*`, `zero_shot.*` and `localize.*`.
        subset, labels: as in `plan_folder`.

    Raises:
        AvlocError: as these three do.
    """
    given = parse_prompts(prompts) if isinstance(prompts, str) else tuple(prompts)
    plan = plan_folder(inputs, formats, videos, subset, labels)
    made, notes = _backbones_of(plan.paths)
    localizer = zero_shot(given, {**made, **(overrides or {})}, vocabulary, device, streams)
    result = localize_planned(localizer, plan, out, progress, "localize.min_score" in (overrides or {}))
    return replace(result, notes=(*notes, *localizer.notes, *result.notes))


def _backbones_of(paths: Sequence[Path]) -> tuple[dict[str, str | None], list[str]]:
    """{setting: backbone that can score prompts, or None} by the first feature file that can be read, and notes.

    Raises:
        InputError: neither modality of the features can be compared with prompts.
    """
    for path in paths:
        if path.suffix == ".safetensors":
            with suppress(FormatError, InputError):  # reported with its video
                source = load_features(path).source.backbones
                break
    else:
        return {}, []
    made = {modality: source.get(modality) for modality in ("audio", "visual")}
    able = {modality: name if name and has_scores(modality, name) else None for modality, name in made.items()}
    lost = [f"{SHOWN[m]} of {made[m]!r}" for m in made if made[m] and not able[m]]
    if not any(able.values()):
        raise InputError(
            f"{path}: features ({' and '.join(lost) or 'of unknown origin'}) cannot be compared with prompts: they "
            f"need classes or a text tower; localize the videos, or extract with {taggers_of('audio')[0]} and "
            f"{taggers_of('visual')[0]}"
        )
    notes = [f"prompts are not scored in {one}: these features have neither classes nor a text tower" for one in lost]
    return {f"extract.{modality}": name for modality, name in able.items()}, notes
