"""avloc's own files, one module per format; `untrusted/` reads arrays and pickles of unknown origin.

    labels       labels.csv, video-level labels
    features     snippet features, one safetensors file per video
    npy          snippet features as .npy files for other code
    activations  class activations, one safetensors file per video
    annotations  ground truth in ActivityNet's JSON
    corrections  what a person has stated about a video's segments
    detections   segments.csv and segments.json
    results      the folder that `avloc localize` writes: its layout, reader and writer
    failures     failures.csv, failed videos and reasons

Import from the modules. h5py and safetensors are imported on use.
"""

from avloc.system.moved import forward

__getattr__ = forward("avloc.formats", {"read_detections": "avloc.formats.detections"})
