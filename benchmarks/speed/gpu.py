"""The same work on a GPU and on the CPU: training steps, localization, pretrained backbones."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avloc.config import preset
from avloc.features.backbones import Setup, load_backbone
from avloc.formats.features import FeatureStore
from avloc.pipeline.localizer import load
from avloc.train.loop import fit
from benchmarks.console import add_command, markdown_table
from benchmarks.speed.data import make_activitynet, make_ave

Rows = list[tuple[str, str, str, str]]


def add_commands(commands: Any) -> None:
    add_command(commands, gpu, steps=60)


def gpu(args: argparse.Namespace) -> None:
    """Training steps, localization and the pretrained backbones on a GPU and on the CPU, and how far they differ.

    ActivityNet's size (batch 30, 200 snippets, d_x 1,024, 2,048 + 128 channels) and AVE's (batch and d_x of the preset,
    512 + 128 channels), random features, wall time. The CPU has the threads of OMP_NUM_THREADS. Backbones whose weights
    are not here are left out.
    """
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here")
    rows: Rows = []
    with tempfile.TemporaryDirectory(prefix="avloc-gpu-") as folder:
        home = Path(folder)
        make_activitynet(home / "activitynet", 300)
        make_ave(home / "ave", 1000)
        for name in ("activitynet", "ave"):
            for precision in ("32-true", "bf16-mixed"):
                fast = _step_ms(home / name, name, "gpu", precision, args.steps)
                slow = _step_ms(home / name, name, "cpu", precision, 12) if precision == "32-true" else None
                rows.append((f"{name}, {precision}, ms per step", f"{fast:.1f}", f"{slow:.0f}" if slow else "", ""))
        rows.append(_localized(home / "activitynet"))
    rows += _backbones()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {torch.get_num_threads()} CPU threads\n")
    print(markdown_table(["", "GPU", "CPU", "largest difference"], rows))


def _step_ms(data: Path, name: str, accelerator: str, precision: str, steps: int) -> float:
    marks: list[float] = []

    def progress(done: int, total: int, text: str) -> None:
        torch.cuda.synchronize()
        marks.append(time.perf_counter())

    settings = {"train.steps": steps, "train.eval_every": steps, "train.holdout": 0, "train.selection": "last"}
    settings |= {"train.accelerator": accelerator, "train.precision": precision}
    out = data / f"run-{accelerator}-{precision}"
    fit(data / "features", data / "labels.csv", out, preset(name, settings), False, progress)
    return 1000 * float(np.median(np.diff(marks)[3:]))


def _localized(data: Path) -> tuple[str, str, str, str]:
    """Seconds for 30 videos on either, and the largest difference of a probability."""
    store = FeatureStore(data / "features")
    found, seconds = {}, {}
    for device in ("cuda", "cpu"):
        localizer = load(data / "run-gpu-32-true", device)
        localizer.activations(store.load(store.ids[0]))
        began = time.perf_counter()
        found[device] = [localizer.activations(store.load(video)).probs for video in store.ids[:30]]
        seconds[device] = time.perf_counter() - began
    far = max(float(np.abs(a - b).max()) for a, b in zip(found["cuda"], found["cpu"], strict=True))
    return "activations of 30 videos, s", f"{seconds['cuda']:.2f}", f"{seconds['cpu']:.2f}", f"{far:.1e}"


def _backbones() -> Rows:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (64, 2, 256, 340, 3), np.uint8)
    audio = rng.normal(0, 0.1, (16, 320_000)).astype(np.float32)
    rows: Rows = []
    for name, batch, count, unit in (
        ("efficientnet-lite0", frames, 128, "ms per frame"),
        ("efficientat-mn04", audio, 16, "ms per 10 s"),
    ):
        reference, cpu_ms = _run(load_backbone(name, Setup(device="cpu")), batch, count)
        for precision in ("float32", "bfloat16"):
            values, gpu_ms = _run(load_backbone(name, Setup(device="cuda", precision=precision)), batch, count)
            far = np.abs(values - reference).max() / np.abs(reference).max()
            rows.append((f"{name}, {precision}, {unit}", f"{gpu_ms:.2f}", f"{cpu_ms:.2f}", f"{far:.1e}, relative"))
    return rows


def _run(backbone: Callable[..., np.ndarray], batch: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    backbone(batch)
    began = time.perf_counter()
    values = backbone(batch)
    return values, 1000 * (time.perf_counter() - began) / count
