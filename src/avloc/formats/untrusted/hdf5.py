"""HDF5 files of unknown origin. Links and storage in other files are refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.bombs import FREE_BYTES, MOST_GROWTH, check_growth

MOST_NAMES = 100_000

_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32_000
"""Numbers of the filters that are read. Others (szip, nbit, scale-offset, plugins) allocate what a file claims."""

_MOST_DEFLATED = 1032
"""Most that deflate shrinks data by."""

_BLOCK = 1 << 20


@contextmanager
def open_hdf5(path: Path | str) -> Iterator[Any]:
    """Open an h5py.File for reading.

    Raises:
        InputError: no such file. FormatError: not HDF5, or (inside the block) damaged.
    """
    import h5py

    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: expected an HDF5 file; it does not exist")
    try:
        with h5py.File(source, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, zlib.error) as error:
        raise FormatError(f"{source}: expected an HDF5 file; it cannot be read ({error})") from error


def plain_dataset(path: Path | str, file: Any, key: str) -> Any:
    """An array (h5py.Dataset) stored in this file; every link is checked before it is followed.

    Args:
        file: an h5py.File or Group.
        key: name, or "group/name".

    Raises:
        FormatError: no such name, a link to another place, external storage, a virtual dataset, or not an array.
    """
    import h5py

    group = file
    for name in (parts := key.split("/")):
        keys = group.keys() if isinstance(group, h5py.Group) else ()
        link = group.get(name, getlink=True) if name in keys else None
        if link is None:
            raise FormatError(f"{path}: expected a dataset {key!r}, got {', '.join(list(keys)[:6]) or 'an empty file'}")
        if not isinstance(link, h5py.HardLink):
            raise FormatError(
                f"{path}: {name!r} is a link ({type(link).__name__}); only data in the file itself is read"
            )
        group = group[name]
    if not isinstance(group, h5py.Dataset) or group.ndim == 0:
        raise FormatError(f"{path}: expected {'/'.join(parts)!r} to be an array")
    if group.dtype.hasobject or h5py.check_vlen_dtype(group.dtype) is not None:
        raise FormatError(
            f"{path}: expected {key!r} to be an array of numbers, got objects or texts of variable length"
        )
    if group.external or group.is_virtual:
        raise FormatError(f"{path}: {key!r} is stored in other files; only data in the file itself is read")
    there, each = min(group.id.get_storage_size(), group.file.id.get_filesize()), max(1, group.dtype.itemsize)
    check_growth(path, group.size * each, there, f"{key!r}")
    if group.chunks is not None:  # a chunk is read whole, and may be larger than the array
        check_growth(path, prod(group.chunks) * each, there, f"a chunk of {key!r}")
        _check_filters(path, group, key, prod(group.chunks) * each, there)
    if not group.size and prod(filter(None, group.shape)) > MOST_NAMES:
        raise FormatError(f"{path}: expected {key!r} to have content, got the shape {group.shape}")
    return group


def _check_filters(path: Path | str, dataset: Any, key: str, expected: int, there: int) -> None:
    """Refuse chunks that expand to more than a chunk: HDF5's deflate filter allocates whatever comes out.

    Source: HDF5 File Format Specification 3.0, section IV.A.2.l; H5Zdeflate.c.
    """
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    packers = [number for number in filters if number in (_DEFLATE, _LZF)]
    after = filters[filters.index(packers[0]) + 1 :] if packers else []
    if not {*filters} <= {_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF} or len(packers) > 1 or not {*after} <= {_CHECKSUM}:
        raise FormatError(
            f"{path}: {key!r} is stored with the filters {filters}; expected gzip or lzf, with shuffle before it and a "
            "checksum after it; save it so, or without compression"
        )
    if _DEFLATE not in filters:
        return
    stored: list[Any] = []
    dataset.id.chunk_iter(stored.append)
    most = FREE_BYTES + MOST_GROWTH * there
    for chunk in stored:
        skipped = chunk.filter_mask >> filters.index(_DEFLATE) & 1
        if not skipped and chunk.size * _MOST_DEFLATED > most and _expands(dataset, chunk.chunk_offset, expected):
            raise FormatError(f"{path}: a chunk of {key!r} expands to more than the {expected} bytes of a chunk")


def _expands(dataset: Any, offset: tuple[int, ...], most: int) -> bool:
    """Whether a deflated chunk expands to more than `most` bytes, found without keeping them."""
    inflate, data = zlib.decompressobj(), dataset.id.read_direct_chunk(offset)[1]
    size = 0
    while data and not inflate.eof and size <= most:
        size += len(inflate.decompress(data, _BLOCK))
        data = inflate.unconsumed_tail
    return size > most


def dataset_names(file: Any, depth: int = 4) -> Iterator[str]:
    """Names of possible arrays of two axes or more in the file and its groups, down to `depth`.

    Links are listed, not followed. A group that contains itself is listed once.

    Raises:
        FormatError: more names than `MOST_NAMES`.
    """
    return _names_below(file, depth, count(), frozenset())


def _names_below(group: Any, depth: int, visited: Iterator[int], above: frozenset[int]) -> Iterator[str]:
    import h5py

    if (own := h5py.h5o.get_info(group.id).addr) in above:
        return

    for name in group.keys():  # noqa: SIM118
        if next(visited) > MOST_NAMES:
            raise FormatError(f"{group.file.filename}: expected up to {MOST_NAMES} arrays; it has more")
        link = group.get(name, getlink=True)
        entry = group[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(entry, h5py.Group):
            below = _names_below(entry, depth - 1, visited, above | {own}) if depth > 1 else ()
            yield from (f"{name}/{inner}" for inner in below)
        elif not isinstance(entry, h5py.Dataset) or entry.ndim > 1:
            yield name
