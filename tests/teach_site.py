"""A small result with its run, features and labels, served as by `avloc view`, for tests and tools."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from avloc.config import preset
from avloc.pipeline.folder import localize_folder
from avloc.report.page.build import build_page
from avloc.report.retraining import to_teach
from avloc.report.serve import PageServer, Retrainer
from avloc.report.sources import PageSources
from avloc.train.resume import train
from feature_sets import make_videos, write_set

VIDEOS = make_videos(count=12)
CONFIG = {
    "train.steps": 40,
    "train.eval_every": 40,
    "train.holdout": 0,
    "train.learning_rate": 3e-3,
    "model.embed_dim": 16,
    "localize.contrast.full_video_margin": 1,
    "localize.contrast.short_video_bonus": 0,
}
"""Trained too little: it finds few of the twelve instances, and all of them after corrections. Takes 2 s."""


def make_result(home: Path) -> None:
    """HOME/features, labels.csv, run and detections."""
    features, labels = write_set(home, VIDEOS)
    train(features, labels, home / "run", preset("default", CONFIG))
    localize_folder(home / "run", [features], home / "detections")


@contextlib.contextmanager
def served(
    detections: Path, page: Path, built: Mapping[str, Path] | None = None, **sources: object
) -> Iterator[PageServer]:
    """The page of a result, served with saving and retraining; `built`: it is there already, with these videos."""
    saved = Path(sources.pop("corrections", detections / "corrections.json"))  # type: ignore[arg-type]
    given = PageSources(detections, corrections=saved if saved.is_file() else None, **sources)  # type: ignore[arg-type]
    given = to_teach(given, 3)
    files = dict(built or {})
    jobs = Retrainer(given, saved, page, files)
    server = PageServer(page, files, saved, 0, jobs)
    if built is None:
        files.update(build_page(given, page, media="serve").served)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)
