"""Localization: long videos, and one clip."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avloc.config import preset
from avloc.features.task import extract_one
from avloc.formats.annotations import read_annotations
from avloc.formats.features import load_features, save_features
from avloc.localize import localize
from avloc.media.encode import write_video
from avloc.metrics import rasterise
from avloc.model import losses
from avloc.model.batch import SnippetOutput
from avloc.model.checkpoint import ModelCard, save_model
from avloc.model.fusion import attention, cross_attend
from avloc.pipeline.folder import localize_all
from avloc.pipeline.localizer import load, with_options
from avloc.types import FeatureSequence, Provenance, SnippetGrid
from benchmarks.console import add_command, markdown_table
from benchmarks.speed.clock import Clock, common_options, in_process, memory_bytes, write
from benchmarks.speed.data import SOURCE, feature_sequence

LENGTHS = (100, 300, 1000, 3000, 10_000, 30_000, 86_400, 100_000)
CLIP_S, FPS, SAMPLE_RATE_HZ = 60, 24, 16_000
IMPORTS = """
import json, time
rows = {}
for name, module in (("import torch", "torch"), ("import all else", "avloc.pipeline.folder")):
    wall, cpu = time.perf_counter(), time.process_time()
    __import__(module)
    rows[name] = [(time.perf_counter() - wall, time.process_time() - cpu)]
print(json.dumps(rows))
"""
Growth = dict[str, dict[int, dict[str, float]]]


def add_commands(commands: Any) -> None:
    parser = add_command(commands, long_videos, [common_options()], longest=100_000, whole=10_000)
    parser.add_argument("--plot", type=Path, help="draw the growth into this file")
    parser.add_argument("--agreement", type=Path, metavar="DEMO", help="only compare windows with the whole video")
    add_command(commands, serve, [common_options()], rounds=3)


# Long videos


def long_videos(args: argparse.Namespace) -> None:
    """Time and memory as a video grows from 100 snippets to 100,000 (a day at one snippet per second).

    Each point is measured in a separate process. A model of the default size (2,048 + 128 channels, d_x 1024, 100
    classes) with random weights reads a features file and localizes it:

        windows    as `avloc localize` does: 1,024 snippets at a time above that length
        whole      attention over the whole video, fused (`localize.window_snippets=null`), up to --whole snippets
        losses     all losses with gradients, of one labelled video (64 channels)

    --agreement DEMO compares windows with the whole video on features of `avloc demo`. Linux only.
    """
    torch.set_num_threads(args.threads)
    if args.agreement is not None:
        _agreement(args.agreement)
        return
    longest, whole = (1000, 1000) if args.quick else (args.longest, args.whole)
    clock = _fused_against_plain(1500 if args.quick else 4000, 1 if args.quick else 3)
    found = _growth(longest, whole, args.threads)
    if args.plot is not None:
        _plot(found, args.plot)
    figures = clock.figures()
    for kind, rows in found.items():
        for length, facts in rows.items():
            figures |= {f"{kind} {length:,}, {key}": facts[key] for key in ("wall", "cpu", "peak")}
    last = max(found["windows"])
    first = max(n for n in found["windows"] if n <= last / 8)
    ratios = {"plain / fused attention, CPU": clock.cpu_s("plain") / clock.cpu_s("fused")}
    for kind in ("windows", "losses"):
        shares = [found[kind][n]["cpu"] / n for n in (first, last)]
        ratios[f"{kind}: CPU a snippet at {first:,} / at {last:,}"] = shares[0] / shares[1]
    write(args.json, "long_videos", ratios, figures)


def _growth(longest: int, whole: int, threads: int) -> Growth:
    """{kind: {length: wall and CPU seconds, peak memory in GB}}."""
    found: Growth = {"windows": {}, "whole": {}, "losses": {}}
    with tempfile.TemporaryDirectory(prefix="avloc-long-") as folder:
        run = Path(folder) / "run"
        _random_run(run, preset("activitynet", {"extract.step_s": 1}), 100, 128, 2048, SOURCE)
        for length in (n for n in LENGTHS if n <= longest):
            path = Path(folder) / f"{length}.safetensors"
            rows = np.random.default_rng(0).standard_normal((length, 2176), dtype=np.float32)
            save_features(path, feature_sequence("long", rows), "float16")
            found["windows"][length] = in_process(_localize_file, run, path, 1024, threads)
            if length <= whole:
                found["whole"][length] = in_process(_localize_file, run, path, None, threads)
            found["losses"][length] = in_process(_losses, length, threads)
            path.unlink()
    return found


def _random_run(folder: Path, config: Any, classes: int, audio_size: int, visual_size: int, source: Provenance) -> None:
    torch.manual_seed(0)
    names = tuple(f"class {c}" for c in range(classes))
    versions = {modality: source.version(modality) for modality in source.backbones}
    card = ModelCard(config, names, audio_size, visual_size, source.backbones, versions=versions)
    save_model(folder / "model.safetensors", card, card.build().state_dict())


def _localize_file(run: Path, features: Path, window: int | None, threads: int) -> dict[str, float]:
    localizer = with_options(load(run), {"localize.window_snippets": window})
    return _measured(lambda: localizer.localize(features), threads)


def _losses(length: int, threads: int) -> dict[str, float]:
    """All losses of one video, forward and backward, of the preset `default`."""
    torch.manual_seed(0)
    options = preset("default").loss
    raw, embedding = torch.randn(1, length, 101, requires_grad=True), torch.randn(1, length, 64)
    labels, mask = torch.zeros(1, 100), torch.ones(1, length, dtype=torch.bool)
    labels[0, :2] = 1

    def work() -> None:
        probs = raw.softmax(dim=2)
        output = SnippetOutput(embedding, raw[:, :, 1:], 1 - probs[:, :, 0], probs)
        terms, _ = losses.output_terms(output, labels, mask, options)
        high, low, where = losses.coactivity_descriptors(embedding, output.action_logits, labels, mask)
        (sum(terms.values()) + losses.coactivity_loss(high, low, where, options.coactivity_margin)).backward()

    return _measured(work, threads)


def _measured(work: Callable[[], Any], threads: int) -> dict[str, float]:
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    clock = Clock()
    clock.time("work", work)
    return {"wall": clock.wall_s("work"), "cpu": clock.cpu_s("work"), "peak": memory_bytes() / 1e9}


def _fused_against_plain(length: int, rounds: int) -> Clock:
    """One stage of cross-attention (d_x 1024), fused and with the square matrix written out."""
    clock = Clock()
    audio, visual, weight = (torch.randn(*shape) for shape in ((1, length, 1024), (1, length, 1024), (1024, 1024)))
    weight *= 0.03
    mask, both = torch.ones(1, length, dtype=torch.bool), torch.ones(1, dtype=torch.bool)

    def plain() -> None:
        weights = attention(audio, visual, weight, mask, mask, scale=1.0)
        weights.audio.transpose(1, 2) @ audio
        weights.visual.transpose(1, 2) @ visual

    with torch.no_grad():
        for _ in range(rounds):
            clock.time("plain", plain)
            clock.time("fused", lambda: cross_attend(audio, visual, weight, mask, both, scale=1.0))
    return clock


def _plot(found: Growth, path: Path) -> None:
    """Seconds and memory against length, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    shown = (("wall", "seconds", 60), ("peak", "peak resident memory, GB", 2))
    for axes, (key, label, target) in zip(panels, shown, strict=True):
        for (kind, rows), marker in zip(found.items(), "os^", strict=True):
            axes.loglog(list(rows), [facts[key] for facts in rows.values()], marker=marker, label=kind)
        axes.axhline(target, color="grey", linewidth=0.8, linestyle="--")
        axes.set(xlabel="snippets", ylabel=label)
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(path, dpi=110)


def _agreement(demo: Path, repeats: int = 4) -> None:
    """Agreement of windows with the whole video, and the accuracy of both."""
    localizer = load(demo / "2-stages" / "run")
    video, truth = _concatenated(demo, localizer.classes, repeats)
    print(f"{len(truth)} snippets: the demo's test videos, {repeats} times\n")
    rows, whole = [], None
    for window in (None, 2048, 1024, 512, 200, 64):
        probs = with_options(localizer, {"localize.window_snippets": window}).activations(video).probs
        whole = probs if whole is None else whole
        best = probs.argmax(axis=1)
        same, differs = (best == whole.argmax(axis=1)).mean(), np.abs(probs - whole).mean()
        right = [f"{(best == truth)[chosen].mean():.1%}" for chosen in (truth >= 0, truth == 0, truth > 0)]
        rows.append([window or "whole", f"{same:.1%}", f"{differs:.4f}", *right])
    head = ["window", "same class as the whole", "mean difference of p", "accuracy", "background", "foreground"]
    print(markdown_table(head, rows))


def _concatenated(demo: Path, classes: tuple[str, ...], repeats: int) -> tuple[FeatureSequence, np.ndarray]:
    """The demo's test videos concatenated in random orders, and each snippet's true class (0: background)."""
    truth = {video.video_id: video for video in read_annotations(demo / "ground_truth.json")[0]}
    paths = sorted((demo / "features").glob("test_*.safetensors"))
    rng = np.random.default_rng(0)
    audio, visual, labels = [], [], []
    for k in np.concatenate([rng.permutation(len(paths)) for _ in range(repeats)]):
        features = load_features(paths[k])
        if features.audio is None or features.visual is None:
            continue
        audio.append(features.audio)
        visual.append(features.visual)
        labels.append(rasterise(truth[features.video_id], features.grid, classes))
    step_s = float(features.grid.step_s)
    grid = SnippetGrid.cover(sum(map(len, labels)) * step_s, step_s)
    rows = np.concatenate(visual), np.concatenate(audio)
    joined = FeatureSequence("long", grid.count * step_s, grid, rows[0], rows[1], features.source)
    return joined, np.concatenate(labels)


# One clip


def serve(args: argparse.Namespace) -> None:
    """Where `avloc localize` of a 60 s clip spends its time.

    The clip (480x270, 24 fps, audio) is rendered; the run has the demo's size (appearance + logmel, 0.5 s snippets,
    d_x 128, 6 classes) and random weights. Cold: the command in a new process, its imports in a second, its parts
    in a third. Warm: the same Localizer again.
    """
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    rounds, clock = (1 if args.quick else args.rounds), Clock()
    with tempfile.TemporaryDirectory(prefix="avloc-serve-") as folder:
        home = Path(folder)
        clip, run = home / "clip.mp4", home / "run"
        _write_clip(clip)
        config = preset("demo", {"extract.visual": "appearance", "extract.audio": "logmel"})
        features = extract_one(clip, config.extract)
        _random_run(run, config, 6, features.audio.shape[1], features.visual.shape[1], features.source)
        for k in range(rounds):
            command = ["-m", "avloc", "localize", str(run), str(clip), "-o", str(home / f"out{k}")]
            clock.time("cold: avloc localize", lambda command=command: _python(*command))
            clock.time("python -c 'import torch'", lambda: _python("-c", "import torch"))
            imports = json.loads(_python("-c", IMPORTS))
            for name, rows in (imports | in_process(_parts, run, clip, home / f"parts{k}")).items():
                for row in rows:
                    clock.add(name, *row)
    imports_s = clock.cpu_s("import torch") + clock.cpu_s("import all else")
    ratios = {
        "torch's import / all imports, CPU": clock.cpu_s("import torch") / imports_s,
        "clip to result, warm / cold, CPU": clock.cpu_s("warm: clip to result") / clock.cpu_s("cold: avloc localize"),
    }
    write(args.json, "serve", ratios, {**clock.figures(), "imports, CPU s": imports_s})


def _write_clip(path: Path) -> None:
    """A square moving over a textured wall, and a tone that switches on and off."""
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 255, (270, 480, 3), dtype=np.uint8)

    def frames() -> Iterator[np.ndarray]:
        for k in range(CLIP_S * FPS):
            frame = wall // 2
            x, y = int(200 + 180 * np.sin(k / 40)), int(110 + 100 * np.cos(k / 27))
            frame[y : y + 50, x : x + 50] = (k % 255, 200, 90)
            yield frame

    seconds = np.arange(CLIP_S * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 440 * seconds) * (np.sin(seconds / 3) > 0)
    audio = tone + 0.01 * rng.normal(size=len(seconds))
    write_video(path, frames(), FPS, audio.astype(np.float32), SAMPLE_RATE_HZ)


def _parts(run: Path, clip: Path, out: Path) -> dict[str, list[tuple[float, float]]]:
    """The steps of the command one by one, first cold, then warm."""
    clock = Clock()
    logging.disable(logging.WARNING)
    localizer = clock.time("load the run", lambda: load(run))
    features = clock.time("decode and extract", lambda: localizer.features(clip))
    activations = clock.time("network", lambda: localizer.activations(features))
    clock.time("decode segments", lambda: localize(activations, localizer.options))
    for _ in range(3):
        clock.time("warm: clip to result", lambda: localizer.localize(clip))
        clock.time("warm: features to result", lambda: localizer.localize(features))
        clock.time("warm: clip to files", lambda: localize_all(localizer, [clip], out))
    return clock.rows


def _python(*arguments: str) -> str:
    """Output of Python with these arguments, in a new process."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout
