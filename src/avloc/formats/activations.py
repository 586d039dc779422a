"""Class activation sequences on disk: one safetensors file per video, with snippet grid and classes.

Tensors `probs` (L, 1+C), column 0 background, and `video_scores` (C,). The header holds video_id, duration_s, grid,
classes and modalities as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from avloc.errors import FormatError, InputError
from avloc.system.atomic import atomic_write, canonical_safetensors, check_safetensors
from avloc.system.text import json_text, nfc
from avloc.types import ActivationSequence, SnippetGrid, exact

SCHEMA = "1"


def save_activations(path: Path | str, activations: ActivationSequence) -> None:
    """Write one video's activations as float32, atomically."""
    from safetensors.numpy import save

    grid = activations.grid
    header = {
        "avloc_activations": SCHEMA,
        "video_id": activations.video_id,
        "duration_s": repr(float(activations.duration_s)),
        "grid": json_text([str(grid.start_s), str(grid.step_s), str(grid.length_s), grid.count]),
        "classes": json_text(activations.classes, ensure_ascii=False),
        "modalities": json_text(activations.modalities),
    }
    tensors = {
        "probs": np.ascontiguousarray(activations.probs, dtype=np.float32),
        "video_scores": np.ascontiguousarray(activations.video_scores, dtype=np.float32),
    }
    atomic_write(path, canonical_safetensors(save(tensors, metadata=header)))


def load_activations(path: Path | str) -> ActivationSequence:
    """Read what `save_activations` wrote.

    Raises:
        InputError: no such file. FormatError: another format, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: expected an activation file; it does not exist")
    check_safetensors(Path(path))
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            probs, scores = file.get_tensor("probs"), file.get_tensor("video_scores")
        start, step, length, count = json.loads(header["grid"])
        start, step, length = exact(start), exact(step), exact(length)
        return ActivationSequence(
            video_id=nfc(header["video_id"]),
            duration_s=float(header["duration_s"]),
            grid=SnippetGrid(start, step, length, count),
            classes=tuple(map(nfc, json.loads(header["classes"]))),
            probs=probs,
            video_scores=scores,
            modalities=tuple(json.loads(header["modalities"])),
        )
    except (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise FormatError(f"{path}: expected activations as `avloc localize` writes them: {error}") from error
