"""Serving one video: where do the seconds of `avloc localize` of a 60 s clip go?

    python benchmarks/serve.py [--rounds 3] [--json OUT.json]

A clip of 60 s (480x270, 24 pictures a second, sound) is rendered; the run is of the demo's size (appearance + logmel,
0.5 s snippets, d_x 128, 6 classes) with random weights. Cold: the command in a process of its own, and, in another, the
same things one after the other under a clock. Warm: the same Localizer asked again.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from clock import Clock, arguments, write

SECONDS, RATE, SOUND_HZ = 60, 24, 16_000


def make_clip(path: Path) -> None:
    """A square that wanders over a textured wall, and a tone that comes and goes."""
    from avloc.media.encode import write_video

    rng = np.random.default_rng(0)
    wall = rng.integers(0, 255, (270, 480, 3), dtype=np.uint8)

    def pictures() -> object:
        for k in range(SECONDS * RATE):
            picture = wall // 2
            x, y = int(200 + 180 * np.sin(k / 40)), int(110 + 100 * np.cos(k / 27))
            picture[y : y + 50, x : x + 50] = (k % 255, 200, 90)
            yield picture

    seconds = np.arange(SECONDS * SOUND_HZ) / SOUND_HZ
    sound = 0.2 * np.sin(2 * np.pi * 440 * seconds) * (np.sin(seconds / 3) > 0) + 0.01 * rng.normal(size=len(seconds))
    write_video(path, pictures(), RATE, sound.astype(np.float32), SOUND_HZ)


def make_run(folder: Path, clip: Path) -> None:
    import torch

    from avloc.config import preset
    from avloc.features.task import extract_one
    from avloc.model.checkpoint import ModelCard, save_model

    config = preset("demo", {"extract.visual": "appearance", "extract.audio": "logmel"})
    features = extract_one(clip, config.extract)
    sizes = features.audio.shape[1], features.visual.shape[1]
    torch.manual_seed(0)
    card = ModelCard(config, tuple(f"class {c}" for c in range(6)), *sizes, features.source.backbones)
    save_model(folder / "model.safetensors", card, card.build().state_dict())


def parts(run: Path, clip: Path, out: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """What the command does, piece by piece, in a process that has imported nothing of it yet."""
    clock = Clock()
    logging.disable(logging.WARNING)

    def imported() -> None:
        pass

    clock.time("import all else", imported)
    from avloc.localize import localize
    from avloc.pipeline.folder import localize_all
    from avloc.pipeline.localizer import load

    localizer = clock.time("load the run", lambda: load(run))
    features = clock.time("decode and extract", lambda: localizer.features(clip))
    activations = clock.time("network", lambda: localizer.activations(features))
    clock.time("decode segments", lambda: localize(activations, localizer.options))
    for _ in range(rounds):
        clock.time("warm: clip to result", lambda: localizer.localize(clip))
        clock.time("warm: features to result", lambda: localizer.localize(features))
        clock.time("warm: clip to files", lambda: localize_all(localizer, [clip], out))
    return clock.rows


def in_process(clock: Clock, name: str, command: list[str]) -> str:
    """Run a command, note its wall and CPU seconds."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    clock.add(name, time.perf_counter() - began, used)
    return done.stdout


def main() -> None:
    if sys.argv[1:2] == ["--parts"]:
        clock = Clock()
        clock.time("import torch", lambda: __import__("torch"))
        print(json.dumps(clock.rows | parts(*map(Path, sys.argv[2:5]), int(sys.argv[5]))))
        return
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    rounds, clock = (1 if args.quick else args.rounds), Clock()
    with tempfile.TemporaryDirectory(prefix="avloc-serve-") as folder:
        home = Path(folder)
        make_clip(home / "clip.mp4")
        make_run(home / "run", home / "clip.mp4")
        for k in range(rounds):
            out = str(home / f"out{k}")
            command = [sys.executable, "-m", "avloc", "localize", str(home / "run"), str(home / "clip.mp4"), "-o", out]
            in_process(clock, "cold: avloc localize", command)
            in_process(clock, "python -c 'import torch'", [sys.executable, "-c", "import torch"])
            words = [str(home / "run"), str(home / "clip.mp4"), str(home / f"parts{k}"), "3"]
            for name, rows in json.loads(
                in_process(Clock(), "parts", [sys.executable, __file__, "--parts", *words])
            ).items():
                for row in rows:
                    clock.add(name, *row)
    imports = clock.cpu_s("import torch") + clock.cpu_s("import all else")
    ratios = {
        "torch's import / all imports, CPU": clock.cpu_s("import torch") / imports,
        "clip to result, warm / cold, CPU": clock.cpu_s("warm: clip to result") / clock.cpu_s("cold: avloc localize"),
    }
    write(args.json, "serve", ratios, {**clock.figures(), "imports, CPU s": imports})


if __name__ == "__main__":
    main()
