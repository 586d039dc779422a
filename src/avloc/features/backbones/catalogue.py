"""All backbones by name: built in, from the Hugging Face hub, and from other packages. They load on demand.

Another package adds a backbone through an entry point of the group "avloc.backbones". It names a class or function that
constructs the backbone, with no argument or with a `Setup`; docs/backbones.md has an example of 30 lines.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast, get_args

from avloc.config import Normalization
from avloc.errors import InputError, did_you_mean
from avloc.features.backbones.families import FAMILIES
from avloc.features.backbones.hub_files import find_cached
from avloc.features.backbones.protocol import (
    AnyBackbone,
    AudioBackbone,
    Card,
    Setup,
    VisualBackbone,
    WindowedAudioBackbone,
)
from avloc.features.backbones.sources import (
    EFFICIENTAT,
    EFFICIENTNET_LITE0,
    I3D_FLOW,
    I3D_RGB,
    RESNET152,
    VGGISH,
    VGGISH_PCA,
)
from avloc.features.weights import find, resolve
from avloc.types import FIRST_VERSION, Progress

ENTRY_POINTS = "avloc.backbones"


def _logmel(setup: Setup) -> AudioBackbone:
    from avloc.features.backbones.logmel import LogMel

    return LogMel()


def _appearance(setup: Setup) -> VisualBackbone:
    from avloc.features.backbones.appearance import Appearance

    return Appearance()


def _vggish(pca: bool, setup: Setup) -> AudioBackbone:
    from avloc.features.backbones.vggish import Vggish

    return Vggish(setup, pca)


def _resnet(setup: Setup) -> VisualBackbone:
    from avloc.features.backbones.resnet import ResNet152

    return ResNet152(setup)


def _i3d(streams: str, flow: Any, setup: Setup) -> VisualBackbone:
    from avloc.features.backbones.i3d import I3d

    return I3d(setup, streams, flow)


def _efficientnet(setup: Setup) -> VisualBackbone:
    from avloc.features.backbones.efficientnet import EfficientNetLite0

    return EfficientNetLite0(setup)


def _efficientat(width: str, setup: Setup) -> WindowedAudioBackbone:
    from avloc.features.backbones.efficientat import EfficientAt

    return EfficientAt(width, setup)


def _hub(name: str, setup: Setup) -> AnyBackbone:
    from avloc.features.backbones.hub import load_hub

    return load_hub(name, setup)


def _i3d_card(name: str, streams: str, flow: str) -> Card:
    return Card(
        name,
        "visual",
        2048 if streams == "both" else 1024,
        "25 fps (16 frames per 0.64 s snippet), 224 px" + (f", {flow} flow" if streams != "rgb" else ""),
        "Apache-2.0",
        partial(_i3d, streams, flow),
        weights={"rgb": (I3D_RGB,), "flow": (I3D_FLOW,), "both": (I3D_RGB, I3D_FLOW)}[streams],
        needs=() if streams == "rgb" else ("cv2",),
        extra="" if streams == "rgb" else "flow",
    )


def _hub_card(name: str, repository: str = "") -> Card:
    family = FAMILIES[name.partition(":")[0]]
    wants = f"10 s at {family.rate_hz // 1000} kHz" if family.rate_hz else f"{family.frame_rate} fps"
    if family.frames:
        wants = f"{family.frames} frames per snippet"
    hub = repository or family.repository
    needs = ("transformers", *family.needs)
    return Card(
        name, family.modality, family.size, wants, family.licence, partial(_hub, name), hub=hub, needs=needs, extra="hf"
    )


_CARDS = [
    Card("appearance", "visual", 584, "12 fps, 96 x 128", "Apache-2.0", _appearance, normalize="scale", version="2"),
    Card("logmel", "audio", 256, "the snippet's audio at 16 kHz", "Apache-2.0", _logmel, version="2"),
    Card("efficientnet-lite0", "visual", 1280, "2 fps, 224 px", "Apache-2.0", _efficientnet, (EFFICIENTNET_LITE0,)),
    *(
        Card(f"efficientat-{width}", "audio", size, "10 s at 32 kHz", "MIT", partial(_efficientat, width), (weights,))
        for (width, weights), size in zip(EFFICIENTAT.items(), (384, 960), strict=True)
    ),
    Card("vggish", "audio", 128, "0.975 s at 16 kHz", "Apache-2.0", partial(_vggish, False), (VGGISH,)),
    Card("vggish-pca", "audio", 128, "0.975 s at 16 kHz", "Apache-2.0", partial(_vggish, True), (VGGISH, VGGISH_PCA)),
    Card("resnet152", "visual", 2048, "16 fps, 224 px", "BSD-3-Clause", _resnet, (RESNET152,)),
    _i3d_card("i3d", "both", "tvl1"),
    _i3d_card("i3d-rgb", "rgb", "tvl1"),
    _i3d_card("i3d-flow", "flow", "tvl1"),
    _i3d_card("i3d-dis", "both", "dis"),
    _i3d_card("i3d-flow-dis", "flow", "dis"),
    *(_hub_card(name) for name in FAMILIES),
]

BACKBONES: dict[str, Card] = {entry.name: entry for entry in _CARDS}
"""Backbones that come with avloc."""


def all_backbones() -> dict[str, Card]:
    """`BACKBONES` and those of other packages. Raises InputError for a package that reuses a name."""
    from importlib.metadata import entry_points

    cards = dict(BACKBONES)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in cards:
            raise InputError(
                f"{point.value}: the entry point {point.name!r} has the name of another backbone; rename it"
            )
        cards[point.name] = _foreign_card(point)
    return cards


def _foreign_card(point: Any) -> Card:
    """Card from the attributes of an entry point. One that cannot be imported is listed with the reason."""
    try:
        maker = point.load()
    except Exception as error:
        return _broken_card(point, f"{point.value} does not import: {type(error).__name__}: {error}")
    if isinstance(maker, Card):
        return maker
    normalize = getattr(maker, "normalize", "l2")
    if normalize not in get_args(Normalization):
        known = ", ".join(get_args(Normalization))
        return _broken_card(point, f"{point.value}: normalize should be one of {known}, is {normalize!r}")
    facts = {key: getattr(maker, key, None) for key in ("modality", "size", "licence")}
    return Card(
        point.name,
        str(facts["modality"] or "?"),
        facts["size"] if isinstance(facts["size"], int) else 0,
        f"from {point.value.partition(':')[0]}",
        str(facts["licence"] or "?"),
        partial(_make_foreign, point.name, maker),
        normalize=cast(Normalization, normalize),
        version=str(getattr(maker, "version", FIRST_VERSION)),
    )


def _broken_card(point: Any, reason: str) -> Card:
    return Card(point.name, "?", 0, reason, "?", partial(_broken, reason))


def _broken(reason: str, setup: Setup) -> VisualBackbone:
    raise InputError(f"{reason}; repair or remove that package")


def _make_foreign(name: str, maker: Any, setup: Setup) -> AnyBackbone:
    made = maker(setup) if inspect.signature(maker).parameters else maker()
    if getattr(made, "name", None) != name:
        raise InputError(
            f"backbone {name!r}: its `name` is {getattr(made, 'name', None)!r}; use the same name for both"
        )
    kinds = {"visual": VisualBackbone, "audio": AudioBackbone}
    kind = kinds.get(getattr(made, "modality", ""))
    if kind is None or not isinstance(made, kind):
        raise InputError(
            f"backbone {name!r} does not implement the protocol: expected modality, size, licence, weights, and "
            "frame_rate, frames_per_snippet, frame_size (visual) or rate_hz, window_s (audio)"
        )
    return cast(AnyBackbone, made)


def card(name: str) -> Card:
    """The card of `name`; hub families also as "family:owner/repository".

    Raises:
        InputError: unknown name; the message suggests similar ones.
    """
    stem, colon, repository = name.partition(":")
    if colon and stem in FAMILIES and repository:
        return _hub_card(name, repository)
    cards = BACKBONES if name in BACKBONES else all_backbones()
    if name not in cards:
        raise InputError(f"no backbone {name!r}.{did_you_mean(name, cards)}")
    return cards[name]


def load_backbone(name: str, setup: Setup | None = None) -> AnyBackbone:
    """Load the backbone `name` with its weights.

    Raises:
        InputError: unknown name (the message suggests similar ones), missing weights, or a missing module.
    """
    return card(name).load(setup or Setup())


def download(name: str, progress: Progress | None = None) -> tuple[Path, ...]:
    """Fetch the weights of a backbone, if they are not here, and check their hashes.

    Returns:
        Where they are: files, or the folder of a hub model.

    Raises:
        InputError: no such backbone, or the weights cannot be downloaded.
    """
    entry = card(name)
    if entry.hub is not None:
        from avloc.features.backbones.hub import fetch

        return (fetch(name),)
    return tuple(resolve(weights, {}, progress) for weights in entry.weights)


def status(entry: Card, given: Mapping[str, str] | None = None) -> str:
    """Whether a backbone could run now, in words; loads and downloads nothing."""
    lacking = [module for module in entry.needs if find_spec(module) is None]
    if lacking:
        family = FAMILIES.get(entry.name.partition(":")[0])
        alone = [module for module in lacking if family is not None and module in family.needs]  # in no extra
        extra = [f"'avloc[{entry.extra}]'"] if len(alone) < len(lacking) else []
        return f"needs {', '.join(lacking)}: pip install {' '.join([*extra, *alone])}"
    if entry.hub is not None:
        return "available" if find_cached(entry.hub) else f"not available; downloaded from the hub: {entry.hub}"
    missing = [weights.file for weights in entry.weights if find(weights, given or {}) is None]
    if missing:
        return f"not available; downloaded on first use: {', '.join(missing)}"
    return "available" if entry.weights else "needs none"
