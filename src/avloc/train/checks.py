"""What keeps a run whole: one process in its folder, numbers that are numbers, and a message that says where it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric

from avloc.errors import TrainingError
from avloc.model.batch import SnippetOutput
from avloc.model.files import MODEL_FILE, RECORD_FILE
from avloc.system.locks import folder_lock
from avloc.train.state import drop_states, has_state

__all__ = ["clear", "require_finite", "require_finite_weights", "run_lock", "silent_rows"]


@contextmanager
def run_lock(fabric: Fabric, out: Path) -> Iterator[None]:
    """The run folder, made, and locked by the first process for all of them.

    Raises:
        InputError: another run is at work there, or it cannot be written to.
    """
    if not fabric.is_global_zero:
        fabric.barrier()
        yield
        return
    with folder_lock(out, "the run folder"):
        fabric.barrier()
        yield


def clear(out: Path) -> None:
    """Remove an earlier run, so that a run that is killed before its first checkpoint is not mistaken for that one."""
    (out / RECORD_FILE).unlink(missing_ok=True)
    (out / MODEL_FILE).unlink(missing_ok=True)
    drop_states(out)


def silent_rows(output: SnippetOutput, names: Sequence[str]) -> list[str]:
    """Videos of a batch whose own output holds NaN or infinity."""
    values = torch.cat([output.embedding, output.action_logits, output.probs], dim=2).flatten(1)
    return [name for name, whole in zip(names, torch.isfinite(values).all(dim=1).tolist(), strict=True) if not whole]


def require_finite(
    row: Mapping[str, float],
    step: int,
    scaled: bool,
    out: Path,
    videos: Sequence[str],
    culprits: Callable[[], Sequence[str]],
) -> None:
    """Stop before the optimizer takes a step that cannot be taken back.

    Args:
        row: what the step measured, the same on every process. step: from 1.
        scaled: the gradient is scaled for half precision; where that overflows, the engine skips the step by itself.
        videos: ids of the whole batch. culprits: finds those of them whose own output is not finite.

    Raises:
        TrainingError: one of them is NaN or infinite; says which, and which videos were in the batch.
    """
    skipped = {"train/gradient_norm"} if scaled else set()
    bad = [f"{name} {value}" for name, value in row.items() if not math.isfinite(value) and name not in skipped]
    if not bad:
        return
    guilty = culprits()
    blame = f"; the model's output is not finite for {', '.join(guilty)}" if guilty else ""
    raise TrainingError(
        f"step {step}: not finite: {', '.join(bad)}. Videos of the batch: {', '.join(videos)}{blame}. {_where(out)} "
        "Look at the features of these videos, or set train.grad_clip or a lower train.learning_rate"
    )


def require_finite_weights(module: torch.nn.Module, out: Path) -> None:
    """Never let a checkpoint be replaced by one that no longer works.

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
