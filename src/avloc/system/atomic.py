"""Files appear whole or not at all: written beside the target, flushed to the disk, then renamed.

Everything that avloc leaves on a disk goes through here, so that a process may be killed at any moment and no later one
reads half a file. What a killed process had begun stays behind under a hidden name that ends in `.part`; `sweep`
removes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avloc.errors import InputError, StorageError

__all__ = ["atomic_path", "atomic_write", "canonical_safetensors", "inside", "make_folder", "storing", "sweep"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN}
MOST_NAME_BYTES = 255
"""Of one part of a path, on every file system in use."""

_PART = re.compile(r"\..+\.([0-9a-f]{6})-(\d+)-[0-9a-f]{8}\.part")


def inside(folder: Path, name: str) -> Path:
    """The path of `name` under a folder; a name may have folders of its own, but never leads out.

    Raises:
        InputError: it does: "../x", "/x"; or it is longer than a file's name may be.
    """
    path = folder / name
    parts = Path(name).parts
    # the last part may be a link: what is written there takes the link's place
    if "\0" in name or ".." in parts or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"the name {name!r} leads out of {folder}: expected one that stays inside; rename the video")
    longest = max((len(os.fsencode(part)) for part in parts), default=0)
    if longest > MOST_NAME_BYTES:
        raise InputError(
            f"the name {name!r} has {longest} bytes, and a file's may have {MOST_NAME_BYTES}: rename the video"
        )
    return path


@contextmanager
def atomic_path(path: Path | str, keep: Path | None = None) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends well, and is removed when it does not.

    The temporary file is hidden, ends in `.part`, and lies in the target's folder, so that renaming never copies
    and no search for finished files finds it. The folder is made when it is missing.

    Args:
        keep: the file that was at `path` is renamed to this, just before the new one takes its place.

    Raises:
        StorageError: the disk is full, read-only or gone. InputError: the path cannot be written to.
    """
    target = Path(path)
    short = os.fsencode(target.name)[:100].decode(errors="ignore")
    part = target.parent / f".{short}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    with storing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with part.open("rb+") as file:  # else a power cut may leave the new name on an empty file
                os.fsync(file.fileno())
            if keep is not None and target.exists():
                target.replace(keep)
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def atomic_write(path: Path | str, content: bytes | str, keep: Path | None = None) -> None:
    """Write all of a file at once; text as UTF-8 with the line ends it has. Otherwise as `atomic_path`.

    Bytes of a file's name that are no characters, which Python holds as halves of such, are spelt out: "\\udcff".
    """
    with atomic_path(path, keep) as part:
        part.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextmanager
def storing(target: Path) -> Iterator[None]:
    """What the system says when a file cannot be written, in words for a person.

    Raises:
        StorageError: instead of an OSError by which no other file could be written either.
        InputError: instead of any other OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise StorageError(f"cannot write {target}: {reason}; make room and run the same command again") from error
        if error.errno in _GONE:
            raise StorageError(f"cannot write {target}: {reason}; mend the disk, or choose another -o") from error
        advice = "rename what it is of" if error.errno == errno.ENAMETOOLONG else "choose a folder that is writable"
        raise InputError(f"cannot write {target}: {reason}; {advice}") from error


def make_folder(folder: Path, what: str = "") -> None:
    """Make a folder for results and see that it can be written to, before hours of work and not after.

    Args:
        what: what should lie there, for the message.

    Raises:
        InputError: it cannot be made, or nothing can be written into it.
    """
    probe = folder / f".writable-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        words = f"{what} there" if what else "there"
        raise InputError(f"{folder}: cannot write {words} ({error.strerror}); choose another -o") from error


def sweep(folder: Path) -> int:
    """Remove what killed processes of this machine left half-written in a folder and below; returns how many files."""
    removed = 0
    for part in folder.rglob(".*.part"):
        match = _PART.fullmatch(part.name)
        if match and match[1] == _machine() and not _alive(int(match[2])):
            part.unlink(missing_ok=True)
            removed += 1
    return removed


def canonical_safetensors(content: bytes) -> bytes:
    """A safetensors file with its header in alphabetical order: the same tensors and words are then the same bytes.

    The library writes metadata in an order that changes from process to process.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    words = header.encode()
    words += b" " * (-len(words) % 8)
    return len(words).to_bytes(8, "little") + words + content[8 + size :]


def _machine() -> str:
    """Where process numbers mean something: this machine, or this container on it."""
    with suppress(OSError):
        return hashlib.sha256(f"{socket.gethostname()} {os.stat('/proc/self/ns/pid').st_ino}".encode()).hexdigest()[:6]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
