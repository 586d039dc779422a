"""RUN/record.json: summary of a finished run."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.formats.json_file import parse_json
from avloc.model.checkpoint import ModelCard
from avloc.model.files import RECORD_FILE
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text, readable
from avloc.train.metrics_log import finite_or_nan
from avloc.train.prepare import TrainingData
from avloc.types import Short
from avloc.version import __version__


@dataclass(frozen=True, repr=False)
class RunRecord(Short):
    """Configuration, data, environment and course of a finished run.

    Args:
        history: rows of metrics.jsonl.
        selected_step: the step of the saved weights.
        selection_score: their validation score; -inf (in the file null) without validation videos, or if
            `train.selection` is last.
        data: `TrainingData.facts`; empty in old records.
        corrections: the files of corrections. corrected_videos: the training videos that they correct.
    """

    config: Mapping[str, Any]
    classes: tuple[str, ...]
    seed: int
    versions: Mapping[str, str]
    commit: str
    history: tuple[Mapping[str, float], ...]
    selected_step: int
    selection_score: float
    train_videos: int
    validation_videos: int
    data: Mapping[str, str] = field(default_factory=dict)
    corrections: tuple[str, ...] = ()
    corrected_videos: tuple[str, ...] = ()

    @property
    def last_step(self) -> int:
        """The step at which training ended."""
        return int(self.history[-1]["step"]) if self.history else 0

    @property
    def scores(self) -> dict[str, float]:
        """The last four fields but `data`, as grouped in record.json."""
        return {name: getattr(self, name) for name in _SCORES}


_SCORES = ("selected_step", "selection_score", "train_videos", "validation_videos")


def write_record(
    out: Path,
    card: ModelCard,
    history: Sequence[dict[str, float]],
    best: float,
    best_step: int,
    data: TrainingData,
    corrections: Sequence[Path] = (),
) -> RunRecord:
    """The record of a finished run, written to RUN/record.json by the process that has the history."""
    record = RunRecord(
        config=card.config.model_dump(),
        classes=card.classes,
        seed=card.config.train.seed,
        versions=_versions(),
        commit=_commit(),
        history=tuple(history),
        selected_step=best_step,
        selection_score=best,
        train_videos=len(data.train),
        validation_videos=len(data.validation),
        data=data.facts,
        corrections=tuple(readable(path) for path in corrections),
        corrected_videos=tuple(data.train.ids[i] for i in data.train.corrected),
    )
    if history:
        fields = {name: value for name, value in asdict(record).items() if name not in _SCORES}
        atomic_write(out / RECORD_FILE, json_text({**fields, "scores": record.scores}, indent=1))
    return record


def read_record(run: Path) -> RunRecord:
    """The record of a finished run.

    Raises:
        InputError: the run is missing or unfinished. FormatError: the file is damaged.
    """
    path = run / RECORD_FILE
    if not path.is_file():
        raise InputError(
            f"{run}: expected a finished run with {RECORD_FILE}; continue it with `avloc train ... --resume`"
        )
    try:
        fields = parse_json(path)
        scores = fields.pop("scores")
        counts = {name: int(scores.pop(name)) for name in _SCORES if name != "selection_score"}  # floats in old records
        if scores["selection_score"] is None:  # JSON has no infinity
            scores["selection_score"] = -math.inf
        history = tuple(map(finite_or_nan, fields["history"]))
        for name in ("corrections", "corrected_videos"):  # absent in records of earlier versions
            fields[name] = tuple(fields.get(name, ()))
        fields["classes"] = tuple(fields["classes"])
        return RunRecord(**{**fields, **scores, **counts, "history": history})
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{path}: expected a run's record: {error}") from error


def _versions() -> dict[str, str]:
    found = {"avloc": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "numpy", "av", "lightning-fabric", "safetensors"):
        found[name] = importlib.metadata.version(name)
    return found


def _commit() -> str:
    """The git commit of a source checkout; empty for an installed package."""
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
