"""Training: one step, several processes, memory."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from avloc.config import RunConfig, preset
from avloc.formats.features import FeatureStore
from avloc.system.allocator import freed_memory_kept
from avloc.train.dataset import WeakDataset
from avloc.train.loop import fit
from benchmarks.console import add_command, markdown_table
from benchmarks.speed.clock import Clock, common_options, cpu_s, in_process, memory_bytes, write
from benchmarks.speed.data import make_activitynet, make_ave
from benchmarks.speed.wtalc import WTALCLoop

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv"}
Product = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]


def add_commands(commands: Any) -> None:
    add_command(commands, train_step, [common_options()], rounds=6, profile=False)
    add_command(commands, distributed, [common_options()], steps=12)
    parser = add_command(commands, memory, videos=4819, dtype="float32", steps=60, keep=False)
    parser.add_argument("--folder", type=Path, help="where to put the features (7.5 GB); default: a temporary folder")


# One step


@freed_memory_kept()  # as `avloc train` does
def train_step(args: argparse.Namespace) -> None:
    """A training step against its matrix products, and against W-TALC's training loop.

    Three parts alternate, at ActivityNet 1.2's size (2,048 + 128 channels, 180 snippets on average, 100 classes):

        step       one step of `avloc.train.fit` (batch 30, 200 snippets, d_x 1024, all losses): sampler, reading,
                   network, losses, optimizer, engine, log; for the presets `paper` and `activitynet` (with a
                   teacher and wider heads), and for `paper` in bf16
        products   only the matrix products of such a step, forward and backward, recorded during a step and
                   repeated with the same shapes and strides
        W-TALC     a step of its published loop: batch of 10, a 2048 x 2048 visual model, padded to the longest
                   video of the batch, losses pair by pair and video by video

    Then an epoch of AVE's size (3,339 videos of 10 snippets, d_x 1024). --profile prints time by operator instead.
    """
    torch.set_num_threads(args.threads)
    logging.disable(logging.WARNING)
    sizes = {"model.embed_dim": 64, "train.batch_size": 10} if args.quick else {}
    with tempfile.TemporaryDirectory(prefix="avloc-bench-") as folder:
        home = Path(folder)
        make_activitynet(home / "anet", 40 if args.quick else 240, classes=20 if args.quick else 100)
        if args.profile:
            print(_profiled(home / "anet", _settings("paper", 5, sizes)))
            return
        ratios, figures = _activitynet(home / "anet", 2 if args.quick else args.rounds, sizes)
        ave_ratios, ave_figures = _ave_epoch(home / "ave", 300 if args.quick else 3339)
    write(args.json, "train_step", {**ratios, **ave_ratios}, {**figures, **ave_figures})


class Recorder(TorchDispatchMode):
    """Records shapes and strides of the two factors of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            a, b = args[-2:] if name.startswith(("add", "badd")) else args[:2]
            self.products.append(((tuple(a.shape), a.stride()), (tuple(b.shape), b.stride())))
        return func(*args, **(kwargs or {}))


class Products:
    """The recorded products on random numbers. Equal factors share memory, which favors the caches."""

    def __init__(self, products: list[Product]) -> None:
        self.flops = 0.0
        pool: dict[Any, Tensor] = {}
        self.factors = []
        for pair in products:
            made = [pool.setdefault((i, key), torch.empty_strided(*key).normal_()) for i, key in enumerate(pair)]
            self.factors.append(made)
            self.flops += 2.0 * made[0].numel() * (made[1].shape[-1] if made[1].dim() > 1 else 1)

    @torch.no_grad()
    def __call__(self) -> None:
        for a, b in self.factors:
            a @ b


def _timed_steps(home: Path, config: RunConfig, between: Callable[[int], None]) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each step of `fit` but the first and last; `between` runs untimed after each step."""
    times: list[tuple[float, float]] = []
    last = time.perf_counter(), cpu_s()

    def progress(step: int, steps: int, _: str) -> None:
        nonlocal last
        if 1 < step < steps:  # the first includes setup, the last validation
            times.append((time.perf_counter() - last[0], cpu_s() - last[1]))
        between(step)
        last = time.perf_counter(), cpu_s()

    uncached = partial(WeakDataset, cache_bytes=0)  # it would hold all of this set
    with mock.patch("avloc.train.prepare.WeakDataset", uncached):
        fit(home / "features", home / "labels.csv", home / "run", config, progress=progress)
    return times


def _settings(name: str, steps: int, changes: dict[str, Any]) -> RunConfig:
    """A preset with this many steps and one validation at the end."""
    return preset(name, {"train.steps": steps, "train.eval_every": steps, "train.holdout": 0.0, **changes})


def _recorded(home: Path, config: RunConfig) -> Products:
    """The matrix products of one training step."""
    marks = []
    with Recorder() as recorder:
        _timed_steps(home, config, lambda _: marks.append(len(recorder.products)))
    return Products(recorder.products[marks[0] : marks[1]])


def _activitynet(home: Path, rounds: int, sizes: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios and figures at ActivityNet's size."""
    labels = dict(line.split(",class ") for line in (home / "labels.csv").read_text().splitlines()[1:])
    wtalc = WTALCLoop(FeatureStore(home / "features"), {name: int(c) for name, c in labels.items()}, 100)
    with Recorder() as recorder:
        wtalc.step()
    clock, figures = Clock(), {"W-TALC, GFLOP of products a video": Products(recorder.products).flops / 10 / 1e9}
    ratios = {}
    bf16 = {"train.precision": "bf16-mixed"}
    for recipe, name, changes in (("paper", "paper", {}), ("default", "activitynet", {}), ("bf16", "paper", bf16)):
        config = _settings(name, rounds + 2, sizes | changes)
        batch = config.train.batch_size
        step, alone, theirs = (f"{recipe}: {part}" for part in ("step", "its products", "W-TALC's step"))
        products = _recorded(home, _settings(name, 3, sizes))  # always float32

        def between(_: int, names: tuple[str, str] = (alone, theirs), products: Products = products) -> None:
            clock.time(names[0], products)
            clock.time(names[1], wtalc.step)

        for wall, cpu in _timed_steps(home, config, between):
            clock.add(step, wall, cpu)
        figures[f"{recipe}, GFLOP of products a video"] = products.flops / batch / 1e9
        figures[f"{recipe}, videos/s"] = batch / clock.wall_s(step)
        figures[f"{recipe}, W-TALC's videos/s meanwhile"] = 10 / clock.wall_s(theirs)
        for kind, seconds in (("CPU", clock.cpu_s), ("wall", clock.wall_s)):
            ratios[f"{recipe}: float32 products / step, {kind}"] = seconds(alone) / seconds(step)
            ratios[f"{recipe}: videos/s / W-TALC's, {kind}"] = batch / 10 * seconds(theirs) / seconds(step)
    return ratios, {**clock.figures(), **figures}


def _ave_epoch(home: Path, videos: int) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios and figures of an epoch at AVE's size, in batches of 30."""
    make_ave(home, videos)
    products, clock = _recorded(home, _settings("ave", 3, {})), Clock()

    def between(step: int) -> None:
        if step % 8 == 0:
            clock.time("products", products)

    for wall, cpu in _timed_steps(home, _settings("ave", 2 + videos // 30, {}), between):
        clock.add("step", wall, cpu)
    ratios = {"AVE's size: products / step, CPU": clock.cpu_s("products") / clock.cpu_s("step")}
    totals = np.sum(clock.rows["step"], axis=0).tolist()
    names = (f"AVE's size, epoch of {videos} videos, {kind} s" for kind in ("wall", "CPU"))
    return ratios, dict(zip(names, totals, strict=True))


def _profiled(home: Path, config: RunConfig) -> str:
    """CPU time of three steps by operator, as a table."""
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    actions = {1: profiler.start, 4: profiler.stop}
    _timed_steps(home, config, lambda step: actions.get(step, lambda: None)())
    return profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=50)


# Several processes


def distributed(args: argparse.Namespace) -> None:
    """The same training on 1, 2 and 4 processes (gloo): videos/s, and whether the weights agree.

    Batch 20, 200 snippets, 2,048 + 128 channels, d_x 512, all losses, one thread per process, no dropout (which
    differs between processes). Throughput is meaningful only with as many free cores as processes.
    """
    steps, width = (3, 32) if args.quick else (args.steps, 512)
    figures, rates, runs = {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="avloc-ddp-") as folder:
        home = Path(folder)
        make_activitynet(home, 40, classes=10)
        for processes in (1, 2, 4):
            runs[processes], rates[processes] = _train(home, processes, steps, "32-true", width)
            figures[f"{processes} processes, videos/s"] = rates[processes]
            figures[f"{processes} processes, largest difference of a weight"] = _furthest(runs[1], runs[processes])
        doubles = {n: _train(home, n, 3, "64-true", 32)[0] for n in (1, 4)}
        figures["4 processes, the same in double precision (d_x 32)"] = _furthest(doubles[1], doubles[4])
    ratios = {f"videos/s on {n} processes / on 1": rates[n] / rates[1] for n in (2, 4)}
    write(args.json, "distributed", ratios, figures)


def _train(home: Path, processes: int, steps: int, precision: str, embed_dim: int) -> tuple[Path, float]:
    """Folder and videos/s of one run, without its first step, which includes setup."""
    out = home / f"run-{processes}-{precision}"
    sets = [f"train.devices={processes}", f"train.steps={steps}", f"train.eval_every={steps}", "train.batch_size=20"]
    sets += ["train.holdout=0", f"train.precision={precision}", "train.accelerator=cpu"]
    sets += [f"model.embed_dim={embed_dim}", "model.dropout=0", "model.modality_dropout=0"]
    command = [sys.executable, "-m", "avloc", "train", "--preset", "activitynet", "-o", str(out)]
    command += ["--features", str(home / "features"), "--labels", str(home / "labels.csv")]
    command += [word for each in sets for word in ("--set", each)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(done.stderr)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return out, 20 / last["train/step_s"]


def _furthest(a: Path, b: Path) -> float:
    """Largest difference between two runs' weights."""
    one, other = (load_file(path / "model.safetensors") for path in (a, b))
    return max(float(np.abs(one[name].astype(np.float64) - other[name]).max()) for name in one)


# Memory


def memory(args: argparse.Namespace) -> None:
    """Peak memory of training at ActivityNet 1.2's size.

    Writes features of the size of its training set (4,819 videos of 180 snippets on average, 2,048 + 128 channels: 7.5
    GB in float32), trains on them in a separate process and reports its peak resident memory (VmHWM: mapped page cache
    counts, other page cache does not). --keep keeps the features. Linux only.
    """
    home = args.folder or Path(tempfile.mkdtemp(prefix="avloc-memory-"))
    try:
        if not (home / "labels.csv").is_file():
            make_activitynet(home, args.videos, args.dtype)
        size_gb = sum(path.stat().st_size for path in (home / "features").iterdir()) / 1e9
        print(f"{args.steps} steps and validation on {args.videos} videos, {size_gb:.1f} GB in {args.dtype}\n")
        head = ["peak resident, GiB", "before any data, GiB", "seconds"]
        print(markdown_table(head, [in_process(_fit, home, args.steps)]))
    finally:
        if not args.keep:
            shutil.rmtree(home, ignore_errors=True)


@freed_memory_kept()  # as `avloc train` does
def _fit(home: Path, steps: int) -> tuple[str, str, str]:
    """Peak and initial memory of this process, and seconds."""
    settings = preset("activitynet", {"train.steps": steps, "train.eval_every": steps})
    before, start = memory_bytes("VmRSS"), time.perf_counter()
    fit(home / "features", home / "labels.csv", home / "run", settings)
    seconds = time.perf_counter() - start
    return f"{memory_bytes() / 2**30:.2f}", f"{before / 2**30:.2f}", f"{seconds:.0f}"
