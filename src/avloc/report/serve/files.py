"""The file, byte range and content type of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".txt": "text/plain",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".ogv": "video/ogg",
}
"""Content types by suffix; everything else is application/octet-stream."""


def find_file(target: str, page: Path, served: Mapping[str, Path]) -> Path | None:
    """The requested file, or None. Only files inside `page`, with symlinks resolved, and those in `served`.

    Raises:
        ValueError: the target cannot be parsed.
    """
    path = unquote(urlsplit(target).path, errors="replace")
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") or "\\" in part or "\0" in part or ":" in part for part in parts):
        return None
    name = "/".join(parts) or "index.html"
    if name in served:
        return served[name] if served[name].is_file() else None
    try:
        file = (page / name).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle, before Python 3.13
        return None
    hidden = any(part.startswith(".") for part in parts)
    return file if file.is_relative_to(page.resolve()) and file.is_file() and not hidden else None


def byte_span(header: str | None, size: int) -> tuple[int, int, bool] | None:
    """(start, stop, whether it is partial) of a Range header; None if it cannot be satisfied."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):  # absent, several ranges or other units: send the whole file
        return 0, size, False
    first, last = (digits[:18] for digits in match.groups())  # larger than any file
    start = max(0, size - int(last)) if not first else int(first)
    stop = size if not last or not first else min(size, int(last) + 1)
    return (start, stop, True) if start < stop else None


def kind_of(file: Path) -> str:
    return _TYPES.get(file.suffix.lower(), "application/octet-stream")
