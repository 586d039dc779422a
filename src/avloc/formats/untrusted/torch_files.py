"""Check .pt and .pth files before torch reads them.

torch's restricted loader executes no code, but it allocates what a file claims: `bytearray(n)`, compressed members,
archives that extract to disk. The instructions of the pickle are read here without running them.

Source of the layout: torch/serialization.py, `_save` (zip, stored members, pickle in data.pkl) and `_legacy_save`
(five pickles, then the numbers).
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import IO

from avloc.errors import FormatError
from avloc.formats.untrusted.bombs import check_zip
from avloc.formats.untrusted.budget import POINTER, TEXT, Budget
from avloc.formats.untrusted.pickles import COSTS, DAMAGED, MOST_BITS

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PICKLES, _LEGACY_NUMBER = 5, 0x1950A86A20F9469CFC6C
_ADMITTED = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch (Size|device)|torch (b?float|u?int|complex)\d+|torch bool"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch\.storage \w+Storage|_codecs encode"
    r"|numpy (ndarray|dtype)|numpy\._?core\.multiarray (_reconstruct|scalar)|numpy\.dtypes \w+DType"
)
"""Globals of tensors, and of numpy arrays beside them, as "module name"."""


def check_torch(path: Path, content: bytes | None = None) -> None:
    """Check a file of tensors.

    Args:
        content: the tensors, if they are a part of the file.

    Raises:
        FormatError: not written by torch.save, compressed, or it would take far more memory than its size.
        pickle.UnpicklingError: it asks for more than tensors, which is named.
    """
    with path.open("rb") if content is None else io.BytesIO(content) as file:
        start = file.read(len(_LEGACY))
        if start[:4] == b"PK\3\4":
            check_zip(path, file)
            _check_archive(path, file)
        elif start == _LEGACY:
            file.seek(0)
            _check_pickles(path, file, _LEGACY_PICKLES)
        else:
            raise FormatError(f"{path}: expected tensors as torch.save writes them, got another format")


def _check_archive(path: Path, file: IO[bytes] | io.BytesIO) -> None:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise FormatError(f"{path}: expected stored members as torch.save writes them, got compressed ones")
            if (total := sum(member.file_size for member in members)) > size:
                raise FormatError(f"{path}: expected up to {size} bytes of tensors, its directory claims {total}")
            for member in members:
                if member.filename.rpartition("/")[2] == "data.pkl":
                    _check_pickles(path, io.BytesIO(archive.read(member)), 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise FormatError(f"{path}: expected tensors as torch.save writes them ({error})") from error


def _check_pickles(path: Path, file: IO[bytes] | io.BytesIO, count: int) -> None:
    """Charge what the instructions take. Texts are charged for every call, as a call may copy the largest of them."""
    budget = Budget(path, path.stat().st_size)
    largest = calls = 0
    try:
        for _ in range(count):
            for op, argument, _ in pickletools.genops(file):
                budget.charge(COSTS.get(op.name, POINTER))
                if op.name == "GLOBAL" and not _ADMITTED.fullmatch(name := str(argument)):
                    raise UnpicklingError(f"unsupported GLOBAL {name.replace(' ', '.')}")
                if op.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                    raise UnpicklingError(f"unsupported instruction {op.name}")
                if isinstance(argument, int) and argument.bit_length() > MOST_BITS and argument != _LEGACY_NUMBER:
                    raise UnpicklingError(f"a number of {argument.bit_length()} bits")
                if isinstance(argument, str | bytes | bytearray):
                    budget.charge(TEXT + 4 * len(argument))
                    largest = max(largest, len(argument))
                calls += op.name in ("REDUCE", "BUILD", "NEWOBJ")
    except DAMAGED as error:
        raise FormatError(f"{path}: expected tensors as torch.save writes them ({error!r:.200})") from error
    budget.charge(largest * calls)
