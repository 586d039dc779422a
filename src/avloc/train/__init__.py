"""Training on video-level labels: one loop, resumable, on one or several processes.

prepare      match features with labels; training and validation videos
dataset      weakly labelled videos, the sampler that plants pairs of a shared class
learner      the network, its optimizer, its teacher
teacher      the mean teacher
frozen       stages taken from another run and frozen
step         the loss of one batch
loop         `fit`
validate     what is measured on validation videos, by video-level labels
checks       NaN/Inf checks, the lock of a run folder
checkpointer the best weights so far, and the state to resume from
state        state.pt, for --resume
distributed  start processes, split batches, gather tensors with gradients
metrics_log  metrics.jsonl and TensorBoard; warnings about collapsed runs
record       record.json, the summary of a finished run
resume       `train`: start fresh, resume, or leave a finished run unchanged
"""
