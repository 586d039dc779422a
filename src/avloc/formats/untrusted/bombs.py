"""Decompression bombs: refuse files that would expand to far more than their size, before memory is allocated."""

from __future__ import annotations

import zlib
from pathlib import Path

from avloc.errors import FormatError

FREE_BYTES = 128 << 20
"""Accepted for any file."""

MOST_GROWTH = 60
"""Accepted beyond `FREE_BYTES`: this many times the file's size. gzip shrinks text by less than 30, zeros by 1,000."""

_BLOCK = 1 << 20


def check_growth(path: Path | str, size: int, there: int, what: str) -> None:
    """Refuse to expand `there` bytes of the file to `size` bytes if that is too much.

    Raises:
        FormatError: above the limit.
    """
    if size > FREE_BYTES + MOST_GROWTH * there:
        raise FormatError(
            f"{path}: {what} would expand from {there} to {size} bytes, above the limit; if the file is right, save it "
            "without compression"
        )


def gunzip(path: Path) -> bytes:
    """The content of a .gz file.

    Raises:
        FormatError: it expands to far more than its size. zlib.error, EOFError: damaged.
    """
    there = path.stat().st_size
    gzip = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        while block := gzip.unconsumed_tail or gzip.unused_data or file.read(_BLOCK):
            if gzip.eof:  # a further member
                gzip = zlib.decompressobj(wbits=31)
            parts.append(gzip.decompress(block, _BLOCK))
            size += len(parts[-1])
            check_growth(path, size, there, "its compressed content")
    if not gzip.eof:
        raise EOFError("the compressed content is truncated")
    return b"".join(parts)
