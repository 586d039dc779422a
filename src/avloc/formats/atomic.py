"""Files appear whole or not at all: write beside the target, then rename."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file", "write_whole"]


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends well, and is removed when it does not.

    The temporary file is hidden, ends in `.part`, and lies in the target's folder, so that renaming never copies
    and no search for finished files finds it. The folder is made when it is missing.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{target.name[:100]}.{secrets.token_hex(4)}.part"
    try:
        yield part
        with part.open("rb+") as file:  # else a power cut may leave the new name on an empty file
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path | str, content: bytes | str) -> None:
    """Write all of a file at once; text as UTF-8 with the line ends it has."""
    with whole_file(path) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
