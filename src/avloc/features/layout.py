"""Layouts of a feature folder: one safetensors file per video, or .npy files for other code.

The .npy layout, with names as in UnAV-100 and video_features:
    <video>_<key>.npy           (L, size) float32 or float16; key is rgb and flow for the two halves of i3d's 2048
                                channels, else the backbone's name (vggish, resnet, clip, ...)
    <video>_timestamps_ms.npy   (L,) centre of each row
    <video>.json                grid, duration and source; written last, so its presence marks a complete video
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats.features import load_features, read_source, save_features, write_source
from avloc.formats.untrusted.arrays import load_array
from avloc.system.atomic import atomic_path, atomic_write, inside
from avloc.types import FeatureSequence, SnippetGrid, exact

Layout = Literal["safetensors", "npy"]
LAYOUTS: tuple[Layout, ...] = ("safetensors", "npy")
_I3D_HALF = 1024
_DAMAGED = (AvlocError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError)


def target(out: Path, video_id: str, layout: Layout) -> Path:
    """The file whose presence marks a video as done.

    Raises:
        InputError: the video name cannot be used as a file name.
    """
    if layout == "safetensors":
        return inside(out, f"{video_id}.safetensors")
    inside(out, f"{video_id}_timestamps_ms.npy")  # the longest file name of the video
    return inside(out, f"{video_id}.json")


def save(out: Path, features: FeatureSequence, layout: Layout, dtype: Literal["float32", "float16"]) -> None:
    """Write a video's features. Raises InputError if a value is too large for `dtype`."""
    if layout == "safetensors":
        save_features(target(out, features.video_id, layout), features, dtype)
        return
    target(out, features.video_id, layout).unlink(missing_ok=True)  # no longer complete until rewritten
    keys: dict[str, list[str]] = {}
    for modality in features.modalities:
        parts = _parts(features.source.backbones.get(modality, modality), getattr(features, modality))
        keys[modality] = list(parts)
        for key, rows in parts.items():
            with np.errstate(over="ignore"):
                stored = np.ascontiguousarray(rows, dtype)
            if not np.isfinite(stored).all():
                raise InputError(f"{features.video_id}: {key} has values too large for {dtype}; store it as float32")
            _write_npy(out / f"{features.video_id}_{key}.npy", stored)
    _write_npy(out / f"{features.video_id}_timestamps_ms.npy", features.grid.centres_s() * 1000)
    grid = {name: str(getattr(features.grid, name)) for name in ("start_s", "step_s", "length_s")}
    facts = {
        "video_id": features.video_id,
        "duration_s": features.duration_s,
        "grid": {**grid, "count": features.grid.count},
        "source": write_source(features.source),
        "keys": keys,
    }
    atomic_write(target(out, features.video_id, layout), json.dumps(facts, ensure_ascii=False, indent=1) + "\n")


def load(out: Path, video_id: str, layout: Layout) -> FeatureSequence:
    """Read a video's features. Raises InputError if they are missing, FormatError if they are damaged."""
    return load_features(target(out, video_id, layout)) if layout == "safetensors" else load_npy(out, video_id)


def load_npy(folder: Path | str, video_id: str) -> FeatureSequence:
    """Read a video's features in the .npy layout, as float32.

    Raises:
        InputError: the folder has no such video.
        FormatError: files that are inconsistent or unreadable.
    """
    path = target(Path(folder), video_id, "npy")
    if not path.is_file():
        raise InputError(f"{path}: expected the description of {video_id}'s .npy files; extract it with --layout npy")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: exact(facts["grid"][name]) for name in ("start_s", "step_s", "length_s")}
        grid = SnippetGrid(**parts, count=facts["grid"]["count"])
        arrays = {m: _read_npy(Path(folder), video_id, keys) for m, keys in facts["keys"].items()}
        source = read_source(facts["source"])
        return FeatureSequence(video_id, facts["duration_s"], grid, arrays.get("visual"), arrays.get("audio"), source)
    except _DAMAGED as error:
        raise FormatError(
            f"{path}: expected it and its .npy files to be consistent ({error}); extract this video again"
        ) from error


def size_bytes(out: Path, video_id: str, layout: Layout) -> int:
    """Total size of a video's files."""
    done = target(out, video_id, layout)
    files = [done]
    if layout == "npy":
        keys: Mapping[str, list[str]] = json.loads(done.read_text(encoding="utf-8"))["keys"]
        names = [key for part in keys.values() for key in part]
        files += [inside(out, f"{video_id}_{key}.npy") for key in (*names, "timestamps_ms")]
    return sum(path.stat().st_size for path in files)


def _parts(backbone: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """{key: rows} of a backbone, under the file names in common use."""
    if backbone in ("i3d", "i3d-dis"):
        return {"rgb": rows[:, :_I3D_HALF], "flow": rows[:, _I3D_HALF:]}
    short = {"i3d-rgb": "rgb", "i3d-flow": "flow", "i3d-flow-dis": "flow", "resnet152": "resnet"}
    return {short.get(backbone, backbone).replace(":", "_").replace("/", "_"): rows}


def _write_npy(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _read_npy(folder: Path, video_id: str, keys: list[str]) -> np.ndarray:
    arrays = [load_array(inside(folder, f"{video_id}_{key}.npy")) for key in keys]
    return np.concatenate(arrays, axis=1).astype(np.float32, copy=False)
