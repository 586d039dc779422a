"""The mean teacher, an average of the network's weights over time. Ours, after Tarvainen and Valpola (2017).

It makes the pseudo-labels of Eq. 9 from the student's snippets, without dropout and with both modalities. Its weights
are the ones that a run saves.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from avloc.model.base import Model
from avloc.model.batch import Batch


def teacher_of(module: Model, decay: float) -> AveragedModel | None:
    """A copy whose weights w' follow those of `module`; None if `decay` is 0.

    The first update copies. Update n = 1, 2, ...: w' <- d w' + (1 - d) w, d = min(decay, (1 + n) / (10 + n)), which is
    smaller at the start, for short runs.
    """
    if not decay:
        return None

    def follow(teacher: Tensor, student: Tensor, updates: Tensor | int) -> Tensor:
        slow = min(decay, (1 + int(updates)) / (10 + int(updates)))
        return student.lerp(teacher, slow)

    return AveragedModel(module, avg_fn=follow, use_buffers=True).requires_grad_(False).eval()


@torch.no_grad()
def guidance(teacher: AveragedModel | None, batch: Batch) -> Float[Tensor, "b l c1"] | None:
    """The teacher's probabilities, if there is a teacher."""
    return None if teacher is None else teacher(batch).probs
