"""Decompression bombs: refuse files that would expand to far more than their size, before memory is allocated."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from avloc.errors import FormatError, reading

FREE_BYTES = 128 << 20
"""Accepted for any file."""

MOST_GROWTH = 60
"""Accepted beyond `FREE_BYTES`: this many times the file's size. gzip shrinks text by less than 30, zeros by 1,000."""

MOST_DOCUMENT = 1 << 30
"""Bytes of a document that is read whole: text, JSON, XML. A sparse file of any size takes no space on a disk."""

_BLOCK = 1 << 20
_MOST_ENTRIES = 100_000
_ZIP_END, _ZIP64_END = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")
_TAIL = _ZIP_END.size + 65_535 + 20 + _ZIP64_END.size


def read_document(path: Path) -> bytes:
    """The content of a file that is read whole.

    Raises:
        FormatError: above `MOST_DOCUMENT`. UnreadableError: it is not a file, or cannot be read.
    """
    with reading(path):
        if path.exists() and not path.is_file():  # opening a named pipe waits for ever
            raise OSError("it is not a file")
    with reading(path), path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_DOCUMENT:
            raise FormatError(f"{path}: expected a document of up to {MOST_DOCUMENT} bytes, got {size}; split it")
        return file.read(MOST_DOCUMENT)


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


def check_zip(path: Path, file: IO[bytes] | io.BytesIO) -> None:
    """Refuse a zip file with a huge directory, which Python's zipfile would read whole.

    Source: PKWARE, APPNOTE.TXT, sections 4.3.14 and 4.3.16.

    Args:
        path: of the file, for messages. file: its content.

    Raises:
        FormatError: more than 100,000 entries, or a directory too large for them.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _ZIP_END.size:
        return  # not a zip file; its reader says so
    facts = _ZIP_END.unpack_from(tail, at)
    entries, directory = facts[4], facts[5]
    if (at64 := tail.rfind(b"PK\6\6", 0, at)) >= 0 and at - at64 >= _ZIP64_END.size:
        facts64 = _ZIP64_END.unpack_from(tail, at64)
        entries, directory = max(entries, facts64[7]), max(directory if directory < 2**32 - 1 else 0, facts64[8])
    if entries > _MOST_ENTRIES or min(directory, size) > 100 * _MOST_ENTRIES:
        raise FormatError(
            f"{path}: expected up to {_MOST_ENTRIES} arrays, got {entries} in {directory} bytes of directory"
        )


def check_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse a method of compression that Python's zipfile expands whole, however little is read.

    Raises:
        FormatError: neither stored nor deflated.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(
            f"{path}: expected {member.filename} stored or deflated, as numpy writes it, got another compression"
        )


def gunzip(path: Path) -> bytes:
    """The content of a .gz file.

    Raises:
        FormatError: it expands to far more than its size, or cannot be read. zlib.error, EOFError: damaged.
    """
    gzip = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size = 0
    with reading(path), path.open("rb") as file:
        there = os.fstat(file.fileno()).st_size
        while block := gzip.unconsumed_tail or gzip.unused_data or file.read(_BLOCK):
            if gzip.eof:  # a further member
                gzip = zlib.decompressobj(wbits=31)
            parts.append(gzip.decompress(block, _BLOCK))
            size += len(parts[-1])
            check_growth(path, size, there, "its compressed content")
    if not gzip.eof:
        raise EOFError("the compressed content is truncated")
    return b"".join(parts)
