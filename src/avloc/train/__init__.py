"""Training on video-level labels: one loop, resumable, on one or several processes.

prepare      match features with labels; training and validation videos
dataset      weakly labelled videos, the sampler that plants pairs of a shared class
loop         `fit`
teacher      the mean teacher
validate     what is measured on validation videos, by video-level labels
checks       NaN/Inf checks, silent or empty inputs
distributed  gather tensors across processes, with gradients
metrics_log  metrics.jsonl and TensorBoard; warnings about collapsed runs
state        state.pt, for --resume
frozen       stages taken from another run and frozen
record       record.json, the summary of a finished run
resume       `train`: start fresh, resume, or leave a finished run unchanged
"""
