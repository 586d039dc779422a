"""Small synthetic feature sets in avloc's formats: one mean vector per class and for background, plus noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avloc.formats.annotations import write_annotations
from avloc.formats.features import save_features
from avloc.types import FeatureSequence, Instance, Provenance, SnippetGrid, VideoAnnotation


def make_videos(
    count: int = 24,
    classes: tuple[str, ...] = ("bark", "drum", "saw"),
    snippets: tuple[int, int] = (12, 24),
    sizes: tuple[int, int] = (6, 8),
    noise: float = 0.4,
    seed: int = 0,
    background_videos: int = 0,
) -> list[tuple[FeatureSequence, VideoAnnotation]]:
    """Features and ground truth of videos with one instance each; the last ones are background only."""
    rng = np.random.default_rng(seed)
    world = np.random.default_rng(99)
    means = [world.normal(size=(1 + len(classes), size)) * 1.5 for size in sizes]
    videos = []
    for i in range(count):
        length = int(rng.integers(snippets[0], snippets[1] + 1))
        grid = SnippetGrid.cover(length, 1)
        truth = np.zeros(length, dtype=int)
        instances: tuple[Instance, ...] = ()
        if i < count - background_videos:
            size = int(rng.integers(3, max(4, length // 2)))
            start = int(rng.integers(0, length - size + 1))
            label = i % len(classes)
            truth[start : start + size] = 1 + label
            instances = (Instance(float(start), float(start + size), classes[label]),)
        audio, visual = (m[truth] + noise * rng.normal(size=(length, m.shape[1])) for m in means)
        source = Provenance({"audio": "made", "visual": "made"})
        features = FeatureSequence(
            f"video_{i:03d}", float(length), grid, visual.astype(np.float32), audio.astype(np.float32), source
        )
        videos.append((features, VideoAnnotation(features.video_id, float(length), "training", instances)))
    return videos


def write_set(folder: Path, videos: list[tuple[FeatureSequence, VideoAnnotation]]) -> tuple[Path, Path]:
    """Write features and labels.csv and return their paths."""
    features = folder / "features"
    for video, _ in videos:
        save_features(features / f"{video.video_id}.safetensors", video)
    labels = folder / "labels.csv"
    rows = [f"{truth.video_id},{';'.join(sorted({i.label for i in truth.instances}))}" for _, truth in videos]
    labels.write_text("video,labels\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return features, labels


def write_split_set(folder: Path, count: int, tests: int, column: str = "subset") -> None:
    """Write a set as `avloc convert` does, with ground truth; the last `tests` videos are for testing."""
    videos = make_videos(count=count)
    _, labels = write_set(folder, videos)
    subsets = [column, *["train"] * (count - tests), *["test"] * tests]
    lines = zip(labels.read_text(encoding="utf-8").splitlines(), subsets, strict=True)
    labels.write_text("".join(f"{a},{b}\n" for a, b in lines), encoding="utf-8")
    write_annotations(folder / "ground_truth.json", [truth for _, truth in videos])
