"""Features as .npy files for other code, described by a JSON file; names as in UnAV-100 and video_features.

<video>_<key>.npy           (L, size) float32 or float16; key is rgb and flow for the two halves of i3d's 2048
                            channels, else the backbone's name (vggish, resnet, clip, ...)
<video>_timestamps_ms.npy   (L,) centre of each row
<video>.json                grid, duration, source, and the keys of each modality; written last, so its presence
                            marks a complete video
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats.json_file import parse_json
from avloc.formats.provenance import MODALITIES, read_source
from avloc.formats.untrusted.arrays import load_array
from avloc.system.atomic import inside
from avloc.types import FeatureSequence, Provenance, SnippetGrid, exact

STAMPS = "timestamps_ms"
_DAMAGED = (AvlocError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError)


@dataclass(frozen=True)
class NpyDescription:
    """A video's .json.

    Args:
        keys: {modality: keys of its files, in the order of its channels}.
    """

    duration_s: float
    grid: SnippetGrid
    keys: Mapping[str, Sequence[str]]
    source: Provenance


def npy_videos(folder: Path | str) -> tuple[str, ...]:
    """Names of the videos below a folder that have timestamps and a .json of this format, sorted."""
    root = Path(folder)
    stamped = (path.with_name(path.name.removesuffix(f"_{STAMPS}.npy")) for path in root.rglob(f"*_{STAMPS}.npy"))
    return tuple(sorted(path.relative_to(root).as_posix() for path in stamped if _is_described(path)))


def _is_described(path: Path) -> bool:
    try:
        described = path.with_name(f"{path.name}.json")
        facts = parse_json(described)
    except (OSError, ValueError, RecursionError, FormatError):
        return False
    return isinstance(facts, dict) and {"grid", "keys"} <= set(facts)


def npy_path(folder: Path | str, video_id: str, key: str = "") -> Path:
    """The file of a key, or the description. Raises InputError for a name that leads out of the folder."""
    return inside(Path(folder), f"{video_id}_{key}.npy" if key else f"{video_id}.json")


def read_npy_description(folder: Path | str, video_id: str) -> NpyDescription:
    """Read a video's .json.

    Raises:
        InputError: there is none. FormatError: it is damaged.
    """
    path = npy_path(folder, video_id)
    if not path.is_file():
        raise InputError(f"{path}: expected the description of {video_id}'s .npy files; extract it with --layout npy")
    try:
        facts: dict[str, Any] = parse_json(path)
        times = {name: exact(facts["grid"][name]) for name in ("start_s", "step_s", "length_s")}
        keys = {name: list(map(str, facts["keys"][name])) for name in MODALITIES if name in facts["keys"]}
        for key in (key for names in keys.values() for key in names):
            if "/" in key or "\\" in key or key == STAMPS:
                raise ValueError(f"the key {key!r}")
        grid = SnippetGrid(**times, count=facts["grid"]["count"])
        return NpyDescription(float(facts["duration_s"]), grid, keys, read_source(facts["source"]))
    except _DAMAGED as error:
        raise _inconsistent(path, error) from error


def load_npy(folder: Path | str, video_id: str) -> FeatureSequence:
    """Read a video's features in the .npy layout, as float32.

    Raises:
        InputError: the folder has no such video.
        FormatError: files that are inconsistent or unreadable.
    """
    found = read_npy_description(folder, video_id)
    try:
        arrays = {name: _read(Path(folder), video_id, keys) for name, keys in found.keys.items()}
        return FeatureSequence(
            video_id, found.duration_s, found.grid, arrays.get("visual"), arrays.get("audio"), found.source
        )
    except _DAMAGED as error:
        raise _inconsistent(npy_path(folder, video_id), error) from error


def _read(folder: Path, video_id: str, keys: Sequence[str]) -> np.ndarray:
    arrays = [load_array(npy_path(folder, video_id, key)) for key in keys]
    return np.concatenate(arrays, axis=1).astype(np.float32, copy=False)


def _inconsistent(path: Path, error: BaseException) -> FormatError:
    return FormatError(f"{path}: expected it and its .npy files to be consistent ({error}); extract this video again")
