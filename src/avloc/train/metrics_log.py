"""Metrics of a run: metrics.jsonl, TensorBoard, and warnings when training collapses."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float

from avloc.formats.json_file import parse_json
from avloc.model.files import METRICS_FILE, TENSORBOARD_FOLDER
from avloc.system.atomic import atomic_write, storing
from avloc.system.outputs import check_inside
from avloc.system.text import json_text
from avloc.types import OnMetrics

_log = logging.getLogger("avloc.train")


class MetricsLog:
    """Values by step, appended to `RUN/metrics.jsonl` and, if installed, to TensorBoard.

    Args:
        folder: the run folder.
        after_step: later rows are removed first, so that a resumed run has each step once.
        on_metrics: also called with (step, values) of each new row.
    """

    def __init__(self, folder: Path, after_step: int = 0, on_metrics: OnMetrics | None = None) -> None:
        check_inside(folder / TENSORBOARD_FOLDER / "_")
        self._on_metrics = on_metrics
        self.path = folder / METRICS_FILE
        self.rows = [row for row in read_metrics(self.path) if row["step"] <= after_step]
        atomic_write(self.path, "".join(json_text(row) + "\n" for row in self.rows))
        self._file: IO[str] = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder / TENSORBOARD_FOLDER, after_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row.

        Raises:
            StorageError: the disk is full, read-only or unavailable.
        """
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        self.rows.append(row)
        with storing(self.path):
            self._file.write(json_text(row) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._on_metrics is not None:
            self._on_metrics(step, {name: float(value) for name, value in values.items()})

    def flush(self) -> None:
        """Flush rows to disk; call before a checkpoint."""
        with storing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # `write` has reported a full disk
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.jsonl; a last line cut off by a crash is skipped."""
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            rows.append(finite_or_nan(parse_json(path, line)))
        except (ValueError, AttributeError, RecursionError):
            _log.warning("%s: skipped an incomplete line", path)
    return rows


def finite_or_nan(row: Mapping[str, float | None]) -> dict[str, float]:
    """A row as read from JSON, which has null in place of NaN."""
    return {name: math.nan if value is None else value for name, value in row.items()}


def _tensorboard(folder: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.info("tensorboard is not installed; metrics are in metrics.jsonl only (pip install 'avloc[tb]')")
        return None
    return SummaryWriter(str(folder), purge_step=after_step + 1)


def health(probs: Float[np.ndarray, "n c1"], labelled: Bool[np.ndarray, " c"]) -> dict[str, float]:
    """Share of snippets predicted as background, mean reliability, and the most frequent class's share of foreground.

    Args:
        probs: snippets of many videos, column 0 background.
        labelled: classes that occur in the labels of those videos.
    """
    winners = probs.argmax(axis=1)
    foreground = winners[winners > 0]
    busiest = np.bincount(foreground).max() / len(foreground) if len(foreground) else 0.0
    return {
        "health/background": float((winners == 0).mean()),
        "health/reliability": float((1 - probs[:, 0]).mean()),
        "health/busiest_class": float(busiest) if labelled.sum() > 1 else 0.0,
    }


def warnings_of(state: Mapping[str, float]) -> list[str]:
    """Warnings about a run that has collapsed or is about to."""
    said = []
    if state["health/background"] > 0.98:
        said.append(
            f"{state['health/background']:.0%} of all snippets are predicted as background: no video has detections. "
            "Try a smaller loss.mil_background_weight, loss.mil_background=known, or a longer loss.warmup."
        )
    if state["health/background"] < 0.02:
        said.append(
            f"{1 - state['health/background']:.0%} of all snippets are predicted as foreground: actions are not "
            "separated from background. Try loss.mil_background=always, or add background videos, with an empty label. "
            "(Ignore this if your training videos show actions from start to end.)"
        )
    if state["health/busiest_class"] > 0.95:
        said.append(
            f"{state['health/busiest_class']:.0%} of the foreground is predicted as one class. "
            "Check that the labels match the videos, or try a smaller train.learning_rate."
        )
    return said
