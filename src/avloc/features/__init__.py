"""Snippet features of videos: one file per video; finished videos are skipped, failures recorded per video.

    backbones    map snippets to vectors
    weights      find, download and verify published weights
    flow         optical flow
    video        one video -> FeatureSequence
    task         one video -> a feature file and a manifest row
    folder       `extract_all`: many videos
    processes    many videos over processes
    ray_cluster  many videos over a Ray cluster
    layout       feature files: safetensors or .npy
    manifest     the table of all videos

Import from the modules.
"""
