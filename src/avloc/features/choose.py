"""`auto`: for each modality the best backbone that is here, or can be had without asking."""

from __future__ import annotations

import logging
from pathlib import Path

from avloc.config import AUTO, ExtractConfig
from avloc.errors import FormatError, InputError
from avloc.features.backbones import card
from avloc.features.backbones import download as fetch_weights
from avloc.features.backbones.hub_files import find_cached
from avloc.features.weights import find, resolve
from avloc.formats.features import FeatureStore
from avloc.types import Progress

CHOICES = {"visual": ("efficientnet-lite0", "appearance"), "audio": ("efficientat-mn04", "logmel")}
"""{modality: (best, fallback)}. The best need a few MB of weights, the fallbacks none (docs/backbones.md)."""

_log = logging.getLogger("avloc.extract")


def without_auto(
    options: ExtractConfig, out: Path | None = None, progress: Progress | None = None, download: bool = True
) -> ExtractConfig:
    """The options with the names of backbones in place of `auto`.

    A folder that holds features keeps the backbones they were made with. Otherwise the weights of the best backbone are
    downloaded if they are not here; if that fails, the fallback is used, with a warning.

    Args:
        out: folder of features.
        progress: called with (kB received, kB in all, file) during a download.
        download: False takes the best backbone where its weights could be downloaded.
    """
    chosen = {
        modality: _made_with(out, modality) or _best(modality, options, progress, download)
        for modality in ("visual", "audio")
        if getattr(options, modality) == AUTO
    }
    return options.model_copy(update=chosen)


def available(modality: str) -> tuple[str, bool]:
    """The best backbone of a modality, and whether its weights are here; nothing is downloaded."""
    best, _ = CHOICES[modality]
    return best, all(find(weights, {}) is not None for weights in card(best).weights)


def require_here(options: ExtractConfig, download: bool) -> None:
    """Check that the weights of backbones that a model names, not the user, are on this machine.

    Args:
        download: fetch them if they are not. Of the hub, only the repositories in the catalogue.

    Raises:
        InputError: they are missing, and must not be or cannot be fetched.
    """
    for name in filter(None, (options.visual, options.audio)):
        entry, (stem, _, _) = card(name), name.partition(":")
        if {name, stem, "*"} & set(options.weights):
            continue
        urls = [weights.url for weights in entry.weights if find(weights, {}) is None and weights.url]
        if entry.hub is not None and find_cached(entry.hub) is None:
            urls = [f"https://huggingface.co/{entry.hub}"]
        if not urls:
            continue
        if entry.hub is not None and entry.hub != card(stem).hub:
            raise InputError(
                f"the model names the backbone {name}, which is not on this machine; {urls[0]} is not in avloc's "
                f"catalogue, and a model cannot make avloc fetch it. If you trust it: avloc backbones --download {name}"
            )
        if not download:
            raise InputError(
                f"the model names the backbone {name}, whose weights are not on this machine; add --allow-download to "
                f"fetch {', '.join(urls)}, or run: avloc backbones --download {name}"
            )
        fetch_weights(name)


def _made_with(out: Path | None, modality: str) -> str:
    """Backbone of the features in a folder; "" if there are none, or if they are of several."""
    if out is None or not any(out.glob("*.safetensors")):
        return ""
    try:
        description = FeatureStore(out).describe()
    except (InputError, FormatError):
        return ""  # `extract` reports these files one by one
    return description.visual_source if modality == "visual" else description.audio_source


def _best(modality: str, options: ExtractConfig, progress: Progress | None, download: bool) -> str:
    best, fallback = CHOICES[modality]
    try:
        for weights in card(best).weights:
            if download or not weights.url:
                resolve(weights, options.weights, progress)
    except InputError as error:
        if best in options.weights:  # named by the user, so not to be passed over
            raise
        _log.warning(
            "%s features: %s, which needs no weights and is far less accurate, because %s is not available: %s",
            *(modality, fallback, best, error),
        )
        return fallback
    return best
