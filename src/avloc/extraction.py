"""Deprecated: the documented names of `avloc.extraction`, which is `avloc.features` now."""

from avloc.system.moved import forward

__getattr__ = forward(
    "avloc.extraction", {"load_npy": "avloc.features.layout", "read_manifest": "avloc.features.manifest"}
)
