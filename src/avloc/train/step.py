"""The loss of one batch (Eq. 10), without side effects."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from avloc.config import RunConfig
from avloc.model import losses
from avloc.model.batch import Batch, SnippetOutput
from avloc.train.distributed import gather_rows
from avloc.train.learner import Learner
from avloc.train.teacher import guidance


@dataclass(frozen=True)
class StepResult:
    """Results on this process: the loss to minimise, the model's output, and values to log by name."""

    total: Float[Tensor, ""]
    output: SnippetOutput
    values: dict[str, Tensor]


def training_step(fabric: Fabric, learner: Learner, batch: Batch, config: RunConfig, step: int) -> StepResult:
    """Forward pass and losses; `step` counts from 0."""
    output = learner.model(batch)
    teacher_probs = guidance(learner.teacher, batch)
    known = batch.truth, batch.prior, prior_weight(config, step)
    terms, rate = losses.output_terms(output, batch.labels, batch.mask, config.loss, teacher_probs, *known)
    terms["coactivity"] = _coactivity(fabric, output, batch, config.loss.coactivity_margin)
    total = losses.total_loss(terms, term_weights(config, step, corrected=batch.truth is not None))
    values = {f"loss/{name}": term.detach() for name, term in terms.items()}
    values |= {
        "loss/total": total.detach(),
        "train/pseudo_rate": rate,
        "train/reliability": losses.video_mean(output.reliability.detach(), batch.mask),
    }
    return StepResult(total, output, values)


def prior_weight(config: RunConfig, step: int) -> float:
    """w of the prior in the pseudo-labels: falls linearly from `loss.prior_weight` to 0 at the end of the run."""
    return config.loss.prior_weight * (1 - step / config.train.steps)


def term_weights(config: RunConfig, step: int, corrected: bool = False) -> dict[str, float]:
    """Weights of Eq. 10, and of L_cor if videos are corrected.

    β and γ ramp up over the warm-up; the soft-max head has no L_cont (§4.3).
    """
    loss = config.loss
    warm = loss.warmup * config.train.steps
    ramp = min(1.0, step / warm) if warm else 1.0
    return {
        "mil": 1.0,
        "coactivity": loss.coactivity_weight,
        "continuity": ramp * loss.continuity_weight * config.model.open_max,
        "pseudo": ramp * loss.pseudo_weight,
        **({"correction": loss.correction_weight} if corrected else {}),
    }


def _coactivity(fabric: Fabric, output: SnippetOutput, batch: Batch, margin: float) -> Float[Tensor, ""]:
    """L_cas over the pairs of the whole batch, across processes."""
    high, low, where = losses.coactivity_descriptors(output.embedding, output.action_logits, batch.labels, batch.mask)
    if fabric.world_size > 1:
        where = where + where.new_tensor([fabric.global_rank * len(batch), 0])
        high, low, where = (gather_rows(fabric, rows) for rows in (high, low, where))
    return losses.coactivity_loss(high, low, where, margin)
