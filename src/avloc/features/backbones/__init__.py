"""Backbones: what turns snippets into vectors. One more backbone is one more class here or anywhere else.

A backbone says what it wants (frame rate and size, or sample rate and window), gets batches of snippets, and returns
one row each. It knows nothing of files or of time. Weights, if any, load when it is made, not when it is imported.

    protocol.py   what a backbone is, and its card
    catalogue.py  all of them by name
    sources.py, families.py  where weights are from
    network.py    how torch networks run
    appearance.py logmel.py vggish.py resnet.py i3d.py hub.py  the backbones
"""

from __future__ import annotations

from avloc.features.backbones.catalogue import BACKBONES, all_backbones, card, load_backbone, status
from avloc.features.backbones.protocol import AudioBackbone, Backbone, Card, Setup, VisualBackbone

__all__ = [
    "BACKBONES",
    "AudioBackbone",
    "Backbone",
    "Card",
    "Setup",
    "VisualBackbone",
    "all_backbones",
    "card",
    "load_backbone",
    "status",
]
