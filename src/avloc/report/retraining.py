"""What a result is retrained from, and where the new one goes: beside it.

OUT/detections/    OUT/run/    OUT/features/    OUT/retrained-1/{run,detections}/    OUT/retrained-2/...
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from avloc.errors import FormatError, InputError
from avloc.formats.results import ResultsFolder
from avloc.formats.retraining import FINISHED, STATE_FILE, read_state
from avloc.model.files import MODEL_FILE
from avloc.report.sources import PageSources

_NAME = re.compile(r"retrained-[1-9][0-9]{0,5}")
_LABELS = "labels.csv"


@dataclass(frozen=True)
class RetrainInputs:
    """Folders and files of a retraining; see `avloc retrain --help`."""

    detections: Path
    run: Path
    features: Path
    labels: Path


def find_inputs(sources: PageSources) -> RetrainInputs:
    """The run that made the detections, its features and labels: those given, else those near the detections.

    Raises:
        InputError: one of them is unknown, with the option that says it.
    """
    if not sources.detections.is_dir():
        raise InputError(f"{sources.detections}: only a folder from `avloc localize` or `avloc run` can be retrained")
    run = sources.trained_run(MODEL_FILE)
    if run is None:
        where = sources.detections
        raise InputError(f"{where}: expected the run that made the detections, with {MODEL_FILE}; give --run RUN")
    features = sources.features_of(run)
    if features is None or not features.is_dir():
        raise InputError(f"{features or run}: expected a folder of features; give --features FOLDER")
    home = sources.detections.resolve()
    near = (ResultsFolder(home).labels, *(place / _LABELS for place in (home.parent, features, features.parent)))
    labels = sources.labels or next((path for path in near if path.is_file()), None)
    if labels is None or not labels.is_file():
        raise InputError(f"{labels or home}: expected the labels that the run was trained on; give --labels labels.csv")
    return RetrainInputs(sources.detections, run, features, labels)


def to_teach(sources: PageSources, suggest: int) -> PageSources:
    """The sources of a page that suggests videos and shows the labels given, if its result can be retrained."""
    try:
        return replace(sources, labels=find_inputs(sources).labels, suggest=suggest)
    except InputError:
        return sources


def retrained_home(detections: Path) -> Path:
    """The folder in which results retrained from these detections are, beside each other."""
    parent = Path(os.path.realpath(detections)).parent  # links may lead in a circle
    return parent.parent if _NAME.fullmatch(parent.name) and (parent / STATE_FILE).is_file() else parent


def retrained_folders(home: Path) -> list[Path]:
    """Retrained results, finished or not, oldest first; links are none."""
    named = [path for path in home.glob("retrained-*") if _NAME.fullmatch(path.name)]
    found = [path for path in named if path.is_dir() and not path.is_symlink()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def next_folder(home: Path) -> Path:
    """Where the next retrained result goes: the last folder if it holds no finished one, else a new one.

    Raises:
        InputError: the number of a new one would be too large.
    """
    folders = retrained_folders(home)
    if folders and _unfinished(folders[-1]) and not folders[-1].is_symlink():
        return folders[-1]
    number = int(folders[-1].name.rpartition("-")[2]) + 1 if folders else 1
    while os.path.lexists(home / f"retrained-{number}"):
        number += 1
    folder = home / f"retrained-{number}"
    if not _NAME.fullmatch(folder.name):
        raise InputError(f"{folder}: expected a number of at most 6 digits; rename {folders[-1]}")
    return folder


def _unfinished(folder: Path) -> bool:
    try:
        state = read_state(folder)
    except FormatError:
        return False
    return state is not None and state.status != FINISHED
