"""Apply a trained run, or prompts, to videos.

activator     one video: features, activations, detections, of a run or of prompts
localization  its result: detections as tables, files, clips, plots
localizer     by a trained run: `load(run).localize(path)`
prompts       by words, without training: `zero_shot(words).localize(path)`
scorers       the networks that score words
settings      settings that may change after training
many          many videos, one result at a time
suggest       the videos whose correction should teach most
folder        many videos, to a results folder
published     models for others: weights, configuration, model card
hub           models by name, on the Hugging Face hub
attention     the cross-attention matrices of one video
"""
