"""Our own files, one module a format; `untrusted/` holds the readers for arrays and pickles of unknown origin.

    labels       labels.csv, video-level labels
    features     one safetensors file of snippet features a video
    activations  one safetensors file of class activations a video
    annotations  ActivityNet's JSON, ground truth
    detections   segments.csv and segments.json
    results      the folder that `avloc localize` writes
    failures     failures.csv

Import from the modules; h5py and the like load when used.
"""

from avloc.system.moved import forward

__getattr__ = forward("avloc.formats", {"read_detections": "avloc.formats.detections"})
