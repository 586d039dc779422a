"""Constants for docs/scale.md: what grows with the number of videos, measured on a few thousand or on bare tables.

python benchmarks/scale.py [--videos 1000000] [--files 3000] [--json OUT.json]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from avloc.formats.features import FeatureStore, save_features
from avloc.train.dataset import PairSampler
from avloc.types import FeatureSequence, Provenance, SnippetGrid
from clock import Clock, arguments, write


def headers(files: int) -> Clock:
    """Opening a folder of features, reading all headers, and all features."""
    clock, rng = Clock(), np.random.default_rng(0)
    grid, source = SnippetGrid.cover(180, 1), Provenance({"visual": "simulated", "audio": "simulated"})
    rows = rng.normal(size=(180, 2176)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="avloc-scale-") as folder:
        for k in range(files):
            features = FeatureSequence(f"v{k:07d}", 180.0, grid, rows[:, :2048], rows[:, 2048:], source)
            path = Path(folder) / f"v{k:07d}.safetensors"
            clock.time("write a video's features", lambda f=features, p=path: save_features(p, f, "float16"))
        store = clock.time("list", lambda: FeatureStore(folder))
        clock.time("headers", store.describe)
        for name in store.ids[:200]:
            clock.time("read a video's features", lambda n=name: store.load(n))
    return clock


def sampling(videos: int, classes: int, steps: int) -> Clock:
    """Drawing batches of 30."""
    clock, rng = Clock(), np.random.default_rng(0)
    labels = np.zeros((videos, classes), dtype=np.float32)
    labels[np.arange(videos), rng.integers(0, classes, videos)] = 1
    sampler = clock.time("set up the sampler", lambda: PairSampler(labels, 30, 0.6, 0))
    sampler.batch(0)
    for step in range(1, steps + 1):
        clock.time("draw a batch", lambda s=step: sampler.batch(s))
    return clock


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=3000)
    args = parser.parse_args()
    videos, files = (10_000, 100) if args.quick else (args.videos, args.files)
    read, drawn = headers(files), sampling(videos, 100, 20)
    figures = {
        "list and read headers, CPU ms a file": 1000 * (read.cpu_s("list") + read.cpu_s("headers")) / files,
        "read a video of 180 snippets in float16, CPU ms": 1000 * read.cpu_s("read a video's features"),
        "write one, CPU ms": 1000 * read.cpu_s("write a video's features"),
        f"set up the sampler for {videos:,} videos, CPU s": drawn.cpu_s("set up the sampler"),
        f"draw a batch of 30 from {videos:,} videos, CPU ms": 1000 * drawn.cpu_s("draw a batch"),
    }
    write(args.json, "scale", {}, figures)


if __name__ == "__main__":
    main()
