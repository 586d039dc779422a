"""Backbones: what turns snippets into vectors. One more backbone is one more class here or anywhere else.

A backbone says what it wants (frame rate and size, or sample rate and window), gets batches of snippets, and returns
one row each. It knows nothing of files or of time. Weights, if any, load when it is made, not when it is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.errors import InputError, did_you_mean

__all__ = ["BACKBONES", "AudioBackbone", "Backbone", "VisualBackbone", "load_backbone"]


@runtime_checkable
class Backbone(Protocol):
    """What both kinds have.

    Args:
        name: as in `BACKBONES` and in each feature file's source.
        modality: "visual" or "audio".
        size: channels that come out.
        licence: of the weights if there are any, else of the code.
        weights: where they are from, for people; None if there are none.
    """

    name: str
    modality: str
    size: int
    licence: str
    weights: str | None


@runtime_checkable
class VisualBackbone(Backbone, Protocol):
    """Wants pictures. Exactly one of `frame_rate` and `frames_per_snippet` is set.

    Args:
        frame_rate: pictures per second; a snippet gets round(step_s * frame_rate) of them, at least one.
        frames_per_snippet: pictures in each snippet, evenly spread over its step, the first at its start.
        frame_size: (h, w) in pixels, or the short side (the other follows the video's aspect).
    """

    frame_rate: Fraction | None
    frames_per_snippet: int | None
    frame_size: tuple[int, int] | int

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """RGB snippets -> one finite row each."""
        ...


@runtime_checkable
class AudioBackbone(Backbone, Protocol):
    """Wants sound.

    Args:
        rate_hz: samples per second, mono.
        window_s: length of the window centred on a snippet; None for the snippet's own length.
    """

    rate_hz: int
    window_s: Fraction | None

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n size"]:
        """Windows of sound, full scale [-1, 1] -> one finite row each."""
        ...


def _logmel() -> AudioBackbone:
    from avloc.media.backbones.logmel import LogMel

    return LogMel()


def _appearance() -> VisualBackbone:
    from avloc.media.backbones.appearance import Appearance

    return Appearance()


BACKBONES: dict[str, Callable[[], VisualBackbone | AudioBackbone]] = {
    "appearance": _appearance,
    "logmel": _logmel,
}
"""name -> a function that makes it; imports happen when it is called."""


def load_backbone(name: str) -> VisualBackbone | AudioBackbone:
    """The backbone called `name`. InputError, with its nearest neighbours, if there is none."""
    if name not in BACKBONES:
        raise InputError(f"no backbone {name!r}.{did_you_mean(name, BACKBONES)}")
    return BACKBONES[name]()
