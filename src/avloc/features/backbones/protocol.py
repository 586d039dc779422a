"""Interfaces of backbones, and the card that describes a backbone before it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.config import Normalization
from avloc.features.weights import WeightFile
from avloc.types import FIRST_VERSION


@runtime_checkable
class Backbone(Protocol):
    """Attributes of every backbone.

    Args:
        name: as in the catalogue and in the source of each feature file.
        modality: "visual" or "audio".
        size: output channels.
        licence: of the weights, or of the code if there are no weights.
        weights: loaded file with its SHA-256; None if there are no weights.

    A backbone that gives other rows than it used to also has `version`: "2", "3", ...; "1" if absent. Features of
    different versions are not mixed.
    """

    name: str
    modality: str
    size: int
    licence: str
    weights: str | None


@runtime_checkable
class VisualBackbone(Backbone, Protocol):
    """Maps frames to rows. Exactly one of `frame_rate` and `frames_per_snippet` is set.

    Args:
        frame_rate: fps; a snippet has round(step_s * frame_rate) frames, at least one.
        frames_per_snippet: frames per snippet, evenly spaced over its step, the first at its start.
        frame_size: (h, w) in pixels, or the short side (the other follows from the video's aspect ratio).

    A backbone may also have `frames_before` and `frames_after`: additional frames from the neighbouring snippets, for
    differences between frames (n frames have only n - 1). They come first and last in `frames`; 0 if absent. At the
    ends of the video its first and last frame are repeated.
    """

    frame_rate: Fraction | None
    frames_per_snippet: int | None
    frame_size: tuple[int, int] | int

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """RGB snippets -> one finite row each. The batch is read-only and its memory is reused."""
        ...


@runtime_checkable
class AudioBackbone(Backbone, Protocol):
    """Maps audio windows to rows.

    Args:
        rate_hz: sample rate, mono.
        window_s: length of the window centred on a snippet; None for the length of the snippet.

    With window_s None, a backbone may also have `margin_s`: further audio on either side of the snippet.
    """

    rate_hz: int
    window_s: Fraction | None

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n size"]:
        """Audio windows in [-1, 1] -> one finite row each."""
        ...


@runtime_checkable
class WindowedAudioBackbone(Backbone, Protocol):
    """Wants long windows of audio and returns several rows for each, which are averaged over the snippets.

    Args:
        rate_hz: samples per second, mono.
        window_s: length of a window; audio that is shorter comes as one window of its own length.
        row_s: seconds from one row to the next.
        first_s: time of row 0's centre, from the start of the window.
    """

    rate_hz: int
    window_s: Fraction
    row_s: Fraction
    first_s: Fraction

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n rows size"]:
        """Windows of audio, full scale [-1, 1] -> finite rows, as many as cover the window."""
        ...


AnyBackbone = VisualBackbone | AudioBackbone | WindowedAudioBackbone


@dataclass(frozen=True)
class Setup:
    """Options for loading a backbone.

    Args:
        weights: {name of a weight file: path}, "*" for every name; see features/weights.py.
        device: "auto" (cuda if available), "cpu", "cuda", "cuda:1", ...
        precision: "float32", "bfloat16", or "auto": bfloat16 for hub models on a GPU that supports it, float32 for the
            networks that reproduce published features.
        compile: whether to use torch.compile.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False


@dataclass(frozen=True)
class Card:
    """Catalogue entry of a backbone, available before it is loaded.

    Args:
        size: output channels; with the default weights if it depends on them.
        wants: description of its input.
        weights: files it needs; hub models name a repository in `hub` instead.
        needs: additional modules it needs, and the extra that installs them.
        load: constructs it and loads its weights.
        normalize: how a model scales its features where `model.visual_normalize` is "auto". "l2" for the output of a
            network, whose length means little; "scale" where a row's length is a measurement.
        version: as in `Backbone`.
    """

    name: str
    modality: str
    size: int
    wants: str
    licence: str
    load: Callable[[Setup], AnyBackbone]
    weights: tuple[WeightFile, ...] = ()
    hub: str | None = None
    needs: tuple[str, ...] = ()
    extra: str = ""
    normalize: Normalization = "l2"
    version: str = FIRST_VERSION
