"""Extraction: decoding, networks, and many small videos."""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import ExtractConfig
from avloc.features.backbones import Setup, VisualBackbone, card, load_backbone
from avloc.features.folder import extract_all
from avloc.features.manifest import read_manifest
from avloc.features.video import extract_features
from avloc.media.decode import Picture, decode
from avloc.media.encode import write_video
from avloc.media.find import find_media
from avloc.media.probe import probe
from avloc.mediafile import Media
from benchmarks.console import add_command, add_options, markdown_table
from benchmarks.speed.clock import Clock

SIDE = 224


def add_commands(commands: Any) -> None:
    parser = add_command(commands, extraction, repeats=3, count=10_000, workers=2)
    add_options(parser, visual="resnet152", audio="logmel", weights="random", step_s=Fraction(1))
    parser.add_argument("what", choices=["decode", "network", "profile", "many"])
    parser.add_argument("clips", nargs="*", help="files or folders")


def extraction(args: argparse.Namespace) -> None:
    """Speed of extraction, and where the time goes.

        decode CLIPS     decode and resize, against `ffmpeg -i X -vf scale -f null -`: best of --repeats runs of each.
                         Both decode everything, audio included (ours resamples it to 16 kHz), and scale frames to
                         224 pixels on the short side; ours also converts to RGB
        network CLIPS    the network's CPU time in extraction, against the same batches from memory
        profile CLIPS    time by function (cProfile)
        many             --count videos of 0.3 s: rate, memory, manifest

    --weights is a folder with files of the published names; "random" generates weights of the right shapes, as their
    values do not affect the speed.
    """
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    if args.what == "many":
        return _many(args.count, args.workers)
    clips = find_media(args.clips)
    if args.what == "decode":
        return _compare_decoding(clips, args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        weights = {"*": args.weights}
        if args.weights == "random":
            weights = _random_weights([args.visual, args.audio], Path(folder))
        visual, audio = (load_backbone(name, Setup(weights)) for name in (args.visual, args.audio))
        assert isinstance(visual, VisualBackbone)
        if args.what == "network":
            return _compare_network(clips, visual, args.step_s)
        return _profile(clips, visual, audio, args.step_s)


def _compare_decoding(clips: list[Path], repeats: int) -> None:
    if shutil.which("ffmpeg") is None:
        sys.exit("this comparison needs the ffmpeg program")
    rows, totals = [], np.zeros(5)
    for path in clips:
        media, clock = probe(path), Clock()
        for _ in range(repeats):
            count = clock.time("ours", lambda media=media: _decode(media))
        for _ in range(repeats):
            clock.time("ffmpeg", lambda media=media: _ffmpeg(media))
        (wall, cpu), (their_wall, their_cpu) = (np.min(clock.rows[name], axis=0) for name in ("ours", "ffmpeg"))
        rows.append([path.name, count, wall, their_wall, cpu, their_cpu])
        totals += rows[-1][1:]
    head = ["clip", "frames", "frames/s", "ffmpeg's frames/s", "wall ratio", "CPU s", "ffmpeg's CPU s"]
    lines = []
    for name, n, wall, their_wall, cpu, their_cpu in (*rows, ["all", *totals]):
        speeds = f"{n:.0f}", f"{n / wall:.0f}", f"{n / their_wall:.0f}", f"{their_wall / wall:.2f}"
        lines.append([name, *speeds, f"{cpu:.2f}", f"{their_cpu:.2f}"])
    print(markdown_table(head, lines))


def _decode(media: Media) -> int:
    """Decode and resize all frames, and decode the audio; returns the number of frames."""
    rate_hz = 16_000 if media.has_audio else None
    stream = decode(media, frame_rate=media.frame_rate, frame_size=SIDE, audio_rate_hz=rate_hz)
    return sum(isinstance(item, Picture) for item in stream)


def _ffmpeg(media: Media) -> None:
    scale = f"scale={SIDE}:-2" if media.width <= media.height else f"scale=-2:{SIDE}"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(media.path), "-vf", scale, "-f", "null", "-"]
    subprocess.run(command, check=True)


class Timed:
    """A backbone that records its batches, and its wall and CPU seconds."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        self.wall_s = self.cpu_s = 0.0
        self.batches: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch.copy())
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        rows = self._backbone(batch)
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s
        return rows


def _compare_network(clips: list[Path], backbone: VisualBackbone, step_s: Fraction) -> None:
    extract_features(probe(clips[0]), backbone, None, step_s)  # warm-up
    timed, start_s = Timed(backbone), time.process_time()
    for path in clips:
        extract_features(probe(path), timed, None, step_s)
    total_s = time.process_time() - start_s
    memory = Timed(backbone)
    for batch in timed.batches:
        memory(batch)
    print(f"{backbone.name}: {sum(map(len, timed.batches))} snippets\n")
    rows = [
        ("in extraction", f"{timed.cpu_s:.2f}", f"{timed.wall_s:.2f}"),
        ("from memory", f"{memory.cpu_s:.2f}", f"{memory.wall_s:.2f}"),
        ("ratio", f"{memory.cpu_s / timed.cpu_s:.2f}", f"{memory.wall_s / timed.wall_s:.2f}"),
    ]
    print(markdown_table(["network", "CPU s", "wall s"], rows))
    print(f"whole extraction: {total_s:.2f} CPU s, {100 * timed.cpu_s / total_s:.0f} % of it in the network")


def _profile(clips: list[Path], visual: VisualBackbone, audio: Any, step_s: Fraction) -> None:
    with cProfile.Profile() as profile:
        for path in clips:
            extract_features(probe(path), visual, audio, step_s)
    pstats.Stats(profile).strip_dirs().sort_stats("cumulative").print_stats(40)


def _many(count: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "videos", Path(name) / "out"
        folder.mkdir()
        frames = [np.full((32, 32, 3), 40 * k, np.uint8) for k in range(3)]
        write_video(folder / "0.mp4", iter(frames), 10, np.zeros(4800, np.float32), 16_000)
        for k in range(1, count):
            os.link(folder / "0.mp4", folder / f"{k}.mp4")
        (folder / "broken.mp4").write_bytes(b"not a video")
        videos = find_media(folder)
        memory: dict[int, float] = {}

        def watch(done: int, total: int, last: str) -> None:
            if done in (count // 10, count // 2, count):
                memory[done] = _memory_mb(os.getpid())

        start = time.perf_counter()
        summary = extract_all(videos, out, ExtractConfig(visual="appearance", audio="logmel"), workers, progress=watch)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        again = extract_all(videos, out, ExtractConfig(visual="appearance", audio="logmel"), workers)
        rows = read_manifest(out)
        right = len(rows) == count + 1 and rows["broken"].status == "failed" and len(summary.done) == count
        print(f"{count} videos, {workers} workers: {seconds:.1f} s, {count / seconds:.0f} videos/s")
        print("memory: " + ", ".join(f"{mb:.0f} MB at {done}" for done, mb in memory.items()))
        print(f"again: {time.perf_counter() - start:.1f} s, {len(again.skipped)} skipped; manifest right: {right}")


def _memory_mb(pid: int) -> float:
    """Resident memory of a process and its descendants; 0 for those that have ended."""
    process = Path(f"/proc/{pid}")
    try:
        own = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        children = [child for task in (process / "task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return 0.0
    return own + sum(_memory_mb(int(child)) for child in children)


def _random_weights(names: list[str], folder: Path) -> dict[str, str]:
    """Files of the right names and shapes for these backbones."""
    import torch

    from avloc.features.backbones.i3d import I3dNet
    from avloc.features.backbones.resnet import ResNet
    from avloc.features.backbones.vggish import VggishNet

    makers: dict[str, Callable[[], torch.nn.Module]] = {
        "rgb_imagenet.pt": lambda: I3dNet(3),
        "flow_imagenet.pt": lambda: I3dNet(2),
        "resnet152-394f9c45.pth": ResNet,
        "vggish-10086976.pth": VggishNet,
    }
    for file in {weights.file for name in names for weights in card(name).weights}:
        torch.save(makers[file]().state_dict(), folder / file)
    return {"*": str(folder)}
