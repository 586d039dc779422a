"""Training on video-level labels, resumable, on one or more processes.

plan         settings derived from the data; what is said before a run
prepare      match features with labels, split off validation videos
dataset      weakly labelled videos; a sampler of batches with pairs that share a class
corrections  corrections as supervision
learner      the network, its optimizer, its teacher
teacher      the mean teacher
warm         start from the weights of another run
frozen       copy stages of another run and freeze them
step         the loss of one batch
loop         `fit`
validate     validation by video-level labels
checks       NaN/Inf checks, run folder lock
checkpointer when weights and state are saved and restored
state        state.pt, for --resume
distributed  start processes, split batches, gather and average tensors
metrics_log  metrics.jsonl and TensorBoard, warnings about collapsed runs
record       record.json, the summary of a finished run
resume       `train`: start fresh, resume, or leave a finished run unchanged
simple       `avloc.train`: the same with paths and names as text

The package can be called: `avloc.train(features, labels, out)` is `train.simple.train`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package and a function of one name, `avloc.train`, whichever is asked for first."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from avloc.train.simple import train

        return train(*args, **options)


sys.modules[__name__].__class__ = _Callable
