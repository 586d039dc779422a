"""Training: one loop over weak labels, composed of formats, dataset, model, losses and metrics."""

from avloc.train.loop import fit
from avloc.train.record import read_record

__all__ = ["fit", "read_record"]
