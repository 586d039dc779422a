"""All settings of a run, frozen and validated.

options  the settings of every step; the only place of defaults
zero_shot settings of localization by prompts
automatic settings derived from the size of the training set
arguments of public functions, checked at the call
build    a configuration from a preset, a YAML file and single settings
renamed  names of settings in earlier versions

An unknown key is an error that names similar keys. `--set model.num_stages=3` on the command line and
`overrides={"model.num_stages": 3}` in Python are the same.
"""

from __future__ import annotations

from avloc.config.automatic import FEW, LARGE, resolve, settings_for
from avloc.config.build import (
    differences,
    parse_overrides,
    parse_yaml,
    preset,
    read_config,
    read_yaml,
    setting_names,
    with_overrides,
)
from avloc.config.options import (
    AUTO,
    LIKELY,
    MACHINE,
    MOST_CHANNELS,
    ActionsOptions,
    ContrastOptions,
    ExtractConfig,
    LocalizeConfig,
    LossConfig,
    ModelConfig,
    Normalization,
    RunConfig,
    TrainConfig,
    likely_from,
)
from avloc.config.zero_shot import PromptConfig, ZeroShotConfig

__all__ = [
    "AUTO",
    "FEW",
    "LARGE",
    "LIKELY",
    "MACHINE",
    "MOST_CHANNELS",
    "ActionsOptions",
    "ContrastOptions",
    "ExtractConfig",
    "LocalizeConfig",
    "LossConfig",
    "ModelConfig",
    "Normalization",
    "PromptConfig",
    "RunConfig",
    "TrainConfig",
    "ZeroShotConfig",
    "differences",
    "likely_from",
    "parse_overrides",
    "parse_yaml",
    "preset",
    "read_config",
    "read_yaml",
    "resolve",
    "setting_names",
    "settings_for",
    "with_overrides",
]
