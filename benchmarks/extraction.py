"""How fast is extraction, and where does the time go?

    python benchmarks/extraction.py decode CLIPS...            decode + resize against `ffmpeg -i X -vf scale -f null -`
    python benchmarks/extraction.py network CLIPS... [--visual NAME --weights NAME=PATH ...]
                                                               a network in extraction against the same fed from memory
    python benchmarks/extraction.py profile CLIPS... [--visual NAME --weights NAME=PATH ...]
    python benchmarks/extraction.py many [--count 10000 --workers 2]   tiny videos: rate, memory, manifest

CLIPS are files or folders. `decode` runs both programs on each clip in turn, `--repeats` times, and takes the best of
each: other work on the machine only ever slows. Both decode everything, sound included (ours resampled to 16 kHz), and
resize each frame to 224 pixels on its short side; ours converts to RGB besides. `--weights random` makes up weights of
the right shapes: speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
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
from avloc.types import Media

SIDE = 224


def best(work: Callable[[], int], repeats: int) -> tuple[int, float, float]:
    """(frames, best wall seconds, best CPU seconds, children included) of some runs."""
    walls, cpus, count = [], [], 0
    for _ in range(repeats):
        began, used = time.perf_counter(), _cpu_s()
        count = work()
        walls.append(time.perf_counter() - began)
        cpus.append(_cpu_s() - used)
    return count, min(walls), min(cpus)


def _cpu_s() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def ours(media: Media, threads: int = 0) -> int:
    """Decode and resize every frame, and the sound; the number of pictures."""
    audio = 16_000 if media.has_audio else None
    stream = decode(media, frame_rate=media.frame_rate, frame_size=SIDE, audio_rate_hz=audio, threads=threads)
    return sum(isinstance(item, Picture) for item in stream)


def ffmpeg(media: Media) -> int:
    """The same with the ffmpeg program."""
    scale = f"scale={SIDE}:-2" if media.width <= media.height else f"scale=-2:{SIDE}"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(media.path), "-vf", scale, "-f", "null", "-"]
    subprocess.run(command, check=True)
    return 0


def compare_decoding(clips: list[Path], repeats: int) -> None:
    if shutil.which("ffmpeg") is None:
        sys.exit("this comparison needs the ffmpeg program; install it, or leave it out")
    print(f"{'clip':24} {'frames':>6} {'ours f/s':>9} {'ffmpeg f/s':>10} {'ratio':>6}   CPU s ours, ffmpeg")
    totals = np.zeros(5)
    for path in clips:
        media = probe(path)
        count, wall, cpu = best(lambda media=media: ours(media), repeats)
        _, their_wall, their_cpu = best(lambda media=media: ffmpeg(media), repeats)
        totals += (count, wall, their_wall, cpu, their_cpu)
        _line(path.name, count, wall, their_wall, cpu, their_cpu)
    _line("all", *totals)


def _line(name: str, count: float, wall: float, their_wall: float, cpu: float, their_cpu: float) -> None:
    print(
        f"{name:24} {count:6.0f} {count / wall:9.0f} {count / their_wall:10.0f} {their_wall / wall:6.2f}   "
        f"{cpu:.2f}, {their_cpu:.2f}"
    )


class Timed:
    """A backbone that counts its wall and CPU seconds, and keeps what it was given if asked to."""

    def __init__(self, backbone: Any, keep: bool = False) -> None:
        self._backbone, self._keep = backbone, keep
        self.seconds = self.cpu_seconds = 0.0
        self.batches: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self._keep:
            self.batches.append(batch.copy())
        began, used = time.perf_counter(), time.process_time()
        rows = self._backbone(batch)
        self.seconds += time.perf_counter() - began
        self.cpu_seconds += time.process_time() - used
        return rows


def compare_network(clips: list[Path], backbone: VisualBackbone, step_s: Fraction) -> None:
    """CPU seconds of the network while extracting, and for the same batches from memory."""
    backbone(np.zeros((1, _frames(backbone, step_s), 256, 256, 3), np.uint8))  # warm
    timed, used = Timed(backbone, keep=True), time.process_time()
    for path in clips:
        extract_features(probe(path), timed, None, step_s)
    whole = time.process_time() - used
    memory = Timed(backbone)
    for batch in timed.batches:
        memory(batch)
    snippets = sum(len(batch) for batch in timed.batches)
    ratio = memory.cpu_seconds / timed.cpu_seconds
    print(f"{backbone.name}: {snippets} snippets")
    print(
        f"  network, CPU s: {timed.cpu_seconds:.2f} extracting, {memory.cpu_seconds:.2f} from memory: ratio {ratio:.2f}"
    )
    print(f"  network, wall s: {timed.seconds:.2f} and {memory.seconds:.2f}")
    print(f"  whole extraction, CPU s: {whole:.2f}, {100 * timed.cpu_seconds / whole:.0f} % of it in the network")


def _frames(backbone: VisualBackbone, step_s: Fraction) -> int:
    own = backbone.frames_per_snippet or max(1, round(step_s * (backbone.frame_rate or 1)))
    return own + getattr(backbone, "frames_after", 0)


def profile(clips: list[Path], backbone: VisualBackbone, audio: Any, step_s: Fraction) -> None:
    """Shares of the time of an extraction."""
    from avloc.media import decode as module
    from avloc.media.sound import SoundTrack

    spent: dict[str, float] = {}
    pictures: Any = module._Sampler
    clocks = [(pictures, "_convert", "resize + convert"), (SoundTrack, "_resample", "resample")]
    module.decoded = _clocked(module.decoded, "decode", spent)  # type: ignore[assignment]
    for owner, name, label in clocks:
        setattr(owner, name, _clocked(getattr(owner, name), label, spent))
    sight, sound = Timed(backbone), Timed(audio)
    began = time.perf_counter()
    for path in clips:
        extract_features(probe(path), sight, sound, step_s)
    whole = time.perf_counter() - began
    spent |= {f"network ({backbone.name})": sight.seconds, f"sound features ({audio.name})": sound.seconds}
    spent["rest (probe, read, copy)"] = whole - sum(spent.values())
    print(f"whole: {whole:.2f} s")
    for label, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        print(f"  {label:34} {seconds:7.2f} s {100 * seconds / whole:5.1f} %")


def _clocked(function: Callable[..., Any], label: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        answer = function(*arguments, **named)
        answer = list(answer) if hasattr(answer, "__next__") else answer
        spent[label] = spent.get(label, 0.0) + time.perf_counter() - began
        return answer

    return run


def many(count: int, workers: int) -> None:
    """`count` videos of 0.3 s: rate, memory of the process that leads, and whether the manifest is right."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "videos", Path(name) / "out"
        folder.mkdir()
        frames = [np.full((32, 32, 3), 40 * k, np.uint8) for k in range(3)]
        write_video(folder / "0.mp4", iter(frames), 10, np.zeros(4800, np.float32), 16_000)
        for k in range(1, count):
            os.link(folder / "0.mp4", folder / f"{k}.mp4")
        (folder / "broken.mp4").write_bytes(b"not a video")
        videos = find_media(folder)
        peaks: dict[int, float] = {}

        def watch(done: int, total: int, last: str) -> None:
            if done in (count // 10, count // 2, count):
                peaks[done] = _memory_mb()

        began = time.perf_counter()
        summary = extract_all(videos, out, ExtractConfig(), workers, progress=watch)
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        again = extract_all(videos, out, ExtractConfig(), workers)
        rows = read_manifest(out)
        right = len(rows) == count + 1 and rows["broken"].status == "failed" and len(summary.done) == count
        print(f"{count} videos, {workers} workers: {seconds:.1f} s, {count / seconds:.0f} videos/s")
        print("memory now: " + ", ".join(f"{mb:.0f} MB at {done}" for done, mb in peaks.items()))
        print(f"again: {time.perf_counter() - began:.1f} s, {len(again.skipped)} skipped; manifest right: {right}")


def _memory_mb() -> float:
    """Resident memory of this process and of its children now."""
    pids = [os.getpid(), *_children(os.getpid())]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids if Path(f"/proc/{pid}").exists()]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    direct = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [each for child in direct for each in (child, *_children(child))]


def random_weights(names: list[str], folder: Path) -> dict[str, str]:
    """Files of the right names and shapes for the backbones asked for."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["decode", "network", "profile", "many"])
    parser.add_argument("clips", nargs="*")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--visual", default="resnet152")
    parser.add_argument("--audio", default="logmel")
    parser.add_argument("--weights", default="random", help="random, or a folder with files of the published names")
    parser.add_argument("--step-s", default="1")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {threading.active_count()} thread")
    if options.what == "many":
        return many(options.count, options.workers)
    clips = find_media(options.clips)
    if options.what == "decode":
        return compare_decoding(clips, options.repeats)
    with tempfile.TemporaryDirectory() as name:
        given = {"*": options.weights}
        if options.weights == "random":
            given = random_weights([options.visual, options.audio], Path(name))
        visual, audio = (load_backbone(n, Setup(given)) for n in (options.visual, options.audio))
        assert isinstance(visual, VisualBackbone)
        step_s = Fraction(options.step_s)
        if options.what == "network":
            return compare_network(clips, visual, step_s)
        return profile(clips, visual, audio, step_s)


if __name__ == "__main__":
    main()
