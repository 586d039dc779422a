"""Apply a trained run to videos.

localizer  one video: `load(run).localize(path)`
folder     many videos, to a results folder
attention  the cross-attention matrices of one video
"""
