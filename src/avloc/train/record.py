"""RUN/record.json: all that a report, a table or a person needs to know of a run."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.model.checkpoint import ModelCard
from avloc.model.files import RECORD_FILE
from avloc.system.atomic import atomic_write
from avloc.train.prepare import TrainingData
from avloc.version import __version__

__all__ = ["RECORD_FILE", "RunRecord", "read_record", "write_record"]


def write_record(
    out: Path,
    card: ModelCard,
    history: Sequence[dict[str, float]],
    best: float,
    best_step: int,
    data: TrainingData,
) -> RunRecord:
    """Make the record of a finished run; the process that kept the history writes it."""
    record = RunRecord(
        config=card.config.model_dump(),
        classes=card.classes,
        seed=card.config.train.seed,
        versions=_versions(),
        commit=_commit(),
        history=tuple(history),
        scores={
            "selected_step": float(best_step),
            "selection_score": float(best),
            "train_videos": float(len(data.train)),
            "validation_videos": float(len(data.validation)),
        },
        data=data.facts,
    )
    if history:
        atomic_write(out / RECORD_FILE, json.dumps(asdict(record), indent=1))
    return record


def read_record(run: Path) -> RunRecord:
    """The record of a finished run.

    Raises:
        InputError: the run is not there or not finished. FormatError: the file is damaged.
    """
    path = run / RECORD_FILE
    if not path.exists():
        raise InputError(f"{run}: expected a finished run with {RECORD_FILE}; go on with `avloc train ... --resume`")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return RunRecord(**{**fields, "classes": tuple(fields["classes"]), "history": tuple(fields["history"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"{path}: expected a run's record: {error}") from error


def _versions() -> dict[str, str]:
    found = {"avloc": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "numpy", "av", "lightning-fabric", "safetensors"):
        found[name] = importlib.metadata.version(name)
    return found


def _commit() -> str:
    """The commit of a source checkout; empty for an installed package."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


@dataclass(frozen=True)
class RunRecord:
    """All that a report needs to know of a training run."""

    config: Mapping[str, Any]
    classes: tuple[str, ...]
    seed: int
    versions: Mapping[str, str]
    commit: str
    history: tuple[Mapping[str, float], ...]
    scores: Mapping[str, float]
    data: Mapping[str, str] = field(default_factory=dict)
