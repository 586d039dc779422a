"""Metrics of a run: metrics.jsonl, TensorBoard, and warnings when training collapses."""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float

from avloc.errors import FormatError
from avloc.formats.json_file import parse_json
from avloc.formats.untrusted.bombs import read_document
from avloc.model.files import METRICS_FILE, TENSORBOARD_FOLDER
from avloc.system.atomic import atomic_write, storing
from avloc.system.outputs import check_inside
from avloc.system.text import json_text, pluralize
from avloc.types import OnMetrics

_EVENTS = "events.out.tfevents"
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
        self.rows = [row for row in read_metrics(self.path) if row.get("step", math.inf) <= after_step]
        atomic_write(self.path, "".join(json_text(row) + "\n" for row in self.rows))
        with storing(self.path):
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
            self._board.write(step, values)
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


_MOST_SKIPPED = 1_000


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.jsonl; lines cut off by crashes are skipped. FormatError: there are over 1,000."""
    rows, skipped = [], 0
    for line in read_document(path).splitlines() if path.is_file() else []:
        try:
            rows.append(finite_or_nan(parse_json(path, line)))
        except (ValueError, AttributeError, RecursionError):
            skipped += 1
            if skipped > _MOST_SKIPPED:
                raise FormatError(f"{path}: expected a JSON object per line, got others") from None
    if skipped:
        _log.warning("%s: skipped %s", path, pluralize(skipped, "incomplete line"))
    return rows


def finite_or_nan(row: Mapping[str, float | None]) -> dict[str, float]:
    """A row as read from JSON, which has null in place of NaN."""
    return {name: math.nan if value is None else value for name, value in row.items()}


class _Board:
    """Scalars for TensorBoard. Its own writer writes in a thread, where a full disk would go unnoticed.

    Source: tensorboard/compat/proto/event.proto. Files are read in the order of their names, so a name begins with the
    time, or with a later number than those there if the clock was set back.
    """

    def __init__(self, folder: Path, after_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        there = (re.fullmatch(rf"{_EVENTS}\.(\d{{1,10}})\..*", path.name) for path in folder.glob(f"{_EVENTS}.*"))
        number = max([int(time.time()), *(int(match[1]) + 1 for match in there if match)])
        self.path = folder / f"{_EVENTS}.{number:010d}.{socket.gethostname()}.{os.getpid()}"
        self._event = Event
        with storing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        self._records = RecordWriter(self._file)
        self._add(file_version="brain.Event:2")
        self._add(step=after_step + 1, session_log=SessionLog(status=SessionLog.START))  # later steps are purged

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one value per name. Raises StorageError as `storing`."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
        self._add(step=step, summary=Summary(value=scalars))

    def close(self) -> None:
        self._file.close()

    def _add(self, **fields: Any) -> None:
        with storing(self.path):
            self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())


def _tensorboard(folder: Path, after_step: int) -> _Board | None:
    try:
        return _Board(folder, after_step)
    except ImportError:
        _log.info("tensorboard is not installed; metrics are in metrics.jsonl only (pip install 'avloc[tb]')")
        return None


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
