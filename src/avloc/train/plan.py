"""What a run will do: its data, the settings derived from them, and sentences to show before it starts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from avloc.config import FEW, RunConfig, resolve, with_overrides
from avloc.errors import ConfigError, InputError
from avloc.system.text import pluralize
from avloc.tagging.heads import tagged_senses
from avloc.train.prepare import TrainingData, prepare
from avloc.train.prior import WordPrior, word_scores
from avloc.train.warm import digest_of

_LISTED = 12
"""Up to so many rare classes are named."""

_WORDS = "localize.words_weight"


def plan(
    features: Path, labels: Path, config: RunConfig, corrections: Sequence[Path] = ()
) -> tuple[RunConfig, TrainingData]:
    """Training data, and the configuration with the settings of `train.auto` derived from them.

    Raises:
        InputError, FormatError: as `prepare` does, or there is no run to start from. ConfigError: given and derived
            settings contradict each other.
    """
    data = prepare(features, labels, config.train, config.model.modality, corrections)
    if config.train.init_from is not None and not config.train.frozen_stages:
        data = replace(data, start=digest_of(Path(config.train.init_from)))
    derived = config.train.auto
    if derived:
        config = resolve(config, len(data.train) + len(data.validation))
    return _with_words(config, data, derived)


def _with_words(config: RunConfig, data: TrainingData, derived: Collection[str]) -> tuple[RunConfig, TrainingData]:
    """The words' prior, if the taggers of these features are here; else no words, and a note if that may surprise.

    Args:
        derived: settings that the user left to the data.
    """
    if not config.loss.prior_weight and not config.localize.words_weight:
        return config, data
    try:
        words = word_scores(data.train, data.backbones)
    except InputError as error:
        if config.localize.words_weight and _WORDS not in derived:
            raise ConfigError(f"{_WORDS}={config.localize.words_weight:g}: {error}; or set it to 0") from error
        note = f"no scores from words (loss.prior_weight, {_WORDS}): {error}"
        told = tagged_senses(data.backbones) or "loss.prior_weight" not in derived
        data = replace(data, notes=(*data.notes, note)) if told else data
        return with_overrides(config, {_WORDS: 0.0}), data
    if config.loss.prior_weight and not data.start:  # a run to start from knows more than the words
        data.train.prior = WordPrior(words)
    return config, replace(data, words=words)


def introduction(config: RunConfig, data: TrainingData) -> str:
    """Videos, classes and size of a run in one sentence."""
    train, held = config.train, len(data.validation)
    validated = f", {held} for validation" if held else ""
    corrected = len(data.train.corrected)
    corrections = f" ({corrected} corrected)" if corrected else ""
    start = f", starting from {train.init_from}" if train.init_from else ""
    return (
        f"training on {pluralize(len(data.train), 'video')}{corrections}{validated}, "
        f"{pluralize(len(data.train.classes), 'class')}: "
        f"{pluralize(train.steps, 'step')} of {pluralize(min(train.batch_size, len(data.train)), 'video')}, "
        f"d_x {config.model.embed_dim}{start}{_words(config, data)}"
    )


def _words(config: RunConfig, data: TrainingData) -> str:
    uses = ["as a prior"] if data.train.prior is not None else []
    uses += ["in the detections"] if config.localize.words_weight else []
    return f"; {data.words.describe()}, {' and '.join(uses)}" if data.words is not None and uses else ""


def rare_classes(data: TrainingData) -> str:
    """A warning about classes with fewer than FEW labelled videos, with held-out ones; "" if there are none."""
    counts = (data.train.labels.sum(axis=0) + data.validation.labels.sum(axis=0)).astype(int).tolist()
    named = zip(data.train.classes, counts, strict=True)
    rare = [f"{name} ({pluralize(count, 'video')})" for name, count in named if count < FEW]
    if not rare:
        return ""
    listed = ", ".join(rare[:_LISTED]) + (", ..." if len(rare) > _LISTED else "")
    return (
        f"{pluralize(len(rare), 'class')} with fewer than {FEW} labelled videos: {listed}. Expect weak results for "
        "them: label more (docs/clips.md)"
    )


def time_left(seconds: float) -> str:
    """ "about 40 s", "about 3 min" or "about 2.5 h"."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
