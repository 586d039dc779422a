"""How do time and memory grow with a video's length, from 100 snippets to 100,000 (a day at one snippet a second)?

    python benchmarks/long_videos.py [--plot docs/images/long_videos.png] [--longest 100000] [--json OUT.json]
    python benchmarks/long_videos.py --agreement DEMO    # windows against the whole, on features of `avloc demo`

Each point is a process of its own, so that its peak resident memory (VmHWM) is its own. A model of the default size
(2,048 + 128 channels, d_x 1024, 100 classes) with random weights reads a feature file and localizes it:

    windows    as `avloc localize` does: 1,024 snippets at a time above that length
    whole      attention over the whole video, fused (`localize.window_snippets=null`)
    losses     all losses with gradients, of one labelled video (64 channels)

Attention over the whole grows with the square of the length; it is measured up to --whole snippets. Linux only.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import avloc
from avloc.config import preset
from avloc.formats.annotations import read_annotations
from avloc.formats.features import load_features, save_features
from avloc.model import losses
from avloc.model.batch import SnippetOutput
from avloc.model.checkpoint import ModelCard, save_model
from avloc.model.fusion import attention, cross_attend
from avloc.pipeline.localizer import load, with_options
from avloc.types import FeatureSequence, Provenance, SnippetGrid
from clock import Clock, arguments, write

LENGTHS = (100, 300, 1000, 3000, 10_000, 30_000, 86_400, 100_000)
SOURCE = {"visual": "simulated", "audio": "simulated"}


def status_gb(key: str) -> float:
    return next(int(line.split()[1]) * 1024 / 1e9 for line in open("/proc/self/status") if line.startswith(key))


def make_features(path: Path, length: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((length, 2176), dtype=np.float32)
    grid = SnippetGrid.cover(length, 1)
    save_features(
        path,
        FeatureSequence("long", float(length), grid, rows[:, :2048], rows[:, 2048:], Provenance(SOURCE)),
        "float16",
    )


def make_run(folder: Path) -> None:
    torch.manual_seed(0)
    card = ModelCard(
        preset("activitynet", {"extract.step_s": 1}), tuple(f"class {c}" for c in range(100)), 128, 2048, SOURCE
    )
    save_model(folder / "model.safetensors", card, card.build().state_dict())


def localize_one(run: Path, features: Path, window: int | None) -> dict[str, float]:
    """What one process does: load the run, read the file, localize."""
    localizer = with_options(load(run), {"localize.window_snippets": window})
    before, began, cpu = status_gb("VmHWM"), time.perf_counter(), time.process_time()
    result = localizer.localize(features)
    return {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "peak": status_gb("VmHWM"),
        "before": before,
        "detections": len(result.detections),
    }


def losses_of_one(length: int) -> dict[str, float]:
    """All losses of one video, forward and backward."""
    torch.manual_seed(0)
    raw, embedding = torch.randn(1, length, 101), torch.randn(1, length, 64)
    labels, mask = torch.zeros(1, 100), torch.ones(1, length, dtype=torch.bool)
    labels[0, :2] = 1
    raw.requires_grad_()
    before, began, cpu = status_gb("VmHWM"), time.perf_counter(), time.process_time()
    probs = raw.softmax(dim=2)
    output = SnippetOutput(embedding, raw[:, :, 1:], 1 - probs[:, :, 0], probs)
    options = preset("paper").loss
    terms, _ = losses.output_terms(output, labels, mask, options)
    high, low, where = losses.coactivity_descriptors(embedding, output.action_logits, labels, mask)
    total = sum(terms.values()) + losses.coactivity_loss(high, low, where, options.coactivity_margin)
    total.backward()
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    return {"wall": wall, "cpu": used, "peak": status_gb("VmHWM"), "before": before}


def in_process(*words: object) -> dict[str, float]:
    """This script again, on one point."""
    command = [sys.executable, __file__, "--one", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def one(kind: str, length: str, home: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    logging.disable(logging.WARNING)
    if kind == "losses":
        facts = losses_of_one(int(length))
    else:
        window = 1024 if kind == "windows" else None
        facts = localize_one(Path(home) / "run", Path(home) / f"{length}.safetensors", window)
    print(json.dumps(facts))


def growth(longest: int, whole: int, threads: int) -> dict[str, dict[int, dict[str, float]]]:
    """{kind: {length: facts}}."""
    found: dict[str, dict[int, dict[str, float]]] = {"windows": {}, "whole": {}, "losses": {}}
    with tempfile.TemporaryDirectory(prefix="avloc-long-") as folder:
        make_run(Path(folder) / "run")
        for length in (n for n in LENGTHS if n <= longest):
            path = Path(folder) / f"{length}.safetensors"
            make_features(path, length)
            for kind, rows in found.items():
                if kind != "whole" or length <= whole:
                    rows[length] = in_process(kind, length, folder, threads)
            path.unlink()
    return found


def fused_against_plain(length: int, rounds: int) -> Clock:
    """One stage of cross-attention (d_x 1024), fused and with the square matrix written out."""
    clock = Clock()
    audio, visual, weight = (torch.randn(*shape) for shape in ((1, length, 1024), (1, length, 1024), (1024, 1024)))
    weight *= 0.03
    mask, both = torch.ones(1, length, dtype=torch.bool), torch.ones(1, dtype=torch.bool)

    def plain() -> None:
        weights = attention(audio, visual, weight, mask, mask, 1.0)
        weights.audio.transpose(1, 2) @ audio
        weights.visual.transpose(1, 2) @ visual

    with torch.no_grad():
        for _ in range(rounds):
            clock.time("plain", plain)
            clock.time("fused", lambda: cross_attend(audio, visual, weight, mask, both, 1.0))
    return clock


def plot(found: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Seconds and memory against length, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for (kind, rows), marker in zip(found.items(), "os^", strict=True):
        lengths = list(rows)
        left.loglog(lengths, [rows[n]["wall"] for n in lengths], marker=marker, label=kind)
        right.loglog(lengths, [rows[n]["peak"] for n in lengths], marker=marker, label=kind)
    left.axhline(60, color="grey", linewidth=0.8, linestyle="--")
    right.axhline(2, color="grey", linewidth=0.8, linestyle="--")
    for axes, what in ((left, "seconds"), (right, "peak resident memory, GB")):
        axes.set(xlabel="snippets", ylabel=what)
        axes.grid(alpha=0.3)
    left.legend()
    figure.savefig(path, dpi=110)


def concatenated(demo: Path, classes: tuple[str, ...], repeats: int) -> tuple[FeatureSequence, np.ndarray]:
    """The demo's test videos one after the other in random orders, and each snippet's true class (0: background)."""
    truth = {video.video_id: video for video in read_annotations(demo / "ground_truth.json")[0]}
    paths = sorted((demo / "features").glob("test_*.safetensors"))
    rng = np.random.default_rng(0)
    audio, visual, labels = [], [], []
    for k in np.concatenate([rng.permutation(len(paths)) for _ in range(repeats)]):
        features = load_features(paths[k])
        if features.audio is None or features.visual is None:
            continue
        label = np.zeros(features.grid.count, dtype=int)
        middle = (np.arange(len(label)) + 0.5) * float(features.grid.step_s) + float(features.grid.start_s)
        for instance in truth[features.video_id].instances:
            inside = (middle >= instance.start_s) & (middle < instance.end_s)
            label[inside] = 1 + classes.index(instance.label)
        audio.append(features.audio)
        visual.append(features.visual)
        labels.append(label)
    step, source = float(features.grid.step_s), features.source
    grid = SnippetGrid.cover(sum(map(len, labels)) * step, step)
    stacked = [np.concatenate(rows) for rows in (visual, audio)]
    return FeatureSequence("long", grid.count * step, grid, *stacked, source), np.concatenate(labels)


def agreement(demo: Path, repeats: int = 4) -> None:
    """How far windows are from the whole, and which of them is nearer to the truth."""
    localizer = avloc.load(demo / "2-stages" / "run")
    video, truth = concatenated(demo, localizer.classes, repeats)
    print(f"{len(truth)} snippets of {repeats} x the demo's test videos\n")
    print("| window | same class as the whole | mean difference of p | accuracy | background | foreground |")
    print("|---|---|---|---|---|---|")
    whole = None
    for window in (None, 2048, 1024, 512, 200, 64):
        probs = with_options(localizer, {"localize.window_snippets": window}).activations(video).probs
        whole = probs if whole is None else whole
        best = probs.argmax(axis=1)
        same, differs = (best == whole.argmax(axis=1)).mean(), np.abs(probs - whole).mean()
        right = [(best == truth)[chosen].mean() for chosen in (truth >= 0, truth == 0, truth > 0)]
        print(f"| {window or 'whole'} | {same:.1%} | {differs:.4f} | " + " | ".join(f"{r:.1%}" for r in right) + " |")


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
        return
    parser = arguments(__doc__)
    parser.add_argument("--longest", type=int, default=100_000)
    parser.add_argument("--whole", type=int, default=10_000, help="longest video that is attended over as a whole")
    parser.add_argument("--plot", type=Path, help="draw the growth here")
    parser.add_argument("--agreement", type=Path, metavar="DEMO", help="only compare windows with the whole")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.agreement is not None:
        agreement(args.agreement)
        return
    longest, whole = (1000, 1000) if args.quick else (args.longest, args.whole)
    clock = fused_against_plain(1500 if args.quick else 4000, 1 if args.quick else 3)
    found = growth(longest, whole, args.threads)
    if args.plot is not None:
        plot(found, args.plot)
    figures = {**clock.figures()}
    for kind, rows in found.items():
        for length, facts in rows.items():
            figures |= {f"{kind} {length:,}, {key}": facts[key] for key in ("wall", "cpu", "peak")}
    last = max(found["windows"])
    first = max(n for n in found["windows"] if n <= last / 8)
    linear = {
        f"{kind}: CPU a snippet at {first:,} / at {last:,}": (found[kind][first]["cpu"] / first)
        / (found[kind][last]["cpu"] / last)
        for kind in ("windows", "losses")
    }
    write(
        args.json,
        "long_videos",
        {"plain / fused attention, CPU": clock.cpu_s("plain") / clock.cpu_s("fused"), **linear},
        figures,
    )


if __name__ == "__main__":
    main()
