"""One cell is one training run: a row's configuration on a data set with a seed. Computed once, stored as JSON.

OUT/cells/<key>.json   scores, configuration, seed, seconds; written atomically when the cell is finished
OUT/runs/<key>/run     the run folder: model (needed for figures and frozen stages), record, metrics
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.config import MACHINE, RunConfig
from avloc.errors import AvlocError, FormatError, InputError, did_you_mean
from avloc.evaluate.snippets import evaluate_snippets, snippet_grids
from avloc.formats.annotations import read_annotations
from avloc.formats.features import FeatureStore
from avloc.formats.json_file import parse_json
from avloc.formats.labels import read_labels
from avloc.localize import localize
from avloc.metrics import detection_scores, rasterise, whole_video_detections
from avloc.model.files import RECORD_FILE
from avloc.paper.multiply_adds import multiply_adds
from avloc.paper.published import FLOPS
from avloc.paper.version import code_version
from avloc.pipeline.localizer import Localizer, load
from avloc.presets import PRESETS
from avloc.system.atomic import atomic_write
from avloc.system.text import fingerprint, json_text
from avloc.types import ActivationSequence, Detection, FeatureSequence, Progress, VideoAnnotation
from avloc.vocabulary import GRID_FEATURES

_SCHEMA = 1
_FILES = ("features", "labels.csv", "ground_truth.json")


@dataclass(frozen=True)
class DataSet:
    """Features, weak labels and ground truth in one folder, as `avloc convert` and `avloc demo` write them.

    Args:
        name: a preset; also the name of the data in the tables.
        folder: holds features/, labels.csv and ground_truth.json.
        fingerprint: changes with the labels, the ground truth and the feature files.
    """

    name: str
    folder: Path
    fingerprint: str

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def grid_features(self) -> Path | None:
        """The same videos with visual features on a spatial grid, which Tian et al. attend to; None without them."""
        folder = self.folder / GRID_FEATURES
        return folder if folder.is_dir() else None

    @property
    def grid_cells(self) -> int:
        """Cells of the grid: 49 for AVE's 7 x 7. 1 without grid features.

        Raises:
            FormatError: the visual size of the grid features is not a multiple of that of the pooled ones.
        """
        if self.grid_features is None:
            return 1
        grid, pooled = FeatureStore(self.grid_features), FeatureStore(self.features)
        video = grid.ids[0]
        flat, cell = (_visual_size(store.load(video)) for store in (grid, pooled))
        if not cell or flat % cell:
            raise FormatError(
                f"{self.grid_features}: expected visual rows of n x {cell} numbers, the size in {self.features}, got "
                f"{flat}; convert the data set again with --grid"
            )
        return flat // cell

    @property
    def labels(self) -> Path:
        return self.folder / "labels.csv"

    def is_unchanged(self) -> bool:
        """Whether the files are those of the fingerprint."""
        try:
            return _fingerprint(self.folder) == self.fingerprint
        except (OSError, AvlocError):  # one of them is gone
            return False

    def tests(self) -> list[VideoAnnotation]:
        """Ground truth of the test videos of labels.csv.

        Raises:
            InputError: there are none.
        """
        wanted = {row.video_id for row in read_labels(self.labels).subset("test")}
        annotations = [a for a in read_annotations(self.folder / "ground_truth.json")[0] if a.video_id in wanted]
        if not annotations:
            raise InputError(
                f"{self.folder}: expected test videos in labels.csv that are in ground_truth.json, got none"
            )
        return annotations


def open_data(text: str) -> DataSet:
    """Open `PRESET=FOLDER`, or `FOLDER` with preset demo.

    Raises:
        InputError: a file is missing, or there is no such preset.
    """
    name, sign, path = text.partition("=")
    if not sign:
        name, path = "demo", text
    if name not in PRESETS:
        raise InputError(f"--data {text}: there is no preset {name!r}.{did_you_mean(name, PRESETS)}")
    if "train.auto" in PRESETS[name]:
        raise InputError(f"--data {text}: the tables need fixed settings, which {name!r} does not have; use default")
    folder = Path(path)
    missing = [file for file in _FILES if not (folder / file).exists()]
    if missing:
        raise InputError(
            f"{folder}: expected {', '.join(_FILES)} in it, {' and '.join(missing)} missing; "
            f"`avloc convert` writes them from a data set, `avloc demo {folder}` from synthetic videos"
        )
    return DataSet(name, folder, _fingerprint(folder))


def _fingerprint(folder: Path) -> str:
    store = FeatureStore(folder / "features")
    known = hashlib.sha256((folder / "labels.csv").read_bytes() + (folder / "ground_truth.json").read_bytes())
    for video in store.ids:
        known.update(video.encode() + _ends(store.path(video)))
    return known.hexdigest()[:16]


def _ends(path: Path, size: int = 4096) -> bytes:
    """Length, first and last bytes of a file: new features differ there, and reading them is fast."""
    with path.open("rb") as file:
        head = file.read(size)
        length = file.seek(0, 2)
        file.seek(max(length - size, 0))
        return length.to_bytes(8, "little") + head + file.read()


def _visual_size(features: FeatureSequence) -> int:
    return 0 if features.visual is None else features.visual.shape[1]


@dataclass(frozen=True)
class Cell:
    """A training run.

    Args:
        config: all settings except `train.init_from`.
        parent: the cell whose run provides the frozen stages, or None.
        home: output folder of the tables.
    """

    data: DataSet
    config: RunConfig
    home: Path
    parent: Cell | None = None

    @property
    def key(self) -> str:
        """Identifier: equal for equal settings, seed, data and code, on any machine."""
        settings = self.config.model_dump(exclude={"extract": True, "train": set(MACHINE)})
        parent = self.parent.key if self.parent else None
        return fingerprint([_SCHEMA, code_version(), settings, self.data.fingerprint, parent])

    @property
    def features(self) -> Path:
        """The features it is trained and tested on."""
        grid = self.data.grid_features
        return self.data.features if grid is None or self.config.model.grid_cells == 1 else grid

    @property
    def path(self) -> Path:
        return self.home / "cells" / f"{self.key}.json"

    @property
    def run(self) -> Path:
        return self.home / "runs" / self.key / "run"


def compute(cell: Cell, progress: Progress | None = None) -> None:
    """Train, localize the test videos, score, and write the cell. An interrupted run is resumed.

    Raises:
        AvlocError: as `fit` and `score` do. InputError: the data has changed meanwhile.
    """
    from avloc.model.checkpoint import is_whole
    from avloc.train.checks import clear
    from avloc.train.loop import fit
    from avloc.train.state import drop_states, has_state

    began = time.monotonic()
    config = cell.config
    if cell.parent is not None:
        train = config.train.model_dump() | {"init_from": str(cell.parent.run)}
        config = RunConfig.model_validate(config.model_dump() | {"train": train})
    resume = has_state(cell.run)
    if not (cell.run / RECORD_FILE).exists() or not is_whole(cell.run):
        fit(cell.features, cell.data.labels, cell.run, config, resume, progress)
    trained = time.monotonic()
    facts = {
        "data": cell.data.name,
        "seed": config.train.seed,
        "code": code_version(),
        "scores": score(load(cell.run), cell.data, cell.features),
        "train_s": trained - began,
        "score_s": time.monotonic() - trained,
        "resumed": resume,
        "config": cell.config.model_dump(exclude={"extract"}),
    }
    if not cell.data.is_unchanged():  # the key would name other data than was used
        clear(cell.run)
        raise InputError(f"{cell.data.folder}: the data changed during the work; run the same command again")
    atomic_write(cell.path, json_text(facts, indent=1) + "\n")
    drop_states(cell.run)


def score(localizer: Localizer, data: DataSet, features_folder: Path | None = None) -> dict[str, float]:
    """Scores of a model on the test videos, in [0, 1], and its multiply-adds per snippet.

    A video without the model's modalities counts as having no detection.

    Args:
        features_folder: the features; None: `data.features`.
    """
    tests = data.tests()
    store = FeatureStore(features_folder or data.features)
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
    result[FLOPS] = multiply_adds(localizer.card)
    snippets = evaluate_snippets(activations, tests)
    if snippets is not None:
        result["accuracy"] = snippets.snippets.accuracy
        result["background recall"] = snippets.snippets.background_recall
        result["event F1"] = snippets.events.mean_f1
        result["trivial accuracy"] = _constant_accuracy(activations, tests)
    return {name: float(value) for name, value in result.items() if np.isfinite(value)}


def _constant_accuracy(activations: Sequence[ActivationSequence], tests: Sequence[VideoAnnotation]) -> float:
    """Snippet accuracy of predicting each video's most frequent true class for all its snippets."""
    grids = snippet_grids(activations, tests)
    right = total = 0
    for truth in tests:
        classes = tuple(sorted({i.label for i in truth.instances}))
        labels = rasterise(truth, grids[truth.video_id], classes)
        right += max((int((labels == 1 + c).sum()) for c in range(len(classes))), default=0)
        total += len(labels)
    return right / total


def read_cell(path: Path) -> Mapping[str, Any] | None:
    """A finished cell, or None.

    Raises:
        FormatError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        facts: dict[str, Any] = parse_json(path, path.read_bytes())
        return {**facts, "scores": {str(k): float(v) for k, v in facts["scores"].items()}}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FormatError(f"{path}: expected a finished cell; delete the file to compute it again: {error}") from error
