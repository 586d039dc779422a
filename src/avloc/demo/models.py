"""The models of the demo: train, localize and score them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avloc.config import RunConfig
from avloc.evaluate.detection import Evaluation, evaluate_files
from avloc.formats.features import FeatureStore
from avloc.formats.labels import read_labels
from avloc.formats.results import Localized
from avloc.model.files import RECORD_FILE
from avloc.pipeline.folder import localize_all
from avloc.pipeline.localizer import load
from avloc.train.loop import fit
from avloc.train.state import has_state
from avloc.types import Progress

MODELS: dict[str, dict[str, Any]] = {
    "audio only": {"model.modality": "audio"},
    "visual only": {"model.modality": "visual"},
    "0 stages": {"model.num_stages": 0},
    "2 stages": {"model.num_stages": 2},
}
"""{row of the demo's table: changes of the config}; a subset of the rows of the paper's Table 1."""


def train_and_score(
    demo: Path, home: Path, config: RunConfig, progress: Progress | None = None
) -> tuple[Evaluation, dict[str, Localized]]:
    """Train on the features of a demo folder into `home` (or resume there), then localize and score the test videos.

    A video without the modality of a uni-modal model is not localized and counts as missed.
    """
    if not (home / "run" / RECORD_FILE).exists():
        fit(demo / "features", demo / "labels.csv", home / "run", config, has_state(home / "run"), progress)
    store = FeatureStore(demo / "features")
    tests = [row.video_id for row in read_labels(demo / "labels.csv").subset("test")]
    localizer = load(home / "run")
    usable = [video for video in tests if localizer.can_use(store.load(video))]
    found, _ = localize_all(localizer, [store.path(video) for video in usable], home / "detections")
    return evaluate_files(home / "detections", demo / "ground_truth.json", "validation"), found
