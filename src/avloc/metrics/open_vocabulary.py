"""OV-AVEBench's three metrics and their mean.

    accuracy     share of segments (snippets) with the correct class, background included
    segment F1   per video: F1 over segments of each class that is true or predicted in it, background included,
                 averaged over these classes; then averaged over videos
    event F1     likewise over runs of segments; a predicted run is correct if a true run has IoU >= 0.5 with it
    average      mean of the three, the figure by which methods are ranked

Differs from the authors' program, which averages F1 over the videos of a batch, then over batches: with a smaller last
batch its videos weigh more. Here all videos weigh the same.

References
    Zhou et al.: "Towards open-vocabulary audio-visual event localization", CVPR 2025; utils/eval_metrics.py and
    baseline_v0_training_free.py of jasongief/OV-AVEL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avloc.errors import InputError
from avloc.metrics.parsing import event_counts, segment_counts, video_f1
from avloc.metrics.snippets import Snippets, snippet_accuracy


@dataclass(frozen=True)
class OpenVocabularyScores:
    """OV-AVEBench's metrics, in [0, 1]."""

    accuracy: float
    segment_f1: float
    event_f1: float

    @property
    def average(self) -> float:
        """Mean of the three."""
        return (self.accuracy + self.segment_f1 + self.event_f1) / 3

    def to_dict(self) -> dict[str, float]:
        """The three and their average."""
        return {**vars(self), "average": self.average}


def open_vocabulary_scores(predicted: Snippets, true: Snippets, classes: Sequence[str]) -> OpenVocabularyScores:
    """OV-AVEBench's metrics of one class per snippet. Arguments and errors as `snippet_accuracy`.

    Raises:
        InputError: no video.
    """
    accuracy = snippet_accuracy(predicted, true, classes).accuracy
    if not len(predicted):
        raise InputError("no video to score: expected at least one")
    one_hot = np.eye(1 + len(classes), dtype=bool)
    pairs = [(one_hot[p], one_hot[t]) for p, t in zip(predicted, true, strict=True)]
    segment, event = (
        float(np.mean([video_f1(*count(p, t)) for p, t in pairs])) for count in (segment_counts, event_counts)
    )
    return OpenVocabularyScores(accuracy, segment, event)
