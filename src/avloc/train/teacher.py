"""The mean teacher: the trained network's weights averaged over time. Ours; the idea is Tarvainen and Valpola's (2017).

It sees the same snippets as the student, but without dropout and with both modalities, and makes the pseudo-labels of
Eq. 9; it is also what a run keeps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from avloc.model.base import Model
from avloc.model.batch import Batch

__all__ = ["guidance", "teacher_of"]


def teacher_of(module: Model, decay: float) -> AveragedModel | None:
    """A copy whose weights follow `module`'s; None without a decay.

    w' <- d w' + (1 - d) w at each update, d = min(decay, (1 + n) / (10 + n)) after n of them, so that a short run does
    not end with a teacher that has not yet followed.
    """
    if not decay:
        return None

    def follow(teacher: Tensor, student: Tensor, updates: Tensor | int) -> Tensor:
        slow = min(decay, (1 + int(updates)) / (10 + int(updates)))
        return student.lerp(teacher, slow)

    return AveragedModel(module, avg_fn=follow, use_buffers=True).requires_grad_(False).eval()


@torch.no_grad()
def guidance(teacher: AveragedModel | None, batch: Batch) -> Float[Tensor, "b l c1"] | None:
    """The teacher's probabilities for a batch; None where there is no teacher."""
    return None if teacher is None else teacher(batch).probs
