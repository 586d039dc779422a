"""Simulated feature sets with the annotations of ActivityNet 1.2 or AVE."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.datasets.ave import read_ave
from avloc.formats.annotations import read_annotations, write_annotations
from avloc.formats.features import save_features
from avloc.system.atomic import atomic_write
from avloc.types import FeatureSequence, Provenance, SnippetGrid, VideoAnnotation
from benchmarks.console import add_command

SUBSETS = {
    "activitynet": {"training": "train", "validation": "test"},
    "ave": {"training": "train", "validation": "validation", "testing": "test"},
}


DIFFICULTY = {"modes": 3, "context": 1.0, "background": 1.0, "heard": 0.5, "audio": 1.0, "noise": 1.0}
"""Options of `simulated` and their defaults."""


def add_commands(commands: Any) -> None:
    parser = add_command(commands, simulated, audio_size=128, visual_size=2048, seed=0, tested=1.0, **DIFFICULTY)
    parser.add_argument("kind", choices=sorted(SUBSETS))
    parser.add_argument("annotations", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--classes", type=int, help="only the first n, in alphabetical order; default: all")
    parser.add_argument("--step-s", type=Fraction, help="seconds per snippet; default: the data set's own")


def simulated(args: argparse.Namespace) -> None:
    """Simulated features with the annotations of ActivityNet 1.2 or AVE, to check the recipe.

        python -m benchmarks.quality simulated activitynet activity_net.v1-2.json -o sim-anet [--classes 20]
        python -m benchmarks.quality simulated ave AVE_Dataset/data -o sim-ave
        avloc tables table1 table2 --data ave=sim-ave --seeds 3 --set model.embed_dim=128 -o sim-ave/tables

    Videos, durations, segments, labels and subsets come from the annotation files. The features are random: scores on
    them say nothing about scores on real features. Options control what makes the real task hard:

        --modes          number of visual appearances per class; an instance shows one of them
        --context        strength of a scene shared by a class's videos, in action and background (what MIL may learn)
        --background     strength of the visual background: an open set, half of it in test videos is new to training
        --heard          share of videos whose audio indicates the class while it happens; others have unrelated audio
        --audio          strength of the audio that indicates the class
        --noise          noise on every snippet, in both modalities, correlated in time

    Writes features/, labels.csv, ground_truth.json, and simulated.json with these options. ActivityNet's "validation"
    is the test subset in labels.csv, as with `avloc convert`; its "testing" has no public annotations and is left out.
    The full set takes 5.6 GB in float16 at 2048 + 128 channels. --tested keeps that share of the test videos (drawn by
    the seed), where scoring all of them costs more than training.
    """
    videos, step_s = _structure(args.kind, args.annotations)
    step_s = args.step_s or step_s
    names = sorted({i.label for v in videos for i in v.instances})[: args.classes]
    if args.classes is not None:
        videos = [v for v in videos if v.instances and {i.label for i in v.instances} <= set(names)]
    videos = _thinned(videos, SUBSETS[args.kind], args.tested, args.seed)
    difficulty, sizes = {name: getattr(args, name) for name in DIFFICULTY}, (args.audio_size, args.visual_size)
    world = World(names, sizes, argparse.Namespace(**difficulty), args.seed)
    lines = ["video,labels,subset"]
    for k, truth in enumerate(videos):
        features = world.video(truth, step_s, np.random.default_rng([args.seed, 1, k]))
        save_features(args.out / "features" / f"{truth.video_id}.safetensors", features, "float16")
        labels = ";".join(sorted({i.label for i in truth.instances}))
        lines.append(f'{truth.video_id},"{labels}",{SUBSETS[args.kind][truth.subset]}')
    atomic_write(args.out / "labels.csv", "\n".join(lines) + "\n")
    write_annotations(args.out / "ground_truth.json", videos)
    facts = {"SIMULATED": args.kind, "difficulty": difficulty, "sizes": sizes, "classes": len(names)}
    facts |= {"seed": args.seed, "step_s": str(step_s), "tested": args.tested}
    atomic_write(args.out / "simulated.json", json.dumps(facts, indent=1) + "\n")
    print(f"SIMULATED: {len(videos)} videos in {args.out}")


def _structure(kind: str, annotations: Path) -> tuple[list[VideoAnnotation], Fraction]:
    """The real videos (without AVE's 178 background-only videos), and seconds per snippet."""
    if kind == "ave":
        return list(read_ave(annotations).annotations), Fraction(1)
    return [v for v in read_annotations(annotations)[0] if v.subset in SUBSETS[kind]], Fraction(16, 25)


def _thinned(
    videos: list[VideoAnnotation], subsets: Mapping[str, str], share: float, seed: int
) -> list[VideoAnnotation]:
    """All videos, with only this share of the test videos."""
    test = [k for k, v in enumerate(videos) if subsets[v.subset] == "test"]
    order = np.random.default_rng([seed, 2]).permutation(test)
    gone = set(order[round(len(test) * share) :].tolist())
    return [v for k, v in enumerate(videos) if k not in gone]


class World:
    """Classes, scenes and backgrounds as unit vectors in feature space."""

    def __init__(self, classes: Sequence[str], sizes: tuple[int, int], difficulty: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        audio, visual = sizes
        self.sizes, self.difficulty, self.index = sizes, difficulty, {c: i for i, c in enumerate(classes)}
        self.looks = _directions(rng, (len(classes), difficulty.modes), visual)
        self.scenes = _directions(rng, (len(classes),), visual)
        self.sounds = _directions(rng, (len(classes),), audio)
        self.others = {name: _directions(rng, (2, 100), size) for name, size in (("visual", visual), ("audio", audio))}

    def video(self, truth: VideoAnnotation, step_s: Fraction, rng: np.random.Generator) -> FeatureSequence:
        """Features of one video: scene + actions + noise, one row per snippet."""
        grid = SnippetGrid.cover(truth.duration_s, step_s)
        d, length = self.difficulty, grid.count
        size_u, size_v = self.sizes
        unseen = int(truth.subset != "training")
        labels = sorted({i.label for i in truth.instances})
        visual = self._background("visual", unseen, length, rng)
        audio = np.zeros((length, size_u))
        if labels and d.context:
            visual += d.context * self.scenes[self.index[labels[0]]]
        tells = rng.random() < d.heard
        if not tells:
            audio += d.audio * self._other("audio", unseen, rng)
        for instance in truth.instances:
            rows = grid.indices(instance.start_s, instance.end_s)
            c = self.index[instance.label]
            visual[rows] += self.looks[c, rng.integers(d.modes)] - self._last[rows]
            if tells:
                audio[rows] += d.audio * self.sounds[c]
        shown, heard = (
            (4 * rows + d.noise * _smooth_noise(rng, length, size)).astype(np.float32)
            for rows, size in ((visual, size_v), (audio, size_u))
        )
        source = Provenance(dict.fromkeys(("visual", "audio"), "simulated"))
        return FeatureSequence(truth.video_id, truth.duration_s, grid, shown, heard, source)

    def _background(self, name: str, unseen: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """One or two visual backgrounds, one after the other; an action replaces them."""
        cut = int(rng.integers(0, length + 1))
        first, second = self._other(name, unseen, rng), self._other(name, unseen, rng)
        self._last = self.difficulty.background * np.where(np.arange(length)[:, None] < cut, first, second)
        return self._last.copy()

    def _other(self, name: str, unseen: int, rng: np.random.Generator) -> np.ndarray:
        """A background or unrelated sound; half of the time of a kind not in training, if `unseen`."""
        pool = unseen * int(rng.integers(2))
        return self.others[name][pool, rng.integers(100)]


def _directions(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    rows = rng.normal(size=(*shape, size))
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _smooth_noise(rng: np.random.Generator, length: int, size: int) -> np.ndarray:
    """Unit variance per channel, correlation 0.5 between neighbouring snippets."""
    white = rng.normal(size=(length, size))
    for l in range(1, length):
        white[l] = 0.5 * white[l - 1] + np.sqrt(0.75) * white[l]
    return white
