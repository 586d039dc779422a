"""What a backbone is, and the card that says so before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.features.weights import WeightFile

__all__ = ["AudioBackbone", "Backbone", "Card", "Setup", "VisualBackbone"]


@runtime_checkable
class Backbone(Protocol):
    """What both kinds have.

    Args:
        name: as in the catalogue and in each feature file's source.
        modality: "visual" or "audio".
        size: channels that come out.
        licence: of the weights if there are any, else of the code.
        weights: which file was loaded, with its SHA-256; None if there are none.
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

    A backbone may also have `frames_after`: how many of the following snippet's pictures it wants besides (optical
    flow wants one: between n pictures there are only n - 1 motions). They come last in `frames`; 0 when absent.
    """

    frame_rate: Fraction | None
    frames_per_snippet: int | None
    frame_size: tuple[int, int] | int

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """RGB snippets -> one finite row each. The batch is read-only and its memory is used again."""
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


@dataclass(frozen=True)
class Setup:
    """How a backbone is to be loaded.

    Args:
        weights: {name of a weight file: path}, "*" for every name; see features/weights.py.
        device: "auto" (cuda when there), "cpu", "cuda", "cuda:1", ...
        precision: "float32", "bfloat16", or "auto": bfloat16 on a GPU that has it for the hub's transformers, float32
            for the networks whose published features are to be met.
        compile: whether torch.compile is used.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False


@dataclass(frozen=True)
class Card:
    """A backbone in the catalogue, before it is loaded.

    Args:
        size: channels that come out; with the default weights where that depends on them.
        wants: pictures or sound it is given, in words.
        weights: files it needs; hub models name a repository in `hub` instead.
        needs: modules beyond the core that must be installed, and the extra that installs them.
        load: makes it; weights load here and not at import.
    """

    name: str
    modality: str
    size: int
    wants: str
    licence: str
    load: Callable[[Setup], VisualBackbone | AudioBackbone]
    weights: tuple[WeightFile, ...] = ()
    hub: str | None = None
    needs: tuple[str, ...] = ()
    extra: str = ""
