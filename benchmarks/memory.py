"""How much memory does training take at ActivityNet 1.2's size, and reading AVE's visual file?

    python benchmarks/memory.py [--videos 4819] [--dtype float16] [--steps 60] [--folder FOLDER] [--keep]

Makes features of the size of ActivityNet 1.2's training set on disk (4,819 videos of about 180 snippets, 2,048 visual
and 128 audio channels: 7.5 GB in float32, half of it in float16), trains on them in a process of its own, and reads
that process's peak resident memory (VmHWM: page cache that is mapped counts, page cache that is not does not).
`--rows 4143` writes an HDF5 file like AVE's visual_feature.h5 (4143, 10, 7, 7, 512) and reads all its videos.

Linux only: it reads /proc. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from avloc.formats.features import save_features
from avloc.types import FeatureSequence, Provenance, SnippetGrid

TRAIN = """
import json, sys, time
from pathlib import Path
def status(key):
    return next(int(l.split()[1]) / 2**20 for l in open("/proc/self/status") if l.startswith(key))
import avloc.train
from avloc.config import preset
from avloc.system.pool import keep_freed_memory
keep_freed_memory()  # as `avloc train` does
before = status("VmRSS:")
folder, steps, cache = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
settings = preset("activitynet", {"train.steps": steps, "train.eval_every": steps})
began = time.perf_counter()
avloc.train.fit(folder / "features", folder / "labels.csv", folder / "run", settings)
print(json.dumps({"imports": before, "peak": status("VmHWM:"), "seconds": time.perf_counter() - began,
                  "anonymous": status("RssAnon:")}))
"""

READ = """
import json, sys, time
def status(key):
    return next(int(l.split()[1]) / 2**20 for l in open("/proc/self/status") if l.startswith(key))
from avloc.datasets.ave import _Rows
import h5py
before, began = status("VmRSS:"), time.perf_counter()
rows = _Rows(sys.argv[1])
total = sum(float(rows.read(i).sum()) for i in range(rows.count))
print(json.dumps({"imports": before, "peak": status("VmHWM:"), "seconds": time.perf_counter() - began}))
"""


def make_features(folder: Path, videos: int, dtype: str, seed: int = 0, classes: int = 100) -> float:
    """Write the set; returns its gigabytes. Values come from a pool: what they are does not matter here."""
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(4096, 2176)).astype(np.float32)
    lines = ["video,labels"]
    for k in range(videos):
        length = int(np.clip(rng.normal(180, 60), 8, 375))
        rows = pool[rng.integers(0, len(pool) - length) :][:length]
        grid = SnippetGrid.cover(length * 0.64, 0.64)
        source = Provenance({"visual": "simulated", "audio": "simulated"})
        name = f"video_{k:05d}"
        features = FeatureSequence(name, length * 0.64, grid, rows[:, :2048], rows[:, 2048:], source)
        save_features(folder / "features" / f"{name}.safetensors", features, dtype)  # type: ignore[arg-type]
        lines.append(f"{name},class {k % classes:03d}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in (folder / "features").iterdir()) / 1e9


def measured(code: str, *arguments: str) -> dict[str, float]:
    """What a script prints last, run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def ave_file(path: Path, rows: int) -> float:
    """An HDF5 file like AVE's visual features; returns its gigabytes."""
    import h5py

    pool = np.random.default_rng(0).random((16, 10, 7, 7, 512), dtype=np.float32)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("avadataset", (rows, 10, 7, 7, 512), "f4")
        for start in range(0, rows, 16):
            data[start : start + 16] = pool[: min(16, rows - start)]
    return path.stat().st_size / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=4819)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rows", type=int, default=0, help="also read an AVE visual file of so many videos")
    parser.add_argument("--folder", type=Path, help="where to put 7.5 GB; absent: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the features there")
    args = parser.parse_args()
    home = args.folder or Path(tempfile.mkdtemp(prefix="avloc-memory-"))
    try:
        began = time.perf_counter()
        if not (home / "labels.csv").is_file():
            make_features(home, args.videos, args.dtype)
        size = sum(path.stat().st_size for path in (home / "features").iterdir()) / 1e9
        print(f"{args.videos} videos, {size:.1f} GB in {args.dtype}, made in {time.perf_counter() - began:.0f} s\n")
        facts = measured(TRAIN, str(home), str(args.steps), "")
        print("| what | on disk, GB | peak resident, GiB | of it before any data | seconds |\n|---|---|---|---|---|")
        columns = f"{facts['peak']:.2f} | {facts['imports']:.2f} | {facts['seconds']:.0f}"
        print(f"| training, {args.steps} steps and validation | {size:.1f} | {columns} |")
        if args.rows:
            size = ave_file(home / "visual_feature.h5", args.rows)
            facts = measured(READ, str(home / "visual_feature.h5"))
            columns = f"{facts['peak']:.2f} | {facts['imports']:.2f} | {facts['seconds']:.0f}"
            print(f"| AVE's visual file, all {args.rows} videos | {size:.1f} | {columns} |")
    finally:
        if not args.keep:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
