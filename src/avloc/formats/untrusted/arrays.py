"""Arrays from .npy, .npz, .pt and .pkl files of unknown origin, read without executing code.

`pickles` reads .pkl and pickled objects in .npy; torch's restricted loader reads .pt; .npz is read without pickles.
`index_arrays` records where arrays are instead of reading them: a 10 GB file with one array per video opens in seconds.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from avloc.errors import FormatError, InputError, reading
from avloc.formats.untrusted.bombs import check_growth, check_member, check_zip
from avloc.formats.untrusted.budget import Budget
from avloc.formats.untrusted.pickles import DAMAGED, read_pickle
from avloc.formats.untrusted.rebuild import MOST_EMPTY, ArrayPlace
from avloc.formats.untrusted.torch_files import check_torch


def load_array(path: Path | str) -> np.ndarray:
    """The array of a .npy file, pickled or not.

    Raises:
        InputError: no such file.
        FormatError: not .npy, damaged, or a pickle that needs more than data, which is named.
    """
    source = _existing(path, "an array (.npy)")
    with reading(source), source.open("rb") as file:
        shape, _, dtype = _npy_header(source, file)
        if dtype.hasobject:
            _check_size(source, file, math.prod(shape))  # an object takes at least a byte
            value = read_pickle(source, file)
            if not isinstance(value, np.ndarray) or value.dtype != object or value.shape != shape:
                raise FormatError(f"{source}: expected objects of shape {shape}, as its header says, got others")
            Budget(source, source.stat().st_size).charge_tree(value.ravel().tolist())
            return value
        _check_size(source, file, math.prod(shape) * (dtype.itemsize or 1))
    try:
        with _old_headers():
            return np.load(source, allow_pickle=False)
    except DAMAGED as error:
        raise FormatError(f"{source}: expected numpy's format; it cannot be read ({error})") from error


def array_shape(path: Path | str) -> tuple[int, ...] | None:
    """The shape of a .npy file's array, from its header; None for pickled objects. Raises as `load_array`."""
    source = _existing(path, "an array (.npy)")
    with reading(source), source.open("rb") as file:
        shape, _, dtype = _npy_header(source, file)
    return None if dtype.hasobject else shape


def load_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name, without those of pickled objects.

    Raises:
        InputError: no such file. FormatError: not .npz, or damaged.
    """
    source = _existing(path, "arrays (.npz)")
    with reading(source), source.open("rb") as whole:
        check_zip(source, whole)
        total, there = 0, os.fstat(whole.fileno()).st_size  # the directory may lie about the sizes of its entries
    found = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                check_member(source, info)
                with archive.open(info) as file:
                    shape, fortran, dtype = _npy_header(source, file)
                    if dtype.hasobject:
                        continue
                    size = math.prod(shape) * (dtype.itemsize or 1)
                    total += size
                    check_growth(source, total, there, f"its content up to {info.filename}")
                    raw = file.read(size) if size <= info.file_size else b""
                    flat = np.frombuffer(bytearray(raw), dtype, math.prod(shape))
                    found[info.filename.removesuffix(".npy")] = flat.reshape(shape, order="F" if fortran else "C")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, *DAMAGED) as error:
        raise FormatError(f"{source}: expected a .npz file; it cannot be read ({error})") from error
    return found


def load_pickle(path: Path | str) -> Any:
    """The data of a .pkl file, whose parts may be shared (`Budget.charge_tree`). Raises as `load_array`."""
    source = _existing(path, "a pickle (.pkl)")
    with reading(source), source.open("rb") as file:
        return read_pickle(source, file)


def load_tensors(path: Path | str) -> Any:
    """Tensors of a .pt file as numpy arrays, read by torch's restricted loader (weights_only).

    Returns:
        An array, or dicts and lists of arrays.

    Raises:
        InputError: no such file. FormatError: damaged, or it needs more than tensors, which is named.
    """
    import torch

    source = _existing(path, "tensors (.pt)")
    with reading(source):
        budget = Budget(source, source.stat().st_size)
    try:
        check_torch(source)
        value = torch.load(source, map_location="cpu", weights_only=True)
        budget.charge_tree(value)
        return _arrays_of(source, value, budget)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"asks for {asked[1]}" if asked else "holds more than tensors"
        raise FormatError(f"{source}: the file {what}; only tensors are read, nothing was executed") from error
    except (RuntimeError, OSError, AttributeError, *DAMAGED) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"{source}: expected tensors as torch.save writes them ({reason})") from error


def index_arrays(path: Path | str) -> list[np.ndarray | ArrayPlace]:
    """Locate the arrays of a .npy file with one array per video, without reading them.

    Returns:
        One entry per video: a place in the file, or a small array itself.

    Raises:
        InputError: no such file. FormatError: as `load_array`, or not a list of arrays.
    """
    source = _existing(path, "arrays, one per video (.npy)")
    with reading(source), source.open("rb") as file:
        shape, fortran, dtype = _npy_header(source, file)
        if dtype.hasobject:
            return _listed(source, read_pickle(source, file, lazy=True))
        if len(shape) < 2 or fortran or not math.prod(shape):
            raise FormatError(f"{source}: expected an array per video, got {dtype} {shape}")
        _check_size(source, file, math.prod(shape) * (dtype.itemsize or 1))
        size = math.prod(shape[1:]) * dtype.itemsize
        return [ArrayPlace(source, dtype, shape[1:], False, file.tell() + i * size) for i in range(shape[0])]


def _existing(path: Path | str, what: str) -> Path:
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: expected {what}; it does not exist")
    return source


def _npy_header(source: Path, file: IO[bytes] | io.BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with _old_headers():
            shape, fortran, dtype = read(file)
        if not math.prod(shape) and math.prod(filter(None, shape)) > MOST_EMPTY:
            raise ValueError(f"the shape {shape!r:.60} has no content")
        return shape, fortran, dtype
    except (*DAMAGED, SyntaxError, TokenError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"{source}: expected numpy's format; it cannot be read ({reason})") from error


@contextmanager
def _old_headers() -> Iterator[None]:
    """Silence numpy's warning about headers written by Python 2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _check_size(source: Path, file: IO[bytes], size: int) -> None:
    there = source.stat().st_size - file.tell()
    if there < size:
        raise FormatError(f"{source}: expected {size} bytes of numbers, got {there}; copy or download it again")


def _listed(source: Path, value: Any) -> list[np.ndarray | ArrayPlace]:
    entries = list(value) if isinstance(value, np.ndarray) and value.ndim == 1 else []
    wrong = next((i for i, entry in enumerate(entries) if not isinstance(entry, np.ndarray | ArrayPlace)), None)
    if not entries or wrong is not None:
        got = type(value).__name__ if wrong is None else f"{type(entries[wrong]).__name__} at {wrong}"
        raise FormatError(f"{source}: expected an array per video, got {got}")
    return entries


def _arrays_of(source: Path, value: Any, budget: Budget) -> Any:
    if hasattr(value, "detach"):
        tensor = value.detach()
        budget.charge(tensor.numel() * (4 if str(tensor.dtype) == "torch.bfloat16" else tensor.element_size()))
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    if isinstance(value, dict):
        return {key: _arrays_of(source, part, budget) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_arrays_of(source, part, budget) for part in value]
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    raise FormatError(f"{source}: expected tensors, got {type(value).__name__}")
