"""Time and memory of training, localization, extraction and evaluation."""
