"""A small page for tests: video files with audio, hostile names, detections, activations and ground truth."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np

from avloc.config import LocalizeConfig
from avloc.formats.activations import save_activations
from avloc.formats.detections import write_segments_csv, write_segments_json
from avloc.localize import localize
from avloc.media.encode import write_video
from avloc.types import ActivationSequence, Detection, SnippetGrid

NASTY_LABEL = '<img src=x onerror="window.hacked=1">\'&\u2028 כלב 🐕'
NASTY_NAME = "a <script>window.hacked=1<∕script> 'q' כלב 🐕 #1 %2e"
CLASSES = ("bark", NASTY_LABEL, "whistle")
DURATION_S = 12.0
ACTIONS = LocalizeConfig(decode="actions")
RATE = 10


def write_clip(path: Path, seed: int = 0) -> None:
    """12 s at 10 fps; the brightness encodes the second, with a tone from 4 to 8 s."""
    frames = (np.full((48, 64, 3), 20 + 18 * (k // RATE), np.uint8) for k in range(int(DURATION_S * RATE)))
    t = np.arange(int(DURATION_S * 16000)) / 16000
    sound = (0.4 * np.sin(2 * np.pi * (300 + 100 * seed) * t) * ((t >= 4) & (t < 8))).astype(np.float32)
    write_video(path, frames, RATE, sound)


def activations(
    video_id: str, count: int = 24, peak: float = 0.9, duration_s: float = DURATION_S
) -> ActivationSequence:
    """High probability of bark in the third quarter and of NASTY_LABEL in the first; otherwise background."""
    rng = np.random.default_rng(len(video_id))
    probs = np.full((count, 1 + len(CLASSES)), 0.02) + 0.01 * rng.random((count, 1 + len(CLASSES)))
    probs[count // 2 : 3 * count // 4, 1] = peak * np.linspace(0.5, 1, 3 * count // 4 - count // 2)
    probs[: count // 4, 2] = 0.8
    probs[:, 0] = np.clip(1 - probs[:, 1:].sum(axis=1), 0, 1)
    probs /= probs.sum(axis=1, keepdims=True)
    grid = SnippetGrid.cover(duration_s, Fraction(duration_s).limit_denominator(1000) / count)
    scores = np.sort(probs[:, 1:], axis=0)[-3:].mean(axis=0)
    return ActivationSequence(video_id, duration_s, grid, CLASSES, probs, scores)


def write_run(
    folder: Path,
    videos: dict[str, ActivationSequence],
    paths: dict[str, Path],
    options: LocalizeConfig = ACTIONS,
) -> dict[str, list[Detection]]:
    """A results folder as written by `avloc localize`."""
    (folder / "scores").mkdir(parents=True)
    found = {}
    for video, a in videos.items():
        save_activations(folder / "scores" / f"{video}.safetensors", a)
        found[video] = list(localize(a, options))
    write_segments_csv(folder / "segments.csv", found)
    write_segments_json(folder / "segments.json", found)
    rows = "".join(f'"{video}",12.0,,1,audio+visual,"{paths.get(video, "")}"\n' for video in videos)
    (folder / "videos.csv").write_text("video,duration_s,labels,detections,modalities,path\n" + rows, encoding="utf-8")
    options = json.dumps({"config": {"localize": options.model_dump()}})
    (folder / "run.yaml").write_text(options)
    return found


def make_world(home: Path, count: int = 3) -> None:
    """videos/, two runs ours/ and other/, unimodal runs sound/ and sight/, and truth.json under `home`."""
    (home / "videos").mkdir(parents=True)
    names = ["dog", NASTY_NAME, *(f"extra {k}" for k in range(count - 2))]
    paths = {}
    for k, name in enumerate(names):
        paths[name] = home / "videos" / f"{name}.mp4"
        if k < 2:
            write_clip(paths[name], k)
        else:
            shutil.copyfile(paths["dog"], paths[name])
    for folder, peak in (("ours", 0.9), ("other", 0.5), ("sound", 0.8), ("sight", 0.1)):
        write_run(home / folder, {n: activations(n, peak=peak) for n in names}, paths)
    instances = [{"label": "bark", "segment": [6.2, 9.1]}, {"label": NASTY_LABEL, "segment": [0.0, 2.9]}]
    database = {n: {"subset": "validation", "duration": DURATION_S, "annotations": instances} for n in names}
    (home / "truth.json").write_text(json.dumps({"version": "t", "database": database}), encoding="utf-8")
