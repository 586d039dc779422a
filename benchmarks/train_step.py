"""What does a training step cost beyond its matrix products, and how does it compare with W-TALC's loop?

    python benchmarks/train_step.py [--rounds 8] [--threads 2] [--json OUT.json] [--profile]

Three things take turns in one run, at ActivityNet 1.2's size (2,048 + 128 channels, videos of 180 snippets on average,
100 classes):

    step       one step of `avloc.train.fit` (batch 30, 200 snippets, d_x 1024, all losses): sampler, reading files,
               network, losses, optimiser, engine, log. By the paper's recipe (`--preset paper`), by the default one
               (`activitynet`: a teacher's forward pass besides, wider heads), and by the paper's in bf16
    products   only the matrix products of such a step, forward and backward: recorded while a step runs, then repeated
               with the same shapes and strides
    W-TALC     the step of its published loop, plainly written: batch of 10, a 2048 x 2048 model of what is seen, padded
               to the longest video of the batch, losses pair by pair and video by video

Then an epoch of AVE's size (3,339 videos of 10 snippets, d_x 1024), and with --profile where the time of ours goes.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from avloc.config import RunConfig, preset
from avloc.formats.features import FeatureStore, save_features
from avloc.system.pool import keep_freed_memory
from avloc.train.dataset import WeakDataset
from avloc.train.loop import fit
from avloc.types import FeatureSequence, Provenance, SnippetGrid
from clock import Clock, arguments, write
from memory import make_features

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv"}
BF16 = {"train__precision": "bf16-mixed"}
Product = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]


class Recorder(TorchDispatchMode):
    """Notes shapes and strides of the two factors of every matrix product."""

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
    """The recorded products on fresh numbers; equal factors share memory, which is kind to the caches."""

    def __init__(self, products: list[Product]) -> None:
        self.flops = 0.0
        pool: dict[Any, Tensor] = {}
        self.factors = []
        for pair in products:
            made = [pool.setdefault((i, key), self._factor(*key)) for i, key in enumerate(pair)]
            self.factors.append(made)
            self.flops += 2.0 * made[0].numel() * (made[1].shape[-1] if made[1].dim() > 1 else 1)

    @staticmethod
    def _factor(shape: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return torch.empty_strided(shape, stride).normal_()

    def __call__(self) -> None:
        with torch.no_grad():
            for a, b in self.factors:
                a @ b


class WTALC(nn.Module):
    """x = dropout(ReLU(FC(v))), h = FC(x) (Paul et al. 2018)."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.fc, self.classifier, self.dropout = nn.Linear(size, size), nn.Linear(size, classes), nn.Dropout(0.7)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(F.relu(self.fc(rows)))
        return x, self.classifier(x)


class WTALCLoop:
    """Its training step as published: 3 pairs and 4 more videos, all their snippets (at most 750), Adam."""

    def __init__(self, store: FeatureStore, labels: dict[str, int], classes: int, longest: int = 750) -> None:
        self.rng = np.random.default_rng(0)
        self.videos = [store.load(name).visual[:longest] for name in store.ids]  # it keeps all features in memory
        self.labels = [labels[name] for name in store.ids]
        self.classes = classes
        self.model = WTALC(self.videos[0].shape[1], classes)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, weight_decay=5e-4)

    def batch(self) -> list[int]:
        chosen: list[int] = []
        for c in self.rng.permutation(self.classes):
            members = [i for i, label in enumerate(self.labels) if label == c]
            if len(members) >= 2 and len(chosen) < 6:
                chosen += self.rng.choice(members, 2, replace=False).tolist()
        return chosen + self.rng.choice(len(self.videos), 10 - len(chosen)).tolist()

    def step(self) -> None:
        indices = self.batch()
        lengths = [len(self.videos[i]) for i in indices]
        features = np.zeros((len(indices), max(lengths), self.videos[0].shape[1]), dtype=np.float32)
        labels = torch.zeros(len(indices), self.classes)
        for row, i in enumerate(indices):
            features[row, : lengths[row]] = self.videos[i]
            labels[row, self.labels[i]] = 1
        x, logits = self.model(torch.from_numpy(features))
        loss = 0.5 * self._mil(logits, lengths, labels) + 0.5 * self._pairs(x, logits, lengths, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _mil(self, logits: Tensor, lengths: list[int], labels: Tensor) -> Tensor:
        rows = []
        for i, length in enumerate(lengths):
            top, _ = torch.topk(logits[i][:length], k=int(max(np.ceil(length / 8), 1)), dim=0)
            rows.append(top.mean(dim=0, keepdim=True))
        target = labels / labels.sum(dim=1, keepdim=True)
        return -(target * F.log_softmax(torch.cat(rows), dim=1)).sum(dim=1).mean()

    def _pairs(self, x: Tensor, logits: Tensor, lengths: list[int], labels: Tensor) -> Tensor:
        loss, count = torch.zeros(()), 0.0
        for i in range(0, 6, 2):
            high, low = [], []
            for v in (i, i + 1):
                attention = F.softmax(logits[v][: lengths[v]], dim=0)
                columns = x[v][: lengths[v]].T
                high.append(columns @ attention)
                low.append(columns @ ((1 - attention) / max(lengths[v] - 1, 1)))
            shared = labels[i] * labels[i + 1]
            together = self._distance(high[0], high[1])
            for one, other in ((high[0], low[1]), (low[0], high[1])):
                loss = loss + 0.5 * (F.relu(together - self._distance(one, other) + 0.5) * shared).sum()
            count += float(shared.sum())
        return loss / max(count, 1.0)

    @staticmethod
    def _distance(a: Tensor, b: Tensor) -> Tensor:
        return 1 - (a * b).sum(dim=0) / (torch.norm(a, 2, dim=0) * torch.norm(b, 2, dim=0))


class Stepping:
    """`fit`, step by step: each step's wall and CPU seconds, and something else done between steps, off the clock."""

    def __init__(self, home: Path, config: RunConfig, between: Callable[[int], None]) -> None:
        self.steps: list[tuple[float, float]] = []
        self._between, self._last = between, (time.perf_counter(), time.process_time())
        with mock.patch.object(WeakDataset.__init__, "__defaults__", (0,)):  # no cache: it would hold all of this set
            fit(home / "features", home / "labels.csv", home / "run", config, progress=self._progress)

    def _progress(self, step: int, steps: int, _: str) -> None:
        if 1 < step < steps:  # the first sets up, the last validates
            self.steps.append((time.perf_counter() - self._last[0], time.process_time() - self._last[1]))
        self._between(step)
        self._last = time.perf_counter(), time.process_time()


def settings(name: str, steps: int, **changes: Any) -> RunConfig:
    """A preset, `steps` long, with one validation at the end."""
    few = {"train.steps": steps, "train.eval_every": steps, "train.holdout": 0.0}
    return preset(name, {**few, **{key.replace("__", "."): value for key, value in changes.items()}})


def recorded(home: Path, config: RunConfig) -> Products:
    """The matrix products of one training step."""
    marks = []
    with Recorder() as recorder:
        Stepping(home, config, lambda _: marks.append(len(recorder.products)))
    return Products(recorder.products[marks[0] : marks[1]])


def activitynet(home: Path, rounds: int, sizes: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios and figures of a step at ActivityNet's size, by the paper's recipe and by ours."""
    labels = dict(line.split(",class ") for line in (home / "labels.csv").read_text().splitlines()[1:])
    wtalc = WTALCLoop(FeatureStore(home / "features"), {name: int(c) for name, c in labels.items()}, 100)
    with Recorder() as recorder:
        wtalc.step()
    clock, figures = Clock(), {"W-TALC, GFLOP of products a video": Products(recorder.products).flops / 10 / 1e9}
    ratios = {}
    recipes = {"paper": ("paper", {}), "default": ("activitynet", {}), "bf16": ("paper", BF16)}
    for recipe, (name, changes) in recipes.items():
        config = settings(name, rounds + 2, **sizes, **changes)
        batch = config.train.batch_size
        step, alone, theirs = (f"{recipe}: {part}" for part in ("step", "its products", "W-TALC's step"))
        products = recorded(home, settings(name, 3, **sizes))  # of float32 also where the step is not

        def between(_: int, names: tuple[str, str] = (alone, theirs), products: Products = products) -> None:
            clock.time(names[0], products)
            clock.time(names[1], wtalc.step)

        for wall, cpu in Stepping(home, config, between).steps:
            clock.add(step, wall, cpu)
        figures[f"{recipe}, GFLOP of products a video"] = products.flops / batch / 1e9
        figures[f"{recipe}, videos/s"] = batch / clock.wall_s(step)
        figures[f"{recipe}, W-TALC's videos/s meanwhile"] = 10 / clock.wall_s(theirs)
        for kind, seconds in (("CPU", clock.cpu_s), ("wall", clock.wall_s)):
            ratios[f"{recipe}: float32 products / step, {kind}"] = seconds(alone) / seconds(step)
            ratios[f"{recipe}: videos/s / W-TALC's, {kind}"] = batch / 10 * seconds(theirs) / seconds(step)
    return ratios, {**clock.figures(), **figures}


def make_ave(home: Path, videos: int) -> None:
    """Features of AVE's shape: videos of 10 s, 512 + 128 channels, 28 classes."""
    rng = np.random.default_rng(0)
    grid, source = SnippetGrid.cover(10, 1), Provenance({"visual": "simulated", "audio": "simulated"})
    lines = ["video,labels"]
    for k in range(videos):
        rows = rng.normal(size=(10, 640)).astype(np.float32)
        features = FeatureSequence(f"video_{k:05d}", 10.0, grid, rows[:, :512], rows[:, 512:], source)
        save_features(home / "features" / f"video_{k:05d}.safetensors", features)
        lines.append(f"video_{k:05d},class {k % 28:02d}")
    (home / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def ave_epoch(home: Path, videos: int) -> tuple[dict[str, float], dict[str, float]]:
    """An epoch at AVE's size: as many batches of 30 as it has videos for."""
    make_ave(home, videos)
    products, clock = recorded(home, settings("ave", 3)), Clock()

    def between(step: int) -> None:
        if step % 8 == 0:
            clock.time("products", products)

    for wall, cpu in Stepping(home, settings("ave", 2 + videos // 30), between).steps:
        clock.add("step", wall, cpu)
    epoch = np.sum(clock.rows["step"], axis=0)
    ratios = {"AVE's size: products / step, CPU": clock.cpu_s("products") / clock.cpu_s("step")}
    return ratios, {
        f"AVE's size, epoch of {videos} videos, wall s": float(epoch[0]),
        f"AVE's size, epoch of {videos} videos, CPU s": float(epoch[1]),
    }


def profiled(home: Path, config: RunConfig) -> str:
    """A table of where the CPU time of three steps goes, by operator."""
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def between(step: int) -> None:
        if step == 1:
            profiler.start()
        elif step == 4:
            profiler.stop()

    Stepping(home, config, between)
    return profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=50)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--profile", action="store_true", help="only print where the time goes, by operator")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as `avloc train` does
    logging.disable(logging.WARNING)
    sizes = {"model__embed_dim": 64, "train__batch_size": 10} if args.quick else {}
    with tempfile.TemporaryDirectory(prefix="avloc-bench-") as folder:
        home = Path(folder)
        make_features(home / "anet", 40 if args.quick else 240, "float32", classes=20 if args.quick else 100)
        if args.profile:
            print(profiled(home / "anet", settings("paper", 5, **sizes)))
            return
        ratios, figures = activitynet(home / "anet", 2 if args.quick else args.rounds, sizes)
        more = ave_epoch(home / "ave", 300 if args.quick else 3339)
    write(args.json, "train_step", {**ratios, **more[0]}, {**figures, **more[1]})


if __name__ == "__main__":
    main()
