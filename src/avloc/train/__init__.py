"""Training on video-level labels, resumable, on one or more processes.

plan         settings derived from the data; what is said before a run
prepare      match features with labels, split off validation videos
dataset      weakly labelled videos; a sampler of batches with pairs that share a class
learner      the network, its optimizer, its teacher
teacher      the mean teacher
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
"""
