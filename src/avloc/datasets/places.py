"""Where a feature array is stored: in a file of its own, in one of several arrays, or in memory.

Everything is read by `formats.untrusted`: nothing is unpickled, and links to other files are not followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from avloc.datasets.axes import Shape
from avloc.errors import FormatError
from avloc.formats.untrusted.arrays import array_shape, load_array, load_arrays, load_pickle, load_tensors
from avloc.formats.untrusted.budget import Budget
from avloc.formats.untrusted.hdf5 import MOST_NAMES, dataset_names, open_hdf5, plain_dataset

FEATURE_KEYS = ("feature", "features", "feats", "feat", "rgb", "flow", "vggish")
HDF5 = (".h5", ".hdf5")


@runtime_checkable
class Place(Protocol):
    """Where an array is stored."""

    def read(self) -> np.ndarray: ...


@runtime_checkable
class Shaped(Protocol):
    """A place whose shape is known without reading its array, or at little cost."""

    def read_shape(self) -> Shape: ...


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file.

    Args:
        key: its name in a .npz, .pt, .pkl or .h5 of several arrays; "" takes the only one, or the one called
            `feature`, `feats`, ...
    """

    path: Path
    key: str = ""

    def read(self) -> np.ndarray:
        """Read the array.

        Raises:
            InputError, FormatError: as in `arrays` and `hdf5`, or several arrays and no key.
        """
        if self.path.suffix.lower() in HDF5:
            with open_hdf5(self.path) as file:
                return np.asarray(self._dataset(file))
        value = load_any(self.path)
        if isinstance(value, dict):
            arrays = arrays_below(self.path, value)
            value = arrays[self._choose(list(arrays))]
        return value if isinstance(value, np.ndarray) else _stacked(self.path, value)

    def read_shape(self) -> Shape:
        """The array's shape, without reading it where its format allows. Raises as `read`."""
        if self.path.suffix.lower() in HDF5:
            with open_hdf5(self.path) as file:
                return tuple(self._dataset(file).shape)
        shape = array_shape(self.path) if self.path.suffix.lower() == ".npy" else None
        return self.read().shape if shape is None else shape

    def _dataset(self, file: Any) -> Any:
        return plain_dataset(self.path, file, self.key or self._choose(list(dataset_names(file))))

    def _choose(self, names: Sequence[str]) -> str:
        if self.key in names:
            return self.key
        known = [name for name in names if name.rpartition("/")[2].lower() in FEATURE_KEYS]
        if self.key or (len(names) != 1 and len(known) != 1):
            wanted = f"an array {self.key!r}" if self.key else "one array, or one called feature, feats, rgb, ..."
            raise FormatError(f"{self.path}: expected {wanted}, got {', '.join(names[:6]) or 'none'}")
        return names[0] if len(names) == 1 else known[0]


@dataclass(frozen=True)
class Held:
    """An array in memory, out of a file with those of several videos."""

    array: np.ndarray

    def read_shape(self) -> Shape:
        return self.array.shape

    def read(self) -> np.ndarray:
        return self.array


def load_any(path: Path) -> Any:
    """The content of a .npy, .npz, .pt or .pkl: an array, or dicts and lists of arrays. Raises as `arrays`."""
    readers = {".npz": load_arrays, ".pt": load_tensors, ".pth": load_tensors, ".pkl": load_pickle}
    value = readers.get(path.suffix.lower(), load_array)(path)
    Budget(path, path.stat().st_size).charge_tree(value)
    return value[()] if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0 else value


def arrays_below(path: Path, value: Mapping[Any, Any], depth: int = 4) -> dict[str, np.ndarray]:
    """{"key/key": array} of the arrays of two axes or more in a file's nested dicts, down to `depth`.

    Raises:
        FormatError: more than `MOST_NAMES`, as of dicts that contain each other.
    """
    found: dict[str, np.ndarray] = {}
    stack: list[tuple[str, Any, int]] = [("", value, depth)]
    for visited in count():
        if not stack:
            return found
        name, part, left = stack.pop()
        if visited > MOST_NAMES:
            break
        if isinstance(part, dict):
            stack += [(f"{name}/{key}", below, left - 1) for key, below in reversed(part.items())] if left else []
        elif isinstance(part, np.ndarray) and part.ndim > 1:
            found[name[1:]] = part
        elif isinstance(part, list) and part and isinstance(part[0], list | np.ndarray):
            found[name[1:]] = _stacked(path, part)
    raise FormatError(f"{path}: expected up to {MOST_NAMES} arrays; it has more")


def _stacked(path: Path, rows: Any) -> np.ndarray:
    """Lists as an array; how much they take together was checked when they were read."""
    try:
        return np.asarray(rows)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise FormatError(f"{path}: expected arrays, got lists of different lengths or kinds") from None
