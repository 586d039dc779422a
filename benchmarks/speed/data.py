"""Random features with the shapes of real data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avloc.formats.features import save_features
from avloc.types import FeatureSequence, Provenance, SnippetGrid

SOURCE = Provenance({"visual": "simulated", "audio": "simulated"})


def feature_sequence(name: str, rows: np.ndarray, step_s: float = 1, visual_size: int = 2048) -> FeatureSequence:
    """A video of (L, d_v + d_u) features."""
    duration_s = len(rows) * step_s
    grid = SnippetGrid.cover(duration_s, step_s)
    return FeatureSequence(name, duration_s, grid, rows[:, :visual_size], rows[:, visual_size:], SOURCE)


def make_activitynet(folder: Path, videos: int, dtype: Any = "float32", classes: int = 100) -> None:
    """Features shaped as ActivityNet 1.2's: 2,048 + 128 channels, 180 snippets on average."""
    _make_set(folder, videos, None, (2048, 128), 0.64, dtype, classes)


def make_ave(folder: Path, videos: int) -> None:
    """Features shaped as AVE's: 512 + 128 channels, 10 snippets of 1 s, 28 classes."""
    _make_set(folder, videos, 10, (512, 128), 1, "float32", 28)


def _make_set(
    folder: Path, videos: int, fixed: int | None, sizes: tuple[int, int], step_s: float, dtype: Any, classes: int
) -> None:
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(4096, sum(sizes))).astype(np.float32)
    lines = ["video,labels"]
    for k in range(videos):
        length = fixed or int(np.clip(rng.normal(180, 60), 8, 375))
        rows = pool[rng.integers(0, len(pool) - length) :][:length]
        features = feature_sequence(f"video_{k:05d}", rows, step_s, sizes[0])
        save_features(folder / "features" / f"{features.video_id}.safetensors", features, dtype)
        lines.append(f"{features.video_id},class {k % classes:03d}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
