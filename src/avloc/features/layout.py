"""Layouts of a feature folder: one safetensors file per video, or .npy files for other code (see `formats.npy`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from avloc.errors import InputError
from avloc.formats.features import SUFFIX, feature_files, load_features, save_features
from avloc.formats.npy import STAMPS, load_npy, npy_path
from avloc.formats.provenance import write_source
from avloc.system.atomic import atomic_path, atomic_write, claim, inside
from avloc.system.outputs import discard, output_folder
from avloc.system.text import json_text
from avloc.types import FeatureSequence

Layout = Literal["safetensors", "npy"]
LAYOUTS: tuple[Layout, ...] = ("safetensors", "npy")
_I3D_HALF = 1024


def target(out: Path, video_id: str, layout: Layout) -> Path:
    """The file whose presence marks a video as done.

    Raises:
        InputError: the video name cannot be used as a file name.
    """
    if layout == "safetensors":
        return inside(out, f"{video_id}.safetensors")
    npy_path(out, video_id, STAMPS)  # the longest file name of the video
    return npy_path(out, video_id)


def split_features(paths: Iterable[str | Path]) -> tuple[list[Path], list[str | Path]]:
    """Feature files in files and folders, and the other paths. In a folder with feature files, only those count."""
    stored: list[Path] = []
    rest: list[str | Path] = []
    for given in paths:
        path = Path(given)
        found = feature_files(path) if path.is_dir() else []
        if found or (path.suffix == SUFFIX and path.is_file()):
            stored += found or [path]
        else:
            rest.append(given)
    return stored, rest


def save(out: Path, features: FeatureSequence, layout: Layout, dtype: Literal["float32", "float16"]) -> None:
    """Write a video's features. Raises InputError if a value is too large for `dtype`."""
    with output_folder(out, shared=True):
        if layout == "safetensors":
            save_features(target(out, features.video_id, layout), features, dtype)
        else:
            _save_npy(out, features, dtype)


def _save_npy(out: Path, features: FeatureSequence, dtype: Literal["float32", "float16"]) -> None:
    done = target(out, features.video_id, "npy")
    claim([done])
    discard(done)  # no longer complete until rewritten
    keys: dict[str, list[str]] = {}
    for modality in features.modalities:
        parts = _parts(features.source.backbones.get(modality, modality), getattr(features, modality))
        keys[modality] = list(parts)
        for key, rows in parts.items():
            with np.errstate(over="ignore"):
                stored = np.ascontiguousarray(rows, dtype)
            if not np.isfinite(stored).all():
                raise InputError(f"{features.video_id}: {key} has values too large for {dtype}; store it as float32")
            _write_npy(npy_path(out, features.video_id, key), stored)
    _write_npy(npy_path(out, features.video_id, STAMPS), features.grid.centres_s() * 1000)
    grid = {name: str(getattr(features.grid, name)) for name in ("start_s", "step_s", "length_s")}
    facts = {
        "video_id": features.video_id,
        "duration_s": features.duration_s,
        "grid": {**grid, "count": features.grid.count},
        "source": write_source(features.source),
        "keys": keys,
    }
    atomic_write(done, json_text(facts, ensure_ascii=False, indent=1) + "\n")


def load(out: Path, video_id: str, layout: Layout) -> FeatureSequence:
    """Read a video's features. Raises InputError if they are missing, FormatError if they are damaged."""
    return load_features(target(out, video_id, layout)) if layout == "safetensors" else load_npy(out, video_id)


def size_bytes(out: Path, video_id: str, layout: Layout) -> int:
    """Total size of a video's files."""
    done = target(out, video_id, layout)
    files = [done]
    if layout == "npy":
        keys: Mapping[str, list[str]] = json.loads(done.read_text(encoding="utf-8"))["keys"]
        names = [key for part in keys.values() for key in part]
        files += [npy_path(out, video_id, key) for key in (*names, STAMPS)]
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
