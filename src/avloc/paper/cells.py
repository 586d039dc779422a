"""One cell is one training run: a row's configuration on a data set with a seed. Computed once, kept as JSON.

OUT/cells/<key>.json   scores, configuration, seed, seconds; there once the cell is finished, whole or not at all
OUT/runs/<key>/run     the run itself: its model (figures and frozen stages need it), its record, its metrics
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import MACHINE, RunConfig, old_names
from avloc.errors import FormatError, InputError, did_you_mean
from avloc.evaluate.snippets import evaluate_snippets
from avloc.formats.annotations import read_annotations
from avloc.formats.features import FeatureStore
from avloc.formats.labels import read_labels
from avloc.localize import localize
from avloc.metrics import detection_scores, rasterise, whole_video_detections
from avloc.pipeline.localizer import Localizer, load
from avloc.presets import PRESETS
from avloc.system.atomic import atomic_write
from avloc.system.text import fingerprint
from avloc.types import ActivationSequence, Detection, Progress, VideoAnnotation

__all__ = ["Cell", "DataSet", "compute", "open_data", "read_cell", "score"]

_SCHEMA = 1
_FILES = ("features", "labels.csv", "ground_truth.json")


@dataclass(frozen=True)
class DataSet:
    """Features, weak labels and ground truth in one folder, as `avloc convert` and `avloc demo` leave them.

    Args:
        name: a preset, which is also what the data is called in the tables.
        folder: where features/, labels.csv and ground_truth.json are.
        fingerprint: changes when labels, ground truth or the set of feature files do.
    """

    name: str
    folder: Path
    fingerprint: str

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.csv"

    def tests(self) -> list[VideoAnnotation]:
        """Ground truth of the videos that labels.csv calls test.

        Raises:
            InputError: there is none.
        """
        wanted = {row.video_id for row in read_labels(self.labels).subset("test")}
        annotations = [a for a in read_annotations(self.folder / "ground_truth.json")[0] if a.video_id in wanted]
        if not annotations:
            raise InputError(
                f"{self.folder}: expected videos of subset test in labels.csv that ground_truth.json knows, got none"
            )
        return annotations


def open_data(text: str) -> DataSet:
    """`PRESET=FOLDER`, or a folder, whose settings are then the demo's.

    Raises:
        InputError: a file is missing (says which), or there is no such preset.
    """
    name, sign, path = text.partition("=")
    if not sign:
        name, path = "demo", text
    if name not in PRESETS:
        raise InputError(f"--data {text}: there is no preset {name!r}.{did_you_mean(name, PRESETS)}")
    folder = Path(path)
    missing = [file for file in _FILES if not (folder / file).exists()]
    if missing:
        raise InputError(
            f"{folder}: expected {', '.join(_FILES)} in it, {' and '.join(missing)} missing; "
            f"`avloc convert` makes them from a data set's own files, `avloc demo {folder}` makes some up"
        )
    store = FeatureStore(folder / "features")
    known = hashlib.sha256((folder / "labels.csv").read_bytes() + (folder / "ground_truth.json").read_bytes())
    for video in store.ids:
        known.update(video.encode() + _ends(store.path(video)))
    return DataSet(name, folder, known.hexdigest()[:16])


def _ends(path: Path, size: int = 4096) -> bytes:
    """Length, first and last bytes of a file: features made anew differ there, and thousands are read in a second."""
    with path.open("rb") as file:
        head = file.read(size)
        length = file.seek(0, 2)
        file.seek(max(length - size, 0))
        return length.to_bytes(8, "little") + head + file.read()


@dataclass(frozen=True)
class Cell:
    """A run to make.

    Args:
        config: everything but where the frozen stages are.
        parent: the cell whose run gives them, or None.
        home: the tables' output folder.
    """

    data: DataSet
    config: RunConfig
    home: Path
    parent: Cell | None = None

    @property
    def key(self) -> str:
        """Name of the cell: the same settings, seed and data give the same one, on any machine."""
        settings = self.config.model_dump(exclude={"extract": True, "train": set(MACHINE)})
        settings["localize"] = old_names(settings["localize"])
        return fingerprint([_SCHEMA, settings, self.data.fingerprint, self.parent.key if self.parent else None])

    @property
    def path(self) -> Path:
        return self.home / "cells" / f"{self.key}.json"

    @property
    def run(self) -> Path:
        return self.home / "runs" / self.key / "run"


def compute(cell: Cell, progress: Progress | None = None) -> None:
    """Train, localize the test videos, score, and write the cell. A run that was interrupted goes on.

    Raises:
        AvlocError: in words for a person.
    """
    from avloc.model.checkpoint import is_whole
    from avloc.train.loop import fit
    from avloc.train.state import drop_states, has_state

    began = time.monotonic()
    config = cell.config
    if cell.parent is not None:
        train = config.train.model_dump() | {"init_from": str(cell.parent.run)}
        config = RunConfig.model_validate(config.model_dump() | {"train": train})
    resume = has_state(cell.run)
    if not (cell.run / "record.json").exists() or not is_whole(cell.run):
        fit(cell.data.features, cell.data.labels, cell.run, config, resume, progress)
    trained = time.monotonic()
    facts = {
        "data": cell.data.name,
        "seed": config.train.seed,
        "scores": score(load(cell.run), cell.data),
        "train_s": trained - began,
        "score_s": time.monotonic() - trained,
        "resumed": resume,
        "config": cell.config.model_dump(exclude={"extract"}),
    }
    atomic_write(cell.path, json.dumps(facts, indent=1) + "\n")
    drop_states(cell.run)


def score(localizer: Localizer, data: DataSet) -> dict[str, float]:
    """Numbers of a model on the test videos, in [0, 1]; a video it cannot use counts, with nothing found in it."""
    tests = data.tests()
    store = FeatureStore(data.features)
    found: dict[str, tuple[Detection, ...]] = {}
    activations = []
    for annotation in tests:
        if annotation.video_id not in store:
            continue
        features = store.load(annotation.video_id)
        if not localizer.can_use(features):
            activations.append(localizer.nothing(features))
            continue
        activations.append(localizer.activations(features))
        found[annotation.video_id] = localize(activations[-1], localizer.options)
    scores = detection_scores(found, tests)
    trivial = detection_scores(whole_video_detections(tests), tests)
    result = {f"mAP@{t:g}": float(m) for t, m in zip(scores.t_iou, scores.mean_ap, strict=True)}
    result |= {"average mAP": scores.average_mean_ap, "trivial average mAP": trivial.average_mean_ap}
    result |= {f"trivial mAP@{t:g}": float(m) for t, m in zip(trivial.t_iou, trivial.mean_ap, strict=True)}
    snippets = evaluate_snippets(activations, tests)
    if snippets is not None:
        result["accuracy"] = snippets.snippets.accuracy
        result["background recall"] = snippets.snippets.background_recall
        result["event F1"] = snippets.events.mean_f1
        result["trivial accuracy"] = _constant_accuracy(activations, tests)
    return {name: float(value) for name, value in result.items() if np.isfinite(value)}


def _constant_accuracy(activations: Sequence[ActivationSequence], tests: Sequence[VideoAnnotation]) -> float:
    """Snippet accuracy of each video's commonest true class from its start to its end, background never."""
    grids = {a.video_id: a.grid for a in activations}
    right = total = 0
    for truth in tests:
        if truth.video_id in grids:
            classes = tuple(sorted({i.label for i in truth.instances}))
            labels = rasterise(truth, grids[truth.video_id], classes)
            right += max((int((labels == 1 + c).sum()) for c in range(len(classes))), default=0)
            total += len(labels)
    return right / total


def read_cell(path: Path) -> Mapping[str, Any] | None:
    """A finished cell; None when it is not there.

    Raises:
        FormatError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**facts, "scores": {str(k): float(v) for k, v in facts["scores"].items()}}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise FormatError(f"{path}: expected a finished cell; delete the file to compute it again: {error}") from error
