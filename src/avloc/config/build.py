"""Configurations from presets, YAML files and single settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from avloc.config.arguments import expected
from avloc.config.options import MACHINE, Options, RunConfig
from avloc.config.renamed import RENAMED, present_names
from avloc.config.zero_shot import PromptConfig
from avloc.errors import ConfigError, did_you_mean
from avloc.presets import PRESETS

_MOST_DEPTH = 100
_MOST_YAML, _MOST_PLAIN = 4 << 20, 4096
"""Characters of a document, and of a value that YAML may read as a number: its sexagesimal ones take quadratic time."""


def preset(name: str = "default", overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A named configuration, with single keys changed.

    Args:
        name: one of PRESETS.
        overrides: {"section.key": value}; numbers and booleans may be strings.

    Raises:
        ConfigError: unknown preset, unknown key (similar keys are named), or a value out of range.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}.{did_you_mean(name, PRESETS)}")
    return _build(RunConfig, PRESETS[name], overrides)


Configuration = TypeVar("Configuration", RunConfig, PromptConfig)


def with_overrides(config: Configuration, overrides: Mapping[str, Any]) -> Configuration:
    """The same configuration with single keys changed. Raises ConfigError, as `preset` does."""
    return _build(type(config), config.model_dump(), overrides)


def read_config(path: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A configuration from a YAML file as `to_yaml` writes it; missing fields take their defaults."""
    if not Path(path).is_file():
        raise ConfigError(f"{path}: expected a YAML configuration; it is not a file")
    try:
        tree = read_yaml(Path(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: expected a YAML configuration: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as model: and train:, got {type(tree).__name__}")
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: section {section!r} should hold keys and values, got {values!r}")
    flat = {f"{section}.{key}": value for section, values in tree.items() for key, value in values.items()}
    return _build(RunConfig, flat, overrides)


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """Differences in model, loss and training, one line each, without those in hardware and paths."""
    a, b = old.model_dump(), new.model_dump()
    return [
        f"{section}.{key} was {value!r}, is {b[section][key]!r}"
        for section in ("model", "loss", "train")
        for key, value in a[section].items()
        if key not in MACHINE | {"init_from"} and value != b[section][key]
    ]


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """["model.num_stages=3", ...] as {"model.num_stages": 3, ...}; values are YAML."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set takes section.key=value, got {pair!r}, e.g. --set model.num_stages=3")
        try:
            result[key.strip()] = _scalar(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"--set {pair!r}: the value is not YAML") from error
    return result


def read_yaml(path: Path) -> Any:
    """`parse_yaml` of a file. OSError if it cannot be read."""
    with path.open(encoding="utf-8") as file:
        return parse_yaml(file.read(_MOST_YAML + 1))


def parse_yaml(text: str) -> Any:
    """YAML of unknown origin, without aliases: a few lines of them can expand to more than fits in memory.

    Raises:
        yaml.YAMLError: not YAML, too long, or with aliases. ValueError, RecursionError: an impossible value.
    """
    if len(text) > _MOST_YAML:
        raise yaml.YAMLError(f"expected at most {_MOST_YAML} characters, got {len(text)}")
    depth = 0
    for token in yaml.scan(text, yaml.SafeLoader):
        depth += isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken)
        depth -= isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken)
        if depth > _MOST_DEPTH:  # the scanner's time is quadratic in it
            raise yaml.YAMLError(f"brackets nested deeper than {_MOST_DEPTH}")
        if isinstance(token, yaml.AliasToken):
            raise yaml.YAMLError("aliases (*name) are not read")
        if isinstance(token, yaml.ScalarToken) and token.plain and len(token.value) > _MOST_PLAIN:
            raise yaml.YAMLError(f"a value of {len(token.value)} characters without quotes")
    return yaml.safe_load(text)


def _scalar(text: str) -> Any:
    """YAML, plus 1e-3, which YAML 1.1 reads as a string."""
    value = parse_yaml(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _flat(tree: Mapping[str, Any], groups: Collection[str]) -> dict[str, Any]:
    """{"section.key": value}, with groups of settings taken apart."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key in groups and isinstance(value, Mapping):
            flat |= _flat({f"{key}.{name}": part for name, part in value.items()}, groups)
        else:
            flat[key] = value
    return flat


def setting_names(section: str) -> list[str]:
    """Names of the settings of one section of a run: ["decode", "min_snippets", ..., "actions.class_gate", ...]."""
    return [key.removeprefix(f"{section}.") for key in _fields(RunConfig) if key.startswith(f"{section}.")]


@cache
def _fields(model: type[Options], prefix: str = "") -> dict[str, bool]:
    """{"section.key": whether it is a group of settings} of all settings and groups."""
    fields: dict[str, bool] = {}
    for name, info in model.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, Options):
            fields |= {f"{prefix}{name}": True, **_fields(group, f"{prefix}{name}.")}
        else:
            fields[f"{prefix}{name}"] = False
    return fields


def _build(
    model: type[Configuration], base: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> Configuration:
    fields = _fields(model)
    groups = {key for key, group in fields.items() if group}
    keys = [key for key, group in fields.items() if not group]
    tree: dict[str, Any] = {}
    given = present_names(_flat(overrides or {}, groups))
    settings = {**present_names(_flat(base, groups)), **given}
    open_keys = settings.get("train.auto")
    if isinstance(open_keys, list | tuple):  # a setting that is given is not derived from the data
        settings["train.auto"] = [key for key in open_keys if not isinstance(key, str) or key not in given]
    for key, value in settings.items():
        if key not in keys:
            raise ConfigError(f"there is no setting {key!r}.{_hint(key, keys)}")
        *parents, name = key.split(".")
        branch = tree
        for group in parents:
            branch = branch.setdefault(group, {})
        branch[name] = value
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(dict.fromkeys(_complaint(model, e) for e in error.errors()))) from error


def _hint(key: str, keys: Sequence[str]) -> str:
    """`" Did you mean 'section.key'?"` for a key in the wrong section or without one, else the nearest keys."""
    name = str(key).rpartition(".")[2]
    same = [RENAMED.get(known, known) for known in (*keys, *RENAMED) if known.rpartition(".")[2] == name]
    same = [known for known in same if known in keys]
    return f" Did you mean {same[0]!r}?" if same else did_you_mean(str(key), keys)


def _complaint(model: type[Options], error: Any) -> str:
    """One line on a value: what its field takes, where pydantic's words are only about types and bounds."""
    ours, value = error.get("ctx", {}).get("error"), error["input"]
    if ours is not None and isinstance(value, Mapping):  # contradictory settings
        return str(ours)
    field, key = _field(model, error["loc"])
    takes = "expected " + expected(field.annotation, field.metadata).replace("None", "null") if field else ""
    said = ours or (takes if error["msg"].startswith("Input should be") else error["msg"])
    words = error.get("ctx", {}).get("expected", "") if error["type"] == "literal_error" else ""
    near = did_you_mean(value, re.findall("'([^']+)'", words)) if isinstance(value, str) and words else ""
    return f"{key}: {said}, got {_brief(value)}{'.' + near if 'Did you' in near else ''}"


def _field(model: type[Options], where: Sequence[int | str]) -> tuple[FieldInfo | None, str]:
    """The field of an error, and its name; what follows in pydantic's place are branches of its type."""
    names, field = [], None
    for name in where:
        known = getattr(field.annotation if field else model, "model_fields", {})
        if name not in known:
            break
        names.append(str(name))
        field = known[name]
    return field, ".".join(names)


def _brief(value: object) -> str:
    return text if len(text := repr(value)) <= 80 else f"{text[:80]}..."
