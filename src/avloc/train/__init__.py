"""Training: one loop over weak labels, composed of formats, dataset, model, losses and metrics."""

from avloc.train.loop import fit
from avloc.train.prepare import prepare, require_same
from avloc.train.record import read_record

__all__ = ["fit", "prepare", "read_record", "require_same"]
