"""Atomic file writes: to a temporary file beside the target, flushed to disk, then renamed.

Every file that avloc writes goes through this module: a process can be killed at any time without leaving a partial
file under a final name, and files of others are kept (`avloc.system.outputs`). A killed process leaves hidden `.part`
files behind; `sweep` removes them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import socket
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avloc.errors import FormatError, InputError, StorageError, reading
from avloc.system import outputs

MAX_NAME_BYTES = 255
"""Longest component of a path, on every file system in common use."""

MOST_HEADER = 4 << 20
"""Bytes of the header of a safetensors file of features or activations."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of an OSError that say that there is no room."""

_DISK_FAILED = {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN}
_PART = re.compile(r"\..+\.([0-9a-f]{6})-(\d+)-[0-9a-f]{8}\.part")


def inside(folder: Path, name: str) -> Path:
    """The path of `name` below a folder. The name may contain subfolders.

    A file that exists under the decomposed form of the name (Unicode's NFD, as macOS writes) is that file.

    Raises:
        InputError: the path is outside the folder ("../x", "/x"), or a component is too long for a file name.
    """
    path = folder / name
    parts = Path(name).parts
    # the last component may be a symbolic link: writing replaces the link, not its target
    if "\0" in name or ".." in parts or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"the name {name!r} leads out of {folder}: expected a path inside it; rename the video")
    outputs.check_inside(path)
    longest = _longest(name)
    if longest > MAX_NAME_BYTES:
        raise InputError(
            f"the name {name!r} has {longest} bytes, a file name at most {MAX_NAME_BYTES}: rename the video"
        )
    decomposed = unicodedata.normalize("NFD", name)
    if decomposed == name or _longest(decomposed) > MAX_NAME_BYTES or path.exists():
        return path
    return folder / decomposed if (folder / decomposed).exists() else path


def _longest(name: str) -> int:
    """Bytes of the longest component."""
    return max((len(os.fsencode(part)) for part in Path(name).parts), default=0)


@contextmanager
def atomic_path(path: Path | str, keep: Path | None = None) -> Iterator[Path]:
    """Context manager: a temporary path to write to, renamed to `path` on success and removed on failure.

    The temporary file is hidden, ends in `.part`, and is in the target's folder: renaming never copies, and searches
    for finished files skip it. A missing folder is created.

    Args:
        keep: new name for the previous file at `path`, renamed just before it is replaced.

    Raises:
        StorageError: the disk is full, read-only or unavailable. InputError: the path is not writable, or holds a file
            of others in an output folder.
    """
    target = Path(path)
    short = os.fsencode(target.name)[:100].decode(errors="ignore")
    part = target.parent / f".{short}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    with storing(target):
        try:
            outputs.claim(target, *([] if keep is None else [keep]))
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with part.open("rb+") as file:  # without fsync, a power failure can leave an empty file
                os.fsync(file.fileno())
            if keep is not None and target.exists():
                target.replace(keep)
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def atomic_write(path: Path | str, content: bytes | str, keep: Path | None = None) -> None:
    """Write a file atomically; text is encoded as UTF-8, with line ends unchanged. See `atomic_path`.

    Lone surrogates, which Python uses for undecodable bytes of file names, are escaped: "\\udcff".
    """
    with atomic_path(path, keep) as part:
        part.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextmanager
def storing(target: Path) -> Iterator[None]:
    """Context manager: convert an OSError while writing `target` to an error with advice.

    Raises:
        StorageError: the disk is full, read-only or unavailable, so writing any other file would fail too.
        InputError: any other OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise no_room(target, error) from error
        if error.errno in _DISK_FAILED:
            reason = os.strerror(error.errno)
            raise StorageError(f"cannot write {target}: {reason}; repair the disk, or choose another -o") from error
        advice = "use a shorter name" if error.errno == errno.ENAMETOOLONG else "choose a writable folder"
        raise InputError(f"cannot write {target}: {error.strerror or error}; {advice}") from error


def no_room(target: Path | str, error: OSError) -> StorageError:
    """The error for one of `DISK_FULL`."""
    reason = os.strerror(error.errno or 0)  # libraries word it in their own ways
    return StorageError(f"cannot write {target}: {reason}; free space and run the same command again")


def make_folder(folder: Path, what: str = "") -> None:
    """Create a folder for results and check that it is writable, before any work starts.

    Args:
        what: contents of the folder, for the message.

    Raises:
        InputError: the folder cannot be created or is not writable. StorageError: the disk is full.
    """
    probe = folder / f".writable-{secrets.token_hex(4)}"
    outputs.check_inside(probe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise no_room(folder, error) from error
        contents = f"{what} there" if what else "there"
        raise InputError(f"{folder}: cannot write {contents} ({error.strerror}); choose another -o") from error


def claim(paths: Iterable[Path]) -> None:
    """Check that files may be written in an output folder, before the work on them starts; see `outputs.claim`.

    Raises:
        InputError: one of them is a file of others. StorageError: as in `storing`.
    """
    files = list(paths)
    if files:
        with storing(files[0]):
            outputs.claim(*files)


def sweep_beside(path: Path) -> int:
    """Remove temporary files of dead processes for one file, which was named by itself; returns their number."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return _sweep(part for part in beside if part.name.startswith(f".{path.name}."))


def sweep(folder: Path) -> int:
    """Remove temporary files of dead processes of this machine in a folder and below; returns their number."""
    hidden = list(folder.rglob(".*"))
    for new in (path for path in hidden if path.name == outputs.NEW_MANIFEST):
        new.unlink(missing_ok=True)  # if its process lives, it keeps the manifest as it was
    return _sweep(path for path in hidden if path.suffix == ".part")


def _sweep(parts: Iterable[Path]) -> int:
    removed = 0
    for part in parts:
        match = _PART.fullmatch(part.name)
        if match and match[1] == _machine() and not _alive(int(match[2])):
            part.unlink(missing_ok=True)
            removed += 1
    return removed


def canonical_safetensors(content: bytes) -> bytes:
    """A safetensors file with its header sorted, so that equal tensors and metadata give equal bytes.

    The safetensors library writes metadata in an order that varies between processes.
    """
    size = int.from_bytes(content[:8], "little")
    facts = json.loads(content[8 : 8 + size])
    header = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def check_safetensors(path: Path, most: int = MOST_HEADER) -> None:
    """Refuse a safetensors file whose header is too large to be one of tensors with names and facts.

    Raises:
        FormatError: a header of more than `most` bytes. UnreadableError: the file cannot be read.
    """
    with reading(path), path.open("rb") as file:
        claimed, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
    if most < claimed <= size:
        raise FormatError(
            f"{path}: expected a header of at most {most} bytes, got {claimed}; too many tensors or facts"
        )


def _machine() -> str:
    """Identifier of the PID namespace: this machine, or this container on it."""
    with suppress(OSError):
        return hashlib.sha256(f"{socket.gethostname()} {os.stat('/proc/self/ns/pid').st_ino}".encode()).hexdigest()[:6]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _alive(pid: int) -> bool:
    """Whether a process may still write; True also where that cannot be checked."""
    import psutil

    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's
        return True
