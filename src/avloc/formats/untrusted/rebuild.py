"""Rebuild what a pickle may contain: numpy arrays, numbers, dtypes, and Python 2's bytes.

numpy's `__setstate__` is not used: it trusts flags in the file, and with wrong ones interprets raw bytes as object
pointers. Here every part is checked, and anything numpy would not have written is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DTYPE = re.compile(r"[<>=|]?(b1|i[1248]|u[1248]|f[248]|c8|c16|S\d{1,6}|U\d{1,6}|O8?)")


MOST_EMPTY = 1 << 20
"""Longest array of elements that take no bytes, or without elements along another axis."""


class Refusal(Exception):
    """A pickle needs something that is not data."""


@dataclass(frozen=True)
class ArrayPlace:
    """An array in a file, not read yet.

    Args:
        dtype, shape: numpy's.
        fortran: whether the numbers are in Fortran order.
        offset: of its first byte in the file.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    def read(self) -> np.ndarray:
        """Read the array."""
        flat = np.fromfile(self.path, self.dtype, math.prod(self.shape), offset=self.offset)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


@dataclass(frozen=True)
class GlobalName:
    """An admitted global name; nothing is imported."""

    module: str
    name: str


@dataclass
class Cell:
    """An array or dtype under construction, to which other parts of the pickle may already refer."""

    kind: str
    value: Any = None


@dataclass(frozen=True)
class Span:
    """Bytes of `path` that were skipped."""

    path: Path
    offset: int
    size: int


def fill(cell: Cell, state: tuple[Any, ...]) -> None:
    """Set the state of an array or dtype.

    Raises:
        Refusal: a state that numpy would not have written. ValueError: damaged.
    """
    if cell.kind == "dtype":
        _, order, *compound = state
        if any(part is not None for part in compound[:3]):
            raise Refusal("a compound dtype")
        cell.value = cell.value.newbyteorder(order) if order in ("<", ">") else cell.value
    elif cell.value is not None:
        raise Refusal("a change of a finished array")
    else:
        _, shape, dtype, fortran, raw = state
        cell.value = _array(raw, dtype, shape, bool(fortran))


def _array(raw: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray | ArrayPlace:
    kind = dtype.value if isinstance(dtype, Cell) and dtype.kind == "dtype" else None
    if kind is None or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Refusal("an array of unknown dtype or shape")
    count = math.prod(shape)
    if not count and math.prod(filter(None, shape)) > MOST_EMPTY:
        raise Refusal(f"an array of shape {shape!r:.60} without content")
    if kind.hasobject:
        if not isinstance(raw, list) or len(raw) != count:
            raise Refusal(f"an array of {count} objects, but does not list them")
        flat = np.empty(count, dtype=object)
        for i, item in enumerate(raw):
            flat[i] = item
        return flat.reshape(shape, order="F" if fortran else "C")
    if not kind.itemsize and count > MOST_EMPTY:
        raise Refusal(f"an array of {count} empty texts")
    size = count * kind.itemsize
    if isinstance(raw, Span) and raw.size == size:
        return ArrayPlace(raw.path, kind, shape, fortran, raw.offset)
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes) or len(data) != size:
        raise Refusal(f"an array of {size} bytes, but does not hold them")
    if not kind.itemsize:  # empty strings take no bytes
        return np.ndarray(shape, kind, buffer=b"")
    return np.frombuffer(bytearray(data), kind).reshape(shape, order="F" if fortran else "C")


def _make_array(subtype: Any, shape: Any, _: Any) -> Cell:
    if subtype != GlobalName("numpy", "ndarray") or shape != (0,):
        raise Refusal("an array of another class or shape than numpy writes")
    return Cell("array")


def _make_dtype(spec: Any, *_: Any) -> Cell:
    if not isinstance(spec, str) or not DTYPE.fullmatch(spec):
        raise Refusal(f"the dtype {spec!r:.40}")
    return Cell("dtype", np.dtype("O" if spec.lstrip("<>=|").startswith("O") else spec))


def _make_number(dtype: Any, raw: Any) -> Any:
    value = _make_plain(raw, dtype, ())
    if not isinstance(value, np.ndarray):
        raise Refusal("a number without its bytes")
    return value[()]


def _make_plain(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray | ArrayPlace:
    if isinstance(raw, list):
        raise Refusal("objects where numbers are expected")
    return _array(raw, dtype, shape, order == "F")


def _make_bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise Refusal("an encoding of anything but bytes")
    return text.encode("latin-1")


def _make_empty(*arguments: Any) -> bytes:
    if arguments:
        raise Refusal("bytes made from something")
    return b""


ADMITTED: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _make_dtype,
    ("_codecs", "encode"): _make_bytes,
    **{(module, "bytes"): _make_empty for module in ("__builtin__", "builtins")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _make_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _make_number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _make_plain for core in ("core", "_core")},
}
"""Admitted global names, and what is called instead (None: a call is refused)."""
