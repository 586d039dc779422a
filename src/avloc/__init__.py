"""avloc: when do actions happen in untrimmed video, by sight and by sound, from video-level labels alone.

>>> import avloc
>>> result = avloc.load("RUN").localize("video.mp4")  # doctest: +SKIP
>>> [(d.label, d.start_s, d.end_s, d.score) for d in result.detections]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError
from avloc.version import __version__ as __version__

if TYPE_CHECKING:
    from avloc.pipeline.localizer import Localization, Localizer, load

__all__ = ["AvlocError", "Localization", "Localizer", "load"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """`avloc.load` and its kind bring torch along, so they are imported when first asked for."""
    if name in ("Localization", "Localizer", "load"):
        from avloc.pipeline import localizer

        return getattr(localizer, name)
    raise AttributeError(f"module 'avloc' has no attribute {name!r}")
