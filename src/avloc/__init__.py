"""avloc: when do actions happen in untrimmed video, by sight and by sound, from video-level labels alone.

>>> import avloc
>>> result = avloc.load("RUN").localize("video.mp4")  # doctest: +SKIP
>>> [(d.label, d.start_s, d.end_s, d.score) for d in result.detections]  # doctest: +SKIP

    extract    videos to features
    train      features and labels.csv to a run
    load       a run, a published model or a model on the hub, as a Localizer
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError
from avloc.version import __version__ as __version__

if TYPE_CHECKING:
    from avloc.features.simple import extract
    from avloc.formats.failures import Failure
    from avloc.pipeline.localization import Localization
    from avloc.pipeline.localizer import Localizer, load
    from avloc.pipeline.prompts import zero_shot
    from avloc.pipeline.published import About
    from avloc.tagging.folder import TaggedVideos, tag
    from avloc.train.simple import train

_HOMES = {
    "About": "avloc.pipeline.published",
    "Failure": "avloc.formats.failures",
    "Localization": "avloc.pipeline.localization",
    "Localizer": "avloc.pipeline.localizer",
    "TaggedVideos": "avloc.tagging.folder",
    "extract": "avloc.features.simple",
    "load": "avloc.pipeline.localizer",
    "tag": "avloc.tagging.folder",
    "zero_shot": "avloc.pipeline.prompts",
}
"""Names that bring torch along, so they are imported when first asked for."""

__all__ = [
    "About",
    "AvlocError",
    "Failure",
    "Localization",
    "Localizer",
    "TaggedVideos",
    "extract",
    "load",
    "tag",
    "train",
    "zero_shot",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "train":
        return import_module("avloc.train")  # the package, which can be called: see there
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'avloc' has no attribute {name!r}")
