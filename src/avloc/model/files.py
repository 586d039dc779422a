"""Names of the files in a run folder, RUN/; nothing else spells them."""

from __future__ import annotations

__all__ = [
    "CONFIG_FILE",
    "METRICS_FILE",
    "MODEL_FILE",
    "PREVIOUS_FILE",
    "RECORD_FILE",
    "STATE_FILE",
    "TENSORBOARD_FOLDER",
]

CONFIG_FILE = "config.yaml"  # the resolved configuration
MODEL_FILE = "model.safetensors"  # the best weights, with all that is needed to use them
METRICS_FILE = "metrics.jsonl"  # one row of losses and scores a line
TENSORBOARD_FOLDER = "tensorboard"  # the same rows
STATE_FILE = "state.pt"  # what --resume needs
PREVIOUS_FILE = "state.previous.pt"  # the state before it
RECORD_FILE = "record.json"  # summary; only a finished run has one
