"""Whether a file ends where its structure says. A truncated file does not; one that states a wrong duration does.

And whether another file follows in it (`appended_at`), which ffmpeg and players do not read, and whether it stays the
same while it is read (`unchanged`).

Sources: ISO/IEC 14496-12 (boxes of mp4 and mov), RFC 8794 and 9559 (EBML, Matroska), Microsoft RIFF (avi), Adobe FLV
10.1 annex E.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from avloc.errors import MediaError


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Context manager: the file must not be written to or replaced while it is read, as one still being copied is.

    A file that is deleted meanwhile was read to its end, or reading it failed.

    Raises:
        MediaError: its size or time of modification has changed.
    """
    before = _size_and_time(path)
    yield
    after = _size_and_time(path)
    if before is not None and after is not None and before != after:
        raise MediaError(f"{path}: the file changed while it was read; run the same command again once it is complete")


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def is_complete(path: Path, format_name: str) -> bool:
    """Whether the outermost structure of a file reaches exactly to its end; False if it cannot be told.

    Args:
        format_name: ffmpeg's, "mov,mp4,...".
    """
    check = {"mov": _boxes, "matroska": _ebml, "avi": _riff, "flv": _flv}.get(format_name.split(",")[0])
    if check is None:
        return False
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return size > 0 and check(file, size)
    except OSError:
        return False


def appended_at(path: Path, format_name: str) -> int | None:
    """The byte at which a second mp4, mov or flv begins, after the end of the first; None if there is none.

    Fragmented mp4 and other formats go on behind a join, and are none of these.
    """
    find = {"mov": _second_movie, "flv": _second_flv}.get(format_name.split(",")[0])
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return find(file, size) if find is not None and size else None
    except OSError:
        return None


def _boxes(file: BinaryIO, size: int) -> bool:
    end = 0
    for _, at, length in _walk(file, size):
        end = at + length
    return end == size


def check_edits(path: Path) -> None:
    """Refuse an mp4 or mov with an absurd edit list, whose time in ffmpeg is quadratic.

    Raises:
        MediaError: not a file, or more than 20,000 edits of one track. OSError: the file cannot be read.
    """
    if not path.is_file():  # opening a named pipe waits for ever
        raise MediaError(f"{path}: expected a video file, got a pipe or a device; save its content as a file")
    with path.open("rb") as file:
        count = _edits(file, 0, os.fstat(file.fileno()).st_size, (b"moov", b"trak", b"edts", b"elst"))
    if count > _MOST_EDITS:
        raise MediaError(f"{path}: expected at most {_MOST_EDITS} edits of a track, got {count}; encode it again")


_MOST_EDITS = 20_000


def _edits(file: BinaryIO, at: int, end: int, kinds: Sequence[bytes]) -> int:
    """The largest number of entries of an edit list in the boxes `kinds`, each in the one before."""
    most = 0
    for kind, start, length in _walk(file, end, at, to_end=True):
        if kind == kinds[0] == b"elst":
            file.seek(start + 12)
            most = max(most, int.from_bytes(file.read(4), "big"))
        elif kind == kinds[0]:
            file.seek(start)
            head = 16 if file.read(4) == b"\0\0\0\1" else 8
            most = max(most, _edits(file, start + head, min(end, start + length), kinds[1:]))
            if kind == b"moov":  # ffmpeg reads the first one
                break
    return most


def _walk(file: BinaryIO, size: int, at: int = 0, to_end: bool = False) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, length) of the boxes from `at`, up to one that states no length, which `to_end` includes."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0 and to_end:
            length = size - at
        if length < 8:  # 0: to the end of the file
            return
        yield head[4:8], at, length
        at += length


def _second_movie(file: BinaryIO, size: int) -> int | None:
    movies, begins = 0, 0
    for kind, at, _ in _walk(file, size):
        if kind == b"moof":
            return None
        if kind == b"ftyp" and at:
            begins = begins or at
        movies += kind == b"moov"
    return begins if movies > 1 and begins else None


def _second_flv(file: BinaryIO, size: int) -> int | None:
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        head = re.compile(rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00{4}").search(content, 9)
        return None if head is None else head.start()


def _ebml(file: BinaryIO, size: int) -> bool:
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        name = 8 - head[0].bit_length() + 1  # an identifier's length is given by its leading zeros
        if name > 4 or len(head) <= name or not head[name]:
            return False
        width = 8 - head[name].bit_length() + 1
        value = int.from_bytes(head[name : name + width], "big") & ((1 << 7 * width) - 1)
        if value == (1 << 7 * width) - 1:  # unknown size: a live recording
            return False
        at += name + width + value
    return at == size


def _riff(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"RIFF":
            return False
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + length % 2
    return at == size


def _flv(file: BinaryIO, size: int) -> bool:
    """The last tag is preceded by its type and length, and followed by its size with the 11 bytes of its head."""
    if size < 15:
        return False
    file.seek(size - 4)
    last = int.from_bytes(file.read(4), "big")
    if not 11 <= last <= size - 13:
        return False
    file.seek(size - 4 - last)
    head = file.read(4)
    return head[0] in (8, 9, 18) and int.from_bytes(head[1:], "big") == last - 11
