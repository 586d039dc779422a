"""`avloc view`: the page, served to this machine only; `server.py` lists what is refused."""

from __future__ import annotations

from avloc.report.serve.corrections import save_corrections
from avloc.report.serve.files import find_file
from avloc.report.serve.retrainer import Retrainer
from avloc.report.serve.server import HOST, PageServer

__all__ = ["HOST", "PageServer", "Retrainer", "find_file", "save_corrections"]
