"""`avloc view`: the page, served to this machine alone; `server.py` says what is refused."""

from __future__ import annotations

from avloc.serving.corrections import save_corrections
from avloc.serving.files import find_file
from avloc.serving.server import HOST, PageServer

__all__ = ["HOST", "PageServer", "find_file", "save_corrections"]
