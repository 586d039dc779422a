"""Files that claim to hold, or would unfold to, far more than they are: refused before memory is taken for it."""

from __future__ import annotations

import zlib
from pathlib import Path

from avloc.errors import FormatError

__all__ = ["FREE_BYTES", "check_growth", "gunzip"]

FREE_BYTES = 128 << 20
"""Whatever the file's size, so much is taken."""

MOST_GROWTH = 60
"""Beyond that, so many times the bytes in the file. Text shrinks by less than 30 in gzip, zeros by 1,000."""

_BLOCK = 1 << 20


def check_growth(path: Path | str, size: int, there: int, what: str) -> None:
    """Refuse `size` bytes made of `there` bytes in the file.

    Raises:
        FormatError: it is too much more.
    """
    if size > FREE_BYTES + MOST_GROWTH * there:
        raise FormatError(
            f"{path}: {what} claims {size} bytes, made of {there} in the file; refused. If it is what it should be, "
            "save it without compression"
        )


def gunzip(path: Path) -> bytes:
    """The content of a .gz file.

    Raises:
        FormatError: it unfolds to far more than it is. zlib.error, EOFError: it is damaged.
    """
    there = path.stat().st_size
    unfolding = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        while block := unfolding.unconsumed_tail or unfolding.unused_data or file.read(_BLOCK):
            if unfolding.eof:  # several members, one after the other
                unfolding = zlib.decompressobj(wbits=31)
            parts.append(unfolding.decompress(block, _BLOCK))
            size += len(parts[-1])
            check_growth(path, size, there, "its compressed content")
    if not unfolding.eof:
        raise EOFError("the compressed content breaks off")
    return b"".join(parts)
