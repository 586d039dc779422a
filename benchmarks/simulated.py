"""SIMULATED feature sets with the real annotation structure of ActivityNet1.2 or AVE: a check of the recipe, no more.

    python benchmarks/simulated.py activitynet activity_net.v1-2.json -o sim-anet [--classes 20]
    python benchmarks/simulated.py ave AVE_Dataset/data -o sim-ave
    avloc tables table1 table2 --data ave=sim-ave --seeds 3 --set model.embed_dim=128 -o sim-ave/tables

Which videos there are, how long they are, what happens in them and when, and who is in which subset, is real and comes
from the annotation files named. The features are invented: nothing that is measured on them says what a model reaches
on real ones. They are made so that what makes the real task hard can be turned up and down:

    --modes          each class looks in so many ways; an instance shows one of them
    --context        a class's videos share a scene, in action and background alike: what MIL latches on to
    --background     strength of what background shows: an open set, half of what test videos show is new to training
    --heard          share of videos whose sound tells their class while it happens; in the others it is one unrelated
                     sound from start to end (music, narration)
    --audio          strength of the sound that tells
    --noise          of every snippet, in both modalities, correlated in time

Writes features/, labels.csv and ground_truth.json, and simulated.json with these numbers. ActivityNet's "validation" is
the test subset in labels.csv, as with `avloc convert`; its own "testing" has no public annotations and is left out. The
whole of it is 5.6 GB in float16 at 2048 + 128 channels. --tested takes that share of the test videos, the same for the
same seed, where scoring all of them costs more than training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from avloc.datasets.ave import read_ave
from avloc.formats.annotations import read_annotations, write_annotations
from avloc.formats.features import save_features
from avloc.system.atomic import atomic_write
from avloc.types import FeatureSequence, Provenance, SnippetGrid, VideoAnnotation

SUBSETS = {
    "activitynet": {"training": "train", "validation": "test"},
    "ave": {"training": "train", "validation": "validation", "testing": "test"},
}


@dataclass(frozen=True)
class Difficulty:
    """See the top of the file."""

    modes: int = 3
    context: float = 1.0
    background: float = 1.0
    heard: float = 0.5
    audio: float = 1.0
    noise: float = 1.0


class World:
    """What classes, scenes and backgrounds look and sound like: directions of unit length in feature space."""

    def __init__(self, classes: Sequence[str], sizes: tuple[int, int], difficulty: Difficulty, seed: int) -> None:
        rng = np.random.default_rng(seed)
        audio, visual = sizes
        self.sizes, self.difficulty, self.index = sizes, difficulty, {c: i for i, c in enumerate(classes)}
        self.looks = _directions(rng, (len(classes), difficulty.modes), visual)
        self.scenes = _directions(rng, (len(classes),), visual)
        self.sounds = _directions(rng, (len(classes),), audio)
        self.others = {name: _directions(rng, (2, 100), size) for name, size in (("visual", visual), ("audio", audio))}

    def video(self, truth: VideoAnnotation, step_s: Fraction, rng: np.random.Generator) -> FeatureSequence:
        """Features of one video: scene + what happens + noise, a row a snippet."""
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
        source = Provenance({"visual": "simulated", "audio": "simulated"})
        made = [
            4 * rows + d.noise * _smooth_noise(rng, length, size) for rows, size in ((visual, size_v), (audio, size_u))
        ]
        return FeatureSequence(
            truth.video_id, truth.duration_s, grid, made[0].astype(np.float32), made[1].astype(np.float32), source
        )

    def _background(self, name: str, unseen: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """One or two things that background shows, one after the other; an action hides them."""
        cut = int(rng.integers(0, length + 1))
        first, second = self._other(name, unseen, rng), self._other(name, unseen, rng)
        self._last = self.difficulty.background * np.where(np.arange(length)[:, None] < cut, first, second)
        return self._last.copy()

    def _other(self, name: str, unseen: int, rng: np.random.Generator) -> np.ndarray:
        """Something that is no action: of training's own, or in other subsets half of the time of a new kind."""
        pool = unseen * int(rng.integers(2))
        return self.others[name][pool, rng.integers(100)]


def _directions(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    rows = rng.normal(size=(*shape, size))
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _smooth_noise(rng: np.random.Generator, length: int, size: int) -> np.ndarray:
    """Unit variance a channel, neighbours correlated by 0.5."""
    white = rng.normal(size=(length, size))
    for l in range(1, length):
        white[l] = 0.5 * white[l - 1] + np.sqrt(0.75) * white[l]
    return white


def structure(kind: str, annotations: Path) -> tuple[list[VideoAnnotation], Fraction]:
    """The real videos, and the seconds of a snippet. AVE's 178 videos of background only are not among them."""
    if kind == "ave":
        return list(read_ave(annotations).annotations), Fraction(1)
    return [v for v in read_annotations(annotations)[0] if v.subset in SUBSETS[kind]], Fraction(16, 25)


def make(
    kind: str,
    annotations: Path,
    out: Path,
    difficulty: Difficulty,
    sizes: tuple[int, int] = (128, 2048),
    classes: int | None = None,
    seed: int = 0,
    step_s: Fraction | None = None,
    tested: float = 1.0,
) -> list[VideoAnnotation]:
    """Write the set; returns its videos.

    Args:
        sizes: d_u and d_v.
        classes: of the real ones the first so many, in alphabetical order, with all their videos; None for all.
        step_s: seconds per snippet; None takes the data set's own.
        tested: share of the test videos that are made, drawn by the seed.
    """
    videos, own_step_s = structure(kind, annotations)
    step_s = own_step_s if step_s is None else step_s
    names = sorted({i.label for v in videos for i in v.instances})[:classes]
    if classes is not None:
        videos = [v for v in videos if v.instances and {i.label for i in v.instances} <= set(names)]
    videos = _thinned(videos, SUBSETS[kind], tested, seed)
    world = World(names, sizes, difficulty, seed)
    lines = ["video,labels,subset"]
    for k, truth in enumerate(videos):
        features = world.video(truth, step_s, np.random.default_rng([seed, 1, k]))
        save_features(out / "features" / f"{truth.video_id}.safetensors", features, "float16")
        labels = ";".join(sorted({i.label for i in truth.instances}))
        lines.append(f'{truth.video_id},"{labels}",{SUBSETS[kind][truth.subset]}')
    atomic_write(out / "labels.csv", "\n".join(lines) + "\n")
    write_annotations(out / "ground_truth.json", videos)
    facts = {"SIMULATED": kind, "difficulty": asdict(difficulty), "sizes": sizes, "classes": len(names), "seed": seed}
    facts |= {"step_s": str(step_s), "tested": tested}
    atomic_write(out / "simulated.json", json.dumps(facts, indent=1) + "\n")
    return videos


def _thinned(
    videos: list[VideoAnnotation], subsets: Mapping[str, str], share: float, seed: int
) -> list[VideoAnnotation]:
    """All but some of the test videos."""
    test = [k for k, v in enumerate(videos) if subsets[v.subset] == "test"]
    order = np.random.default_rng([seed, 2]).permutation(test)
    gone = set(order[round(len(test) * share) :].tolist())
    return [v for k, v in enumerate(videos) if k not in gone]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(SUBSETS))
    parser.add_argument("annotations", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--audio-size", type=int, default=128)
    parser.add_argument("--visual-size", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step-s", type=Fraction, help="seconds per snippet; default: the data set's own")
    parser.add_argument("--tested", type=float, default=1.0)
    for name, value in asdict(Difficulty()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    given = parser.parse_args()
    difficulty = Difficulty(**{name: getattr(given, name) for name in asdict(Difficulty())})
    sizes = given.audio_size, given.visual_size
    rest = given.classes, given.seed, given.step_s, given.tested
    videos = make(given.kind, given.annotations, given.out, difficulty, sizes, *rest)
    print(f"SIMULATED: {len(videos)} videos in {given.out}")


if __name__ == "__main__":
    main()
