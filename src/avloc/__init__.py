"""avloc: when do actions happen in untrimmed video, by sight and by sound, from video-level labels alone."""

from __future__ import annotations

__version__ = "0.1.0"
