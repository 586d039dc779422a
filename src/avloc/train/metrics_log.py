"""What a run tells while it trains: metrics.jsonl, TensorBoard, and plain words when it collapses."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float

from avloc.model.files import METRICS_FILE, TENSORBOARD_FOLDER
from avloc.system.atomic import atomic_write, storing

__all__ = ["MetricsLog", "health", "warnings_of"]

_log = logging.getLogger("avloc.train")


class MetricsLog:
    """Rows of numbers by step, appended to `RUN/metrics.jsonl` and, where it is installed, to TensorBoard.

    Args:
        folder: the run.
        after_step: rows beyond it are dropped first, so that a resumed run has each step once.
    """

    def __init__(self, folder: Path, after_step: int = 0) -> None:
        self.path = folder / METRICS_FILE
        self.rows = [row for row in read_metrics(self.path) if row["step"] <= after_step]
        atomic_write(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._file: IO[str] = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder / TENSORBOARD_FOLDER, after_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record one row.

        Raises:
            StorageError: the disk is full, read-only or gone.
        """
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        self.rows.append(row)
        with storing(self.path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """See that all rows are on the disk, before a checkpoint that counts on them."""
        with storing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # a full disk has been reported by `write`
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.jsonl; a last line cut off by a crash is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            _log.warning("%s: dropped an unfinished line", path)
    return rows


def _tensorboard(folder: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.info("tensorboard is not installed; metrics.jsonl has everything (pip install 'avloc[tb]' for both)")
        return None
    return SummaryWriter(str(folder), purge_step=after_step + 1)


def health(probs: Float[np.ndarray, "n c1"], labelled: Bool[np.ndarray, " c"]) -> dict[str, float]:
    """How a set of snippets is divided: the share called background, the mean reliability, the busiest class's share.

    Args:
        probs: snippets of many videos, column 0 background.
        labelled: which classes those videos carry at all.
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
    """Plain words for a run that has collapsed, or is about to; empty for a healthy one."""
    said = []
    if state["health/background"] > 0.98:
        said.append(
            f"{state['health/background']:.0%} of all snippets are called background: every video comes out empty. "
            "Try a smaller loss.mil_background_weight, loss.mil_background=known, or a longer loss.warmup."
        )
    if state["health/background"] < 0.02:
        said.append(
            f"{1 - state['health/background']:.0%} of all snippets are called foreground: nothing tells action from "
            "background. Try loss.mil_background=always, or add videos with an empty label that hold background only. "
            "(All is well if your training videos are action from start to end.)"
        )
    if state["health/busiest_class"] > 0.95:
        said.append(
            f"{state['health/busiest_class']:.0%} of the foreground goes to one class: the others have vanished. "
            "Check that the labels match the videos, or try a smaller train.learning_rate."
        )
    return said
