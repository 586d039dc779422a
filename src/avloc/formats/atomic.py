"""Files appear whole or not at all: write beside the target, then rename."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avloc.errors import InputError

__all__ = ["make_folder", "whole_file", "write_whole"]


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


def make_folder(folder: Path, what: str = "") -> None:
    """Make a folder for results and see that it can be written to, before hours of work and not after.

    Args:
        what: what should lie there, for the message.

    Raises:
        InputError: it cannot be made, or nothing can be written into it.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        words = f"{what} there" if what else "there"
        raise InputError(f"{folder}: cannot write {words} ({error.strerror}); choose another -o") from error
