"""The same training on 1, 2 and 4 processes (gloo): is the result the same, and how many videos a second?

    python benchmarks/distributed.py [--steps 12] [--json OUT.json]

Batch 20, 200 snippets, 2,048 + 128 channels, d_x 512, all losses, no dropout (which differs by process), one thread a
process. Throughput only means something where there are as many free cores as processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from clock import arguments, write
from memory import make_features


def train(home: Path, processes: int, steps: int, precision: str, embed_dim: int) -> tuple[Path, float]:
    """One run; returns its folder and its videos a second, of all steps but the first, which sets up."""
    out = home / f"run-{processes}-{precision}"
    sets = {
        "train.devices": processes,
        "train.steps": steps,
        "train.eval_every": steps,
        "train.batch_size": 20,
        "train.holdout": 0,
        "train.precision": precision,
        "train.accelerator": "cpu",
        "model.embed_dim": embed_dim,
        "model.dropout": 0,
        "model.modality_dropout": 0,
    }
    words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    folders = ["--features", str(home / "features"), "--labels", str(home / "labels.csv"), "-o", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "avloc", "train", *folders, "--preset", "activitynet", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return out, 20 / last["train/step_s"]


def furthest(a: Path, b: Path) -> float:
    """Largest difference of a weight."""
    one, other = (load_file(path / "model.safetensors") for path in (a, b))
    return max(float(np.abs(one[name].astype(np.float64) - other[name]).max()) for name in one)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    steps, width = (3, 32) if args.quick else (args.steps, 512)
    figures, rates, runs = {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="avloc-ddp-") as folder:
        home = Path(folder)
        make_features(home, 40, "float32", classes=10)
        for processes in (1, 2, 4):
            runs[processes], rates[processes] = train(home, processes, steps, "32-true", width)
            figures[f"{processes} processes, videos/s"] = rates[processes]
            figures[f"{processes} processes, largest difference of a weight"] = furthest(runs[1], runs[processes])
        doubles = {n: train(home, n, 3, "64-true", 32)[0] for n in (1, 4)}
        figures["4 processes, the same in double precision (d_x 32)"] = furthest(doubles[1], doubles[4])
    ratios = {f"videos/s on {n} processes / on 1": rates[n] / rates[1] for n in (2, 4)}
    write(args.json, "distributed", ratios, figures)


if __name__ == "__main__":
    main()
