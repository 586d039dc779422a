"""HDF5 files of unknown origin. Links and storage in other files are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.bombs import check_growth

MOST_NAMES = 1_000_000


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
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
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
    if group.external or group.is_virtual:
        raise FormatError(f"{path}: {key!r} is stored in other files; only data in the file itself is read")
    check_growth(path, group.size * max(1, group.dtype.itemsize), group.id.get_storage_size(), f"{key!r}")
    return group


def dataset_names(file: Any, depth: int = 4) -> Iterator[str]:
    """Names of possible arrays of two axes or more in the file and its groups, down to `depth`.

    Links are listed, not followed.

    Raises:
        FormatError: more names than `MOST_NAMES`, as of groups that contain each other.
    """
    return _names_below(file, depth, count())


def _names_below(group: Any, depth: int, visited: Iterator[int]) -> Iterator[str]:
    import h5py

    for name in group.keys():  # noqa: SIM118
        if next(visited) > MOST_NAMES:
            raise FormatError(f"{group.file.filename}: expected up to {MOST_NAMES} arrays; it has more")
        link = group.get(name, getlink=True)
        entry = group[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(entry, h5py.Group):
            below = _names_below(entry, depth - 1, visited) if depth > 1 else ()
            yield from (f"{name}/{inner}" for inner in below)
        elif not isinstance(entry, h5py.Dataset) or entry.ndim > 1:
            yield name
