"""Videos to snippet features: one file a video, finished work skipped, failures recorded per video.

    backbones    what turns snippets into vectors
    weights      published weights: found, fetched, checked
    flow         optical flow
    video        one video -> FeatureSequence
    task         one video -> a feature file and a manifest row
    folder       `extract_all`: many videos
    processes    many videos over processes
    ray_cluster  many videos over a Ray cluster
    layout       feature files: ours, or the field's .npy
    manifest     the table of all videos

Import from the modules.
"""
