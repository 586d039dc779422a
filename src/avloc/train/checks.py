"""The lock of a run folder, and NaN/Inf checks before a checkpoint is replaced."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric

from avloc.errors import TrainingError
from avloc.model.batch import SnippetOutput
from avloc.model.files import CONFIG_FILE, METRICS_FILE, MODEL_FILE, PREVIOUS_FILE, RECORD_FILE, STATE_FILE
from avloc.system.atomic import claim
from avloc.system.locks import folder_lock
from avloc.system.outputs import discard
from avloc.train.state import has_state


@contextmanager
def run_lock(fabric: Fabric, out: Path) -> Iterator[None]:
    """Create the run folder and lock it; the first process does so for all.

    Raises:
        InputError: another process uses the folder, or it is not writable.
    """
    if not fabric.is_global_zero:
        fabric.barrier()
        yield
        return
    with folder_lock(out, "the run folder"):
        fabric.barrier()
        yield


def clear(out: Path) -> None:
    """Remove an earlier run: a run killed before its first checkpoint must not be mistaken for it.

    Raises:
        InputError: one of the files was not written by avloc.
    """
    files = [out / name for name in (RECORD_FILE, MODEL_FILE, PREVIOUS_FILE, STATE_FILE)]
    claim([*files, out / CONFIG_FILE, out / METRICS_FILE])
    for path in files:
        discard(path)


def require_finite(
    row: Mapping[str, float],
    step: int,
    scaled: bool,
    out: Path,
    videos: Sequence[str],
    output: SnippetOutput,
    own_videos: Sequence[str],
) -> None:
    """Check a step's losses and gradient norm before the optimizer uses them.

    Args:
        row: values of the step, the same on every process. step: from 1.
        scaled: gradients are scaled for half precision; the engine itself skips steps where they overflow.
        videos: ids of the whole batch.
        output, own_videos: the model's output on this process, and the ids of its videos.

    Raises:
        TrainingError: a value is NaN or infinite; names the value, the batch's videos and those with such an output.
    """
    skipped = {"train/gradient_norm"} if scaled else set()
    bad = [f"{name} {value}" for name, value in row.items() if not math.isfinite(value) and name not in skipped]
    if not bad:
        return
    guilty = _nonfinite(output, own_videos)
    blame = f"; the model's output is not finite for {', '.join(guilty)}" if guilty else ""
    raise TrainingError(
        f"step {step}: not finite: {', '.join(bad)}. Videos of the batch: {', '.join(videos)}{blame}. {_where(out)} "
        "Look at the features of these videos, or set train.grad_clip or a lower train.learning_rate"
    )


def _nonfinite(output: SnippetOutput, names: Sequence[str]) -> list[str]:
    values = torch.cat([output.embedding, output.action_logits, output.probs], dim=2).flatten(1)
    return [name for name, finite in zip(names, values.isfinite().all(dim=1).tolist(), strict=True) if not finite]


def require_finite_weights(module: torch.nn.Module, out: Path) -> None:
    """Check the weights before they replace a checkpoint.

    Raises:
        TrainingError: a weight is NaN or infinite.
    """
    bad = [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise TrainingError(
            f"the weights of {', '.join(bad[:3])} are not finite. {_where(out)} "
            "Set train.grad_clip or a lower train.learning_rate"
        )


def _where(out: Path) -> str:
    if has_state(out):
        return f"Training stopped; the last good checkpoint is in {out}."
    return f"Training stopped before its first checkpoint in {out}."
