"""Deprecated: see `avloc.features.backbones`."""
