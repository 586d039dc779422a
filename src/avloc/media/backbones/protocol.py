"""Deprecated: this is `avloc.features.backbones.protocol` now."""

from avloc.system.moved import forward

__getattr__ = forward("avloc.media.backbones.protocol", "avloc.features.backbones.protocol")
