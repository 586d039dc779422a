"""File names in a run folder."""

from __future__ import annotations

CONFIG_FILE = "config.yaml"  # the resolved configuration
MODEL_FILE = "model.safetensors"  # the selected weights, see `model.checkpoint`
METRICS_FILE = "metrics.jsonl"  # losses and validation scores by step
TENSORBOARD_FOLDER = "tensorboard"  # the same as TensorBoard events
STATE_FILE = "state.pt"  # training state for --resume
PREVIOUS_FILE = "state.previous.pt"  # the training state before that
RECORD_FILE = "record.json"  # summary of a finished run
