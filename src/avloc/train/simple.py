"""`avloc.train`: train a run from paths, the name of a preset and single settings."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from avloc.config import RunConfig, preset, read_config, with_overrides
from avloc.config.arguments import checked
from avloc.errors import ConfigError, did_you_mean
from avloc.media.find import as_path
from avloc.train.resume import TrainedRun
from avloc.train.resume import train as train_run


@checked()
def train(
    features: str | Path,
    labels: str | Path,
    out: str | Path,
    config: RunConfig | str | Path = "auto",
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> TrainedRun:
    """Train on video-level labels and write a run folder, or return the finished run that is there.

        run = avloc.train("features", "labels.csv", "run", settings={"train.steps": 800})

    Args:
        features: folder of features, from `avloc.extract`.
        labels: CSV with the columns video,labels[,subset].
        out: the run folder.
        config: name of a preset ("auto", "default", "paper", ...), a YAML file (with its suffix .yaml or .yml), or a
            configuration.
        settings: {"section.key": value}, changes to it (docs/config.md).
        options: the other arguments of `avloc.train.resume.train`: resume=True continues an interrupted run,
            overwrite=True trains again, progress is called with (step, steps, loss), say with sentences, on_metrics
            with (step, {name: value}) for each row of metrics.jsonl.

    Raises:
        ConfigError: an unknown preset, setting or option; similar names are given. InputError, FormatError: features,
        labels or run folder are invalid. TrainingError: a loss is not finite. StorageError: the disk is full.
    """
    known = train_options()
    for name in options:
        if name not in known:
            raise ConfigError(f"avloc.train has no option {name!r}.{_hint(name, known)}")
    return train_run(as_path(features), as_path(labels), as_path(out), _config(config, settings or {}), **options)


def train_options() -> list[str]:
    """Names of the arguments of `train_run` that are not given otherwise."""
    return [name for name in signature(train_run).parameters if name not in ("features", "labels", "out", "config")]


def _hint(name: str, known: list[str]) -> str:
    """For a setting given as an option, how to give it."""
    sections = [section for section, field in RunConfig.model_fields.items() if name in _names(field.annotation)]
    if sections:
        return f" It is a setting: settings={{'{sections[0]}.{name}': ...}}"
    return did_you_mean(name, [*known, "config", "settings"])


def _names(section: Any) -> Any:
    return section.model_fields


def _config(config: RunConfig | str | Path, settings: Mapping[str, Any]) -> RunConfig:
    if not isinstance(settings, Mapping):
        raise ConfigError(f"settings: expected {{'section.key': value}}, got {settings!r}")
    if isinstance(config, RunConfig):
        return with_overrides(config, settings)
    if as_path(config).suffix.lower() in (".yaml", ".yml"):
        return read_config(Path(config), settings)
    return preset(str(config), settings)
