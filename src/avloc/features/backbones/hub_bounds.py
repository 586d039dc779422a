"""Bounds on what a stranger's model folder states, checked before transformers builds anything from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avloc.errors import InputError
from avloc.features.backbones.hub_files import TOKENIZERS, read_json

_LIMITS = (
    (re.compile("layer|depth"), 200),
    (re.compile("(image|crop|spec)_size|height|width"), 2_048),
    (re.compile("frames|mel_bins|fft|feature_size"), 4_096),
    (re.compile("^max_length$"), 20_000),
    (re.compile("length_s$"), 120),
    (re.compile(""), 10_000_000),
)
"""Largest absolute value of a number, by its key; several times what published models have."""

_MOST_TOKENS, _MOST_PIXELS = 2**15, 2**26
"""Of the input of a visual model; V-JEPA 2's largest has 18,432 tokens of 9.4 million pixels."""

_FREE_WEIGHTS = 10_000_000
"""Weights of a network beyond twice those in its files."""

_MOST_TOKENIZER_BYTES = 256 << 20
_MOST_GROWTH = 1_000
"""Of a text that a tokenizer normalizes."""


def check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse numbers beyond `_LIMITS`, NaN, and inputs too large to compute.

    Raises:
        InputError: with the key.
    """
    for key, value in _numbers(config):
        most = next(limit for name, limit in _LIMITS if name.search(key))
        if not math.isfinite(value) or abs(value) > most:
            raise InputError(f"{path}: expected {key} of at most {most}, got {value!r:.40}")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        side, patch = (_first(part, *keys) for keys in (("crop_size", "image_size"), ("patch_size",)))
        frames, tube = _first(part, "frames_per_clip", "num_frames"), _first(part, "tubelet_size")
        tokens = (side // patch) ** 2 * (frames // tube or 1)
        if tokens > _MOST_TOKENS or side**2 * frames > _MOST_PIXELS:
            raise InputError(
                f"{path}: expected an input of at most {_MOST_TOKENS} tokens and {_MOST_PIXELS} pixels, got {tokens} "
                f"and {side**2 * frames}"
            )


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    todo: list[tuple[str, Any]] = list(config.items())
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, list):
            todo += [(key, item) for item in value]
        elif isinstance(value, int | float):
            yield key, value


def _first(config: Mapping[str, Any], *keys: str) -> int:
    """The first of these settings that is there, at least 1; of a pair the larger one."""
    value = next((config[key] for key in keys if config.get(key)), 1)
    sizes = value if isinstance(value, list) else [value]
    return max(1, *(int(size) for size in sizes if isinstance(size, int | float)), 1)


def check_size(folder: Path, build: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> None:
    """Refuse a network of more weights than its files hold, without taking memory for it.

    Args:
        build: makes the network. state: tensors of all weight files.

    Raises:
        InputError: it does.
    """
    with torch.device("meta"):
        wanted = sum(weight.numel() for weight in build().parameters())
    there = sum(tensor.numel() for tensor in state.values())
    if wanted > 2 * there + _FREE_WEIGHTS:
        raise InputError(f"{folder}: its configuration is of a network of {wanted} weights, its files hold {there}")


def check_tokenizer(folder: Path) -> None:
    """Refuse files too large to read, and replacements that multiply a text.

    Raises:
        InputError, FormatError: with the file.
    """
    for path in (folder / name for name in TOKENIZERS):
        if not path.is_file():
            continue
        if (size := path.stat().st_size) > _MOST_TOKENIZER_BYTES:
            raise InputError(f"{path}: expected a tokenizer of at most {_MOST_TOKENIZER_BYTES} bytes, got {size}")
        if path.suffix == ".json":
            _check_work(path, read_json(path, "the JSON of a tokenizer"))


def _check_work(path: Path, tokenizer: Mapping[str, Any]) -> None:
    """Refuse replacements that make a text far longer. (Patterns that backtrack end at a limit of the library.)"""
    growth, todo = 1.0, [tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            growth = min(1e300, growth * max(1, *(len(str(part.get(key, ""))) for key in ("content", "prepend")), 1))
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    if growth > _MOST_GROWTH:
        raise InputError(f"{path}: its normalizers make a text up to {growth:.3g} times as long; refused")
